"""What the benches say of many times."""

from collections.abc import Iterable


def summary(times_ms: Iterable[float]) -> dict[str, float]:
    """Return p50, p99 and max, to a tenth; of up to 100 times the p99 is the max. There must be one."""
    ordered = sorted(times_ms)
    return {
        "p50": round(ordered[len(ordered) // 2], 1),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 1),
        "max": round(ordered[-1], 1),
    }
