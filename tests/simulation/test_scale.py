"""The bench of scale and its page: a small cluster measured, drawn, and told the same twice."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        names = ("scale", "scale_page", "chart")
        yield importlib.import_module("scale")
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def rows(bench: ModuleType) -> list[dict[str, Any]]:
    return [asdict(row) for size in (2, 5) for row in bench.measure(size, "single")]


def test_every_client_is_served_again_whatever_the_fault(rows: list[dict[str, Any]]) -> None:
    assert len(rows) == 6
    for row in rows:
        assert row["lost"] == 0
        assert row["affected"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] < 10_000
    assert [row["affected"] for row in rows if row["fault"] == "all masters killed"] == [20, 50]


def test_figures_repeat(bench: ModuleType, rows: list[dict[str, Any]]) -> None:
    again = [asdict(row) for row in bench.measure(2, "single")]
    assert [row | {"wall_s": 0} for row in again] == [row | {"wall_s": 0} for row in rows[:3]]


def test_page_and_pictures_are_made_of_the_rows(bench: ModuleType, rows: list[dict[str, Any]]) -> None:
    page = sys.modules["scale_page"]
    text = page.page(rows)
    assert text.count("| 2 | 20 | single |") == 3
    for picture in page.pictures(rows):
        root = ElementTree.fromstring(picture)
        assert root.tag.endswith("svg")
    assert page.pictures(rows) == page.pictures(rows)
    assert "img/scale-recovery.svg" in text


def test_most_within_a_window_is_counted(bench: ModuleType) -> None:
    assert bench._peak([0.0, 0.05, 0.09, 0.3, 0.31], 0.1) == 3
    assert bench._peak([], 0.1) == 0
