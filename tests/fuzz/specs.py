"""Mutated specs, in this process and by the command."""

import random
from pathlib import Path

from snsnode.base.errors import EXIT_CONFIG, SnsError
from snsnode.cli.specfile import load_spec
from snsnode.render import plan, readback, template
from tests.fuzz import commands
from tests.fuzz.mutate import mutated, put
from tests.fuzz.report import Report, attempt

ROOT = Path(__file__).resolve().parents[2]
SEEDS = [
    *(path.read_bytes() for path in sorted((ROOT / "conf").glob("*.yaml"))),
    b"cluster: c\nvms:\n  v1: &a {address: &d 127.0.0.1, router: {port: 3010}}\n"
    b"  v2: {address: *d , server: {port: 3}}\n",
]


def in_process(report: Report, seed: int, folder: Path) -> None:
    """Read one mutated spec, and render it where it is valid."""
    chance = random.Random(seed)
    path = folder / "spec.yaml"
    if chance.random() < 0.02:
        commands.remove(path)
        put(chance, path, chance.choice(SEEDS))
    else:
        commands.remove(path)
        path.write_bytes(mutated(chance, chance.choice(SEEDS)))

    def act() -> str:
        try:
            spec, _ = load_spec(path)
            if len(spec.vms) < 20 and seed % 10 == 0:
                readback.check_changes(spec, plan.plan(spec, template.load(), {}, None)[:4])
        except SnsError as error:
            if error.exit_code != EXIT_CONFIG or len(error.message) > 200_000:
                report.found(
                    seed, f"exit {error.exit_code}, {len(error.message)} characters: {error.message[:200]}"
                )
            return "refused"
        return "valid"

    attempt(report, seed, act)


def by_command(report: Report, seed: int, folder: Path) -> None:
    """Give one mutated spec to ``snsctl validate``."""
    chance = random.Random(seed)
    path = folder / "spec.yaml"
    commands.remove(path)
    put(chance, path, chance.choice(SEEDS))
    commands.run(report, seed, ["validate", "--spec", str(path)], folder, (0, EXIT_CONFIG))
