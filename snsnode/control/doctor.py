"""What needs the real machine: a list of findings, each with what to do about it.

Called by ``snsctl doctor``. It looks and never mends: nothing is started, stopped or made.
"""

from pathlib import Path

from snsnode.base.errors import ConfigError
from snsnode.control import doctor_home, doctor_machine, doctor_network, doctor_store
from snsnode.control.findings import Finding, Patient, fail


def examine_without(home: Path, error: ConfigError) -> list[Finding]:
    """Return what can be found where nothing in ``home`` may be read, for the cause that ``error`` gives."""
    cause, _, fix = error.message.partition("; ")
    return [*doctor_machine.examine(), fail("home", f"{home}: {cause}", fix)]


def examine(patient: Patient) -> list[Finding]:
    """Return all findings, in the order in which one would mend them."""
    return [
        *doctor_machine.examine(),
        *doctor_home.examine(patient),
        *doctor_network.examine(patient),
        *doctor_store.examine(patient),
    ]
