"""The times of a pair, in seconds: what each is, why it is so long, and how they relate.

Asserted when the module is imported, for the shortest, the shipped and the longest settings that a spec may have:
patience rises with rank (partner, then spare, then supervisord), so that the nearest observer acts first.
"""

from dataclasses import dataclass

from snsnode.node.config import KeepAlive, Restart

# --- what a healthy process may take -------------------------------------------------------------------------

START_S = 20.0  # from a role's launch to its first answer: a cold start on a starved machine
DRAIN_S = 5.0  # from SIGTERM to a master's end: clients move for 3 s, calls in flight have 2 s more
STOP_WAIT_S = 10.0  # supervisord's stopwaitsecs: from SIGTERM to SIGKILL

# --- how often each observer looks, and when it must have been away --------------------------------------------

TICK_S = 0.1  # a partner looks so often; two looks at state T are this far apart
SUPERVISORD_TICK_S = 1.0  # supervisord's loop turns once a second at least
LATE_S = 0.5  # a partner or a spare whose look comes later than this did not run itself
SUPERVISORD_LATE_S = 3.0  # the same for supervisord

# --- patience ------------------------------------------------------------------------------------------------

SILENT_MIN_S = 1.0  # a busy machine delays a healthy partner's KeepAlive by so much, however short the silence
TAKES_OVER_S = 3.0  # from "go" to the master's lock, which takes a spare milliseconds
STRANGER_S = 5.0  # an orphaned spare sees a new slave within two looks, and leaves
SEND_OFF_S = 1.0  # from "leave" to a spare's end
LAST_RESORT_S = 12.0  # longer than a partner or a spare needs for any verdict at the shipped silence
ROUTER_FROZEN_S = 4.0  # longer than supervisord may be away unnoticed: one late look condemns no router
ROUTER_MIN_S = 6.0  # a flood or a garbage collection stops a healthy router's loop for less, in any spec
IDLE_S = 24.0  # a slave that may launch a master has launched it, and that start has ended one way or the other


@dataclass(frozen=True, slots=True)
class Times:
    """What the spec says of one pair."""

    interval_s: float
    timeout_s: float
    silence_s: float
    backoff_max_s: float

    @classmethod
    def of(cls, keepalive: KeepAlive, restart: Restart) -> "Times":
        """Return the times that a VM's configuration gives."""
        return cls(keepalive.interval_s, keepalive.timeout_s, keepalive.silence_s, restart.backoff_max_s)

    @property
    def first_beat_s(self) -> float:
        """From a slave's launch to its first KeepAlive, as its master hears it.

        The first one may come while the master still takes its own role, and then the next is an interval away.
        """
        return START_S + self.interval_s

    @property
    def partner_s(self) -> float:
        """A master ends a slave that sends no KeepAlive for so long; a spare then launches a missing slave."""
        return max(self.silence_s, SILENT_MIN_S)

    @property
    def spare_s(self) -> float:
        """A spare ends a slave that does not answer for so long: its master would have done so before."""
        return self.partner_s + self.interval_s

    @property
    def router_s(self) -> float:
        """supervisord ends a router whose event loop stands still for so long: there is no other observer."""
        return max(self.silence_s, ROUTER_MIN_S)

    @property
    def supervisord_s(self) -> float:
        """supervisord acts where a partner and a spare would have acted long before."""
        return max(LAST_RESORT_S, 2 * self.silence_s)

    @property
    def waited_out_s(self) -> float:
        """The longest wait that the budget gives, which may be written nowhere where the disk is full."""
        return max(LAST_RESORT_S, 1.2 * self.backoff_max_s)


UNREADABLE = Times(interval_s=3.0, timeout_s=1.0, silence_s=LAST_RESORT_S, backoff_max_s=LAST_RESORT_S)
SHIPPED = Times(interval_s=3.0, timeout_s=1.0, silence_s=9.0, backoff_max_s=10.0)
SHORTEST = Times(interval_s=0.1, timeout_s=0.1, silence_s=0.2, backoff_max_s=0.1)
LONGEST = Times(interval_s=60.0, timeout_s=60.0, silence_s=3600.0, backoff_max_s=300.0)

for _times in (SHORTEST, SHIPPED, LONGEST):
    assert _times.partner_s < _times.spare_s < _times.supervisord_s
    assert _times.router_s > ROUTER_FROZEN_S, "the kernel's word is the better evidence"
    assert _times.first_beat_s > max(START_S, _times.interval_s), "a slave may have to beat twice to be heard once"
assert START_S < IDLE_S, "a slave whose master is starting is not idle"
assert DRAIN_S < STOP_WAIT_S, "supervisord must not kill a master that drains"
assert TICK_S < LATE_S < SILENT_MIN_S and SUPERVISORD_TICK_S < SUPERVISORD_LATE_S < LAST_RESORT_S
assert SUPERVISORD_LATE_S < ROUTER_FROZEN_S, "a router that was frozen together with supervisord is not to blame"
assert TAKES_OVER_S < STRANGER_S < START_S
