"""A line chart as SVG text, both axes logarithmic, with a legend. Pure: the same numbers give the same bytes."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 860, 380
LEFT, RIGHT, TOP, BOTTOM = 80, 340, 40, 50  # margins; the legend stands in the right one
# Told apart by people who see colours differently, and by their dashes: Okabe and Ito's palette.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("", "7 3")

Points = Sequence[tuple[float, float]]


def chart(title: str, x_label: str, y_label: str, lines: Mapping[str, Points]) -> str:
    """Return a chart of ``lines``, each a name and its points; every number must be above zero."""
    points = [point for line in lines.values() for point in line]
    x_axis = _Axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    y_axis = _Axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text((LEFT + WIDTH - RIGHT) / 2, 20, title, anchor="middle", more='font-weight="bold" '),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label, anchor="middle"),
        _text(0, 0, y_label, anchor="middle", more=f'transform="translate(16 {HEIGHT / 2:g}) rotate(-90)" '),
    ]
    for tick in y_axis.ticks():
        at = y_axis.at(tick)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, at + 4, f"{tick:,g}", anchor="end"))
    for x in sorted({x for x, _ in points}):
        parts.append(_text(x_axis.at(x), HEIGHT - BOTTOM + 18, f"{x:,g}", anchor="middle"))
    for number, (name, line) in enumerate(lines.items()):
        parts += _line(number, name, [(x_axis.at(x), y_axis.at(y)) for x, y in line])
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    """A logarithmic axis from pixel ``first`` to ``last``, over whole decades."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        self._low = math.floor(math.log10(min(values)))
        self._high = max(math.ceil(math.log10(max(values))), self._low + 1)
        self._first, self._last = first, last

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._first + share * (self._last - self._first)

    def ticks(self) -> list[float]:
        """Return the powers of ten."""
        return [10.0**power for power in range(self._low, self._high + 1)]


def _line(number: int, name: str, pixels: Points) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    dash = DASHES[number % len(DASHES)]
    stroke = f'fill="none" stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dash}"' if dash else "")
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in pixels)
    row = TOP + 20 * number
    return [
        f'<path d="M{path}" {stroke}/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in pixels),
        f'<path d="M{WIDTH - RIGHT + 16} {row}h24" {stroke}/>',
        _text(WIDTH - RIGHT + 46, row + 4, name, anchor="start"),
    ]


def _text(x: float, y: float, text: str, *, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}fill="#222">{escape(text)}</text>'
