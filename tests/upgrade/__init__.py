"""Two versions beside each other: ``python -m tests.upgrade --from REV``."""
