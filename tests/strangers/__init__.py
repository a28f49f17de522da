"""Strangers on the network: attackers, each a process of its own, bounded in number and in time.

``python -m tests.strangers`` attacks a cluster of its own and tells who was served meanwhile. One attack alone is
``python -m tests.strangers.attacker KIND TARGET [--number N] [--seconds S]``; tests and the fuzzer start those. A
stranger prints "ready" once its attack runs in full, and one line of JSON with what it saw at its end. Loopback
only.
"""
