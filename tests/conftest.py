"""Options of the whole suite."""

import signal

import pytest

from tests.network import choice


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-long", action="store_true", help="run the chaos tests that take minutes, too")
    parser.addoption(
        "--soak-faults", type=int, default=30, metavar="N", help="faults of the seeded soak (default: 30)"
    )
    parser.addoption(
        "--fuzz-seconds",
        type=float,
        default=5.0,
        metavar="N",
        help="of the fuzzer, in all (default: 5)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos_long: takes minutes; runs with --chaos-long only")
    config.addinivalue_line("markers", "soak: takes as long as --soak-faults says")
    choice.settle()  # before there are workers, which must all find the same


def pytest_report_header() -> str:
    return choice.headline()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell without job control, in the background
        for item in items:
            if "interrupted" in item.name:
                item.add_marker(pytest.mark.skip(reason="SIGINT is ignored here, and children inherit that"))
    if config.getoption("--chaos-long"):
        return
    for item in items:
        if item.get_closest_marker("chaos_long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: --chaos-long"))
