"""One look at a place of a pair: who holds it, in which state, and how far its event loop has turned.

A pair has three places, each with a lock: slave, master and spare. All observers of a pair look by this function,
so that all of them see the same things.
"""

from dataclasses import dataclass

from snsnode.node import progress
from snsnode.node.lock import is_locked, live_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, state_of


@dataclass(frozen=True, slots=True)
class Seen:
    """What an observer sees in one place, all of it at one look."""

    identity: Identity | None = None  # the live process that announced itself there
    taken: bool = False  # a process holds the lock, whether or not it has announced itself
    letter: str | None = None  # its state in /proc/PID/stat (proc(5)); None without a process
    progress: int | None = None  # how often its event loop has turned; None where it shows no counter
    answers: bool | None = None  # whether it answered when it was asked last; None where nobody asked
    known: bool = True  # false: the observer could not look, being out of descriptors or memory

    @property
    def is_empty(self) -> bool:
        """Nobody is there, and nobody is about to be: the kernel's word."""
        return self.known and self.identity is None and not self.taken

    @property
    def is_frozen(self) -> bool:
        """A stop signal holds the process."""
        return self.known and self.letter == "T"

    @property
    def is_traced(self) -> bool:
        """A debugger holds the process: its owner knows."""
        return self.known and self.letter == "t"


EMPTY = Seen()
UNKNOWN = Seen(known=False)


def look(vm_dir: VmDir, place: str, *, counter: bool = False) -> Seen:
    """Look at ``place``, with the progress ``counter`` of its process or without; ``UNKNOWN`` where that fails."""
    try:
        holder = live_holder(vm_dir, place)
        if holder is None:
            return Seen(taken=is_locked(vm_dir, place))
        count = progress.read_once(holder.identity) if counter else None
        return Seen(holder.identity, True, state_of(holder.identity), count)
    except OSError:  # our own shortage says nothing about the process that we looked at
        return UNKNOWN
