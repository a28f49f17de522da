"""What the benches say of many times."""

import json
from collections.abc import Iterable, Mapping
from typing import Any


def summary(times_ms: Iterable[float]) -> dict[str, float]:
    """Return p50, p99 and max, to a tenth; of up to 100 times the p99 is the max. There must be one."""
    ordered = sorted(times_ms)
    return {
        "p50": round(ordered[len(ordered) // 2], 1),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 1),
        "max": round(ordered[-1], 1),
    }


Targets = Mapping[str, tuple[str, float]]  # by the figure's name: "<=" or ">=", and the bound


def show(figures: Mapping[str, Any], targets: Targets, *, as_json: bool) -> int:
    """Print what was measured, beside what is asked of it; return the exit code, 1 where a target is missed."""
    met = {name: _is_met(figures[name], *target) for name, target in targets.items() if name in figures}
    if as_json:
        print(json.dumps({**figures, "targets_met": met}, indent=2))
    else:
        for name, figure in figures.items():
            target = " ".join(map(str, targets[name])) if name in met else ""
            print(f"{name:<52} {figure:>12,.2f}   {target}{'' if met.get(name, True) else '  MISSED'}")
    return 0 if all(met.values()) else 1


def _is_met(figure: float, sign: str, bound: float) -> bool:
    return figure <= bound if sign == "<=" else figure >= bound
