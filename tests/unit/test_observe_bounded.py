"""No line fills the log, however often it is brought about, and none is lost without a word."""

import logging

import pytest

from snsnode.observe import bounded
from snsnode.observe.bounded import Bounded


class Lines(logging.Handler):
    """What would have been written."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(Bounded())
        self.setFormatter(logging.Formatter("%(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("snsnode.observe.bounded.time.monotonic", lambda: now[0])
    return now


def logger(name: str, lines: Lines) -> logging.Logger:
    made = logging.Logger(name)
    made.addHandler(lines)
    return made


def test_a_cause_has_one_line_a_minute_and_the_next_tells_how_many_were_left_out(clock: list[float]) -> None:
    lines = Lines()
    log = logger("snsnode.x", lines)
    for second in range(61):
        clock[0] = float(second)
        for cause in ("one", "two"):
            log.warning("refused %s", cause, extra={"cause": cause})
    assert lines.lines[:2] == ["refused one", "refused two"]
    assert lines.lines[2:] == [
        "refused one (59 more such lines were left out)",
        "refused two (59 more such lines were left out)",
    ]


def test_a_place_in_the_code_has_sixty_lines_a_minute_and_others_are_not_held_up(clock: list[float]) -> None:
    lines = Lines()
    log = logger("snsnode.x", lines)
    for number in range(1000):
        log.info("crash of vm%d", number)
    log.error("an important line")
    assert len(lines.lines) == bounded.LINES_MAX + 1
    assert lines.lines[-1] == "an important line"


def test_what_libraries_say_comes_once_a_minute_and_without_a_traceback(clock: list[float]) -> None:
    lines = Lines()
    log = logger("grpc._cython.cygrpc", lines)
    for _ in range(3):
        try:
            raise ValueError("raw")
        except ValueError:
            log.exception("Unexpected [%s] raised by servicer method", "ValueError")
    assert lines.lines == ["Unexpected [ValueError] raised by servicer method: ValueError('raw')"]


def test_causes_without_number_do_not_grow_it(clock: list[float]) -> None:
    lines = Lines()
    log = logger("snsnode.x", lines)
    for number in range(2 * bounded.CAUSES_MAX):
        log.warning("refused", extra={"cause": str(number)})
    (found,) = (kept for kept in lines.filters if isinstance(kept, Bounded))
    assert len(found._seen) == bounded.CAUSES_MAX
