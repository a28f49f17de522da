"""The outcomes as a table for people."""

from tests.strangers.trial import Outcome

_WIDTHS = (21, 7, 15, 11, 15, 15, 17, 18, 12, 9)
_HEADS = (
    ("attack", "size", "newcomer", "newcomers", "bystander", "bystander", "memory, MiB:", "died", "status", "log"),
    ("", "", "longest, s:", "failed:", "p50/p99, ms:", "p50/p99, ms:", "before, at", "", "looks, doubt,", "grew,"),
    ("", "", "during, after", "dur., after", "quiet", "attacked", "most, after", "", "lies", "KiB"),
)


def title() -> list[str]:
    """Return the head of the table."""
    return [_row(*head) for head in _HEADS]


def line(outcome: Outcome) -> str:
    """Return one attack's line: the memory is that of the process that grew most."""
    grown = max(outcome.memory_mib.values(), key=lambda memory: memory[1] - memory[0], default=(0, 0, 0))
    return (
        _row(
            outcome.name,
            str(outcome.number),
            f"{outcome.longest_during_s:.2f}, {outcome.longest_after_s:.2f}",
            f"{len(outcome.failed_during)}, {len(outcome.failed_after)} of {outcome.newcomers}",
            "/".join(f"{ms:.0f}" for ms in outcome.quiet_ms),
            "/".join(f"{ms:.0f}" for ms in outcome.during_ms),
            ", ".join(str(mib) for mib in grown),
            ", ".join(outcome.died) or "nobody",
            f"{outcome.status_looks}, {outcome.status_doubts}, {len(outcome.status_lies)}",
            str(outcome.log_bytes // 1024),
        )
        + f"  {outcome.seen}"
    )


def _row(*cells: str) -> str:
    return " ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
