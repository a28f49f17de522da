"""Spec and template into the files of every VM: pure and byte-for-byte repeatable; then diff, then write.

``plan`` decides what has to change, ``readback`` lets supervisor's own parser judge it, ``disk`` writes it.
"""
