"""Strangers on the network: attackers, each a process of its own, bounded in number and in time.

``python -m tests.strangers KIND TARGET [--number N] [--seconds S]``; tests and the fuzzer start them. A stranger
prints "ready" once its attack runs in full, and one line of JSON with what it saw at its end. Loopback only.
"""
