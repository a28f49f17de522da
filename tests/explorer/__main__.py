"""Search every state of a pair: python -m tests.explorer --faults N [--orders] [--within SECONDS] [WORD…]

WORD chooses the configurations whose name contains it. Prints a row for each: states, seconds, and the longest way
back from any state without a further fault or order. A violation prints its shortest story. Exit code 1 after a
violation, or where a search was not finished.
"""

import argparse
import sys
from dataclasses import replace

from tests.explorer.configurations import CONFIGURATIONS
from tests.explorer.search import HOUR_S, search, told
from tests.explorer.steps import KNOWN_GAP


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.explorer", description=__doc__)
    parser.add_argument("word", nargs="*", help="part of a configuration's name")
    parser.add_argument("--faults", type=int, default=1, metavar="N")
    parser.add_argument("--within", type=float, default=HOUR_S, metavar="SECONDS", help="for each configuration")
    parser.add_argument("--orders", action="store_true", help="an operator's orders may come too, as one of the N")
    arguments = parser.parse_args()
    code = 0
    print("| configuration | faults | states | seconds | of CPU | back within | |\n|---|---|---|---|---|---|---|")
    for setup in CONFIGURATIONS:
        if arguments.word and not any(word in setup.name for word in arguments.word):
            continue
        report = search(replace(setup, orders=arguments.orders), arguments.faults, within_s=arguments.within)
        state = "VIOLATION" if report.found else "" if report.finished else "INCOMPLETE"
        bound = f"{report.bound_s:.1f} s" if report.finished and not report.found else ""
        taken = f"{report.states:,} | {report.seconds:.0f} | {report.cpu_s:.0f}"
        print(f"| {setup.name} | {report.faults} | {taken} | {bound} | {state} |", flush=True)
        code = code or int(bool(state))
        if report.found:
            print(f"\n{report.found.what}:\n{told(report.found.story)}\n")
        elif report.finished:
            print(f"\nthe longest way back begins after:\n{told(report.slowest)}\n")
    if arguments.orders:
        print(f"passed by: {KNOWN_GAP} (docs/reliability.md)")
    return code


if __name__ == "__main__":
    sys.exit(main())
