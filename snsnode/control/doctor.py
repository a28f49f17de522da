"""What needs the real machine: a list of findings, each with what to do about it.

Called by ``snsctl doctor``. It looks and never mends: nothing is started, stopped or made.
"""

from snsnode.control import doctor_home, doctor_machine, doctor_network, doctor_store
from snsnode.control.findings import Finding, Patient


def examine(patient: Patient) -> list[Finding]:
    """Return all findings, in the order in which one would mend them."""
    return [
        *doctor_machine.examine(),
        *doctor_home.examine(patient),
        *doctor_network.examine(patient),
        *doctor_store.examine(patient),
    ]
