"""A fault-tolerant tiny social network and the supervisor-style process manager that keeps it up."""

__version__ = "0.2.0"
