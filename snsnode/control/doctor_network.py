"""``snsctl doctor``: the addresses of the spec, and the ports of this machine's VMs."""

from collections.abc import Iterator

from snsnode.base.ids import VmName
from snsnode.control import names, ports
from snsnode.control.findings import Finding, Patient, fail, ok, warn
from snsnode.control.local import is_local
from snsnode.node.lock import is_locked, live_holder
from snsnode.node.paths import VmDir


def examine(patient: Patient) -> Iterator[Finding]:
    """Yield what was found."""
    yield from _addresses(patient)
    for name in patient.local:
        vm = patient.spec.vms[name]
        for role, listener in (("router", vm.router), ("master", vm.server)):
            if listener is not None:
                yield _port(name, VmDir(patient.home / name), role, vm.address, listener.port)


def _addresses(patient: Patient) -> Iterator[Finding]:
    by_address: dict[str, list[VmName]] = {}
    for name, vm in patient.spec.vms.items():
        by_address.setdefault(vm.address, []).append(name)
    names.prepare(by_address)
    for address, vms in by_address.items():
        what = f"address {address}"
        whose = ", ".join(vms)
        if is_local(address):
            yield ok(what, f"this machine's ({whose})")
        elif (found := _resolved(address)) is None:
            fix = f"add it to DNS or /etc/hosts, or change vms.{vms[0]}.address in {patient.spec_path}"
            yield fail(what, f"cannot be resolved ({whose})", fix)
        else:
            yield ok(what, f"another machine's, {found} ({whose})")
    if not patient.local:
        yield warn("this machine", "no VM of the spec lives here", f"check the addresses in {patient.spec_path}")


def _resolved(address: str) -> str | None:
    try:
        return str(names.look_up(address)[0][4][0])
    except OSError:
        return None


def _port(name: VmName, vm_dir: VmDir, role: str, address: str, port: int) -> Finding:
    what = f"{name} port {port}"
    if ports.is_free(address, port):
        return ok(what, "free")
    holder = live_holder(vm_dir, role)
    if holder is not None:
        return ok(what, f"held by our own {role} (process {holder.identity.pid})")
    if is_locked(vm_dir, role):
        return ok(what, f"held by our own {role}, which is starting or ending")
    kind = "router" if role == "router" else "server"
    fix = f"end it, or change vms.{name}.{kind}.port in the spec and run 'snsctl generate'"
    return fail(what, f"in use by {ports.holder(address, port)}", fix)
