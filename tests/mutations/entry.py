"""What one mutation is."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """``guard`` in words; ``old`` stands once in ``file`` and becomes ``new``; one of ``tests`` must then fail.

    ``tests`` are files, or tests in them as pytest names them (FILE::TEST), separated by spaces.
    """

    guard: str
    file: str
    old: str
    new: str
    tests: str
