"""The fuzzer: mutated messages, specs and files of a VM. Run it with ``python -m tests.fuzz``."""
