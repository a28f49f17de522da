"""``python -m tests.strangers.attacker KIND TARGET``: runs one attack, and ends by itself."""

import argparse
import asyncio
import json

from tests.strangers.attack import Attack
from tests.strangers.attacks import ATTACKS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.strangers.attacker", description=__doc__)
    parser.add_argument("kind", choices=sorted(ATTACKS))
    parser.add_argument("target", help="127.0.0.1:PORT, or unix:PATH")
    parser.add_argument("--number", type=int, default=1000, help="of calls, connections or names")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long the attack lasts, at most 300")
    parser.add_argument("--rate", type=float, default=0.0, help="calls a second; 0: as fast as they are answered")
    given = parser.parse_args()
    if not given.target.startswith(("127.0.0.1:", "unix:")):
        parser.error("strangers attack 127.0.0.1 and sockets in the file system, and nothing else")
    attack = Attack(given.target, min(given.number, 100_000), min(given.seconds, 300.0), given.rate)
    asyncio.run(ATTACKS[given.kind](attack))
    print(json.dumps(attack.seen), flush=True)


if __name__ == "__main__":
    main()
