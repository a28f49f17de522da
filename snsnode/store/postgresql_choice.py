"""Which of several database servers to write to. Pure; ``postgresql_connect`` asks them.

The invariant: a store never goes back to a server that was replaced. Each promotion begins a new timeline, a
number that PostgreSQL raises; a primary that was hung while its standby was promoted comes back with the old one,
and says in good faith that it takes writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from snsnode.base.errors import ConfigError, SnsError, Unavailable
from snsnode.store.postgresql_url import Host, Target

# Once a server has offered itself, the others have so long to offer a newer timeline: a healthy one answers within
# it, and one that is dead or hung must not delay every connection.
GRACE_S = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said of itself: ``timeline`` is 0 where it is a standby; or why it could not."""

    host: Host
    timeline: int = 0
    failure: SnsError | None = None

    @property
    def standby(self) -> bool:
        """It answers, and takes no writes."""
        return self.failure is None and self.timeline == 0


def choose(answers: Sequence[Answer], known_timeline: int) -> Answer | None:
    """Return the primary with the highest timeline, None where none has at least ``known_timeline``."""
    primaries = [
        answer for answer in answers if answer.failure is None and answer.timeline >= max(known_timeline, 1)
    ]
    return max(primaries, key=lambda answer: answer.timeline, default=None)


def none_found(target: Target, answers: Sequence[Answer], known_timeline: int) -> SnsError:
    """Return the error where there is no primary: it says of each host why it is not one."""
    reasons = "; ".join(f"{answer.host} {_reason(answer, known_timeline)}" for answer in answers)
    failures = [answer.failure for answer in answers]
    permanent = all(isinstance(failure, ConfigError) for failure in failures)
    text = f"cannot use the store {target}: {reasons}"
    return ConfigError(text) if permanent else Unavailable(text)


def _reason(answer: Answer, known_timeline: int) -> str:
    if answer.failure is not None:
        return answer.failure.message
    if answer.standby:
        return "is a standby; promote it, or name its primary too"
    timelines = f"it is on timeline {answer.timeline}, and {known_timeline} is known"
    return f"was replaced: {timelines}; rebuild it as a standby"
