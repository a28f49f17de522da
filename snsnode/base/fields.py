"""The fields of an object that was read from a file: each of its type, and within its range.

Called by whoever reads a record through ``reading``; pure.
"""

from typing import Any

from snsnode.base.reading import WHOLE_MAX, Damaged, named

TEXT_MAX = 4096  # characters of one text in a record
PID_MAX = 2**22  # the kernel's PID_MAX_LIMIT


def whole(raw: dict[str, Any], key: str, low: int = 0, high: int = WHOLE_MAX) -> int:
    """Return the whole number at ``key``; raises ``Damaged`` where there is none from ``low`` to ``high``."""
    return whole_of(_field(raw, key), key, low, high)


def whole_of(value: object, name: str, low: int = 0, high: int = WHOLE_MAX) -> int:
    """Return ``value``, called ``name`` in a message, as ``whole`` does."""
    if type(value) is not int or not low <= value <= high:
        raise Damaged(f"{name} is {named(value)}, no whole number from {low} to {high}")
    return value


def real(raw: dict[str, Any], key: str, low: float, high: float) -> float:
    """Return the number at ``key``; raises ``Damaged`` where there is none from ``low`` to ``high``."""
    return real_of(_field(raw, key), key, low, high)


def real_of(value: object, name: str, low: float, high: float) -> float:
    """Return ``value``, called ``name`` in a message, as ``real`` does."""
    if type(value) not in (int, float) or not low <= value <= high:  # type: ignore[operator]
        raise Damaged(f"{name} is {named(value)}, no number from {low:g} to {high:g}")
    return float(value)  # type: ignore[arg-type]


def text(raw: dict[str, Any], key: str, characters_max: int = TEXT_MAX) -> str:
    """Return the text at ``key``; raises ``Damaged`` where there is none of at most ``characters_max``."""
    value = _field(raw, key)
    if not isinstance(value, str) or len(value) > characters_max:
        raise Damaged(f"{key} is {named(value)}, no text of at most {characters_max} characters")
    return value


def flag(raw: dict[str, Any], key: str) -> bool:
    """Return the truth value at ``key``; raises ``Damaged`` where there is none."""
    value = _field(raw, key)
    if not isinstance(value, bool):
        raise Damaged(f"{key} is {named(value)}, neither true nor false")
    return value


def parse_whole(words: str, name: str, low: int, high: int) -> int:
    """Return the decimal number that ``words`` are, as people and programs write it into a file of one line."""
    digits = words.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise Damaged(f"{name} is {named(words)}, no whole number from {low} to {high}")
    return whole_of(int(digits), name, low, high)


def _field(raw: dict[str, Any], key: str) -> object:
    if key not in raw:
        raise Damaged(f"it lacks {key}")
    return raw[key]
