"""Rules across keys, also where another key is wrong."""

import pytest

from snsnode.spec.parse import parse
from snsnode.spec.problems import SpecError


def problems(text: str) -> list[str]:
    try:
        parse(text, "f")
    except SpecError as error:
        return error.message.splitlines()
    return []


def cluster(*vms: str, head: str = "") -> str:
    return f"cluster: c\n{head}vms:\n" + "".join(f"  {vm}\n" for vm in vms)


ROUTER = "r: {address: 127.0.0.1, router: {port: 3010}}"


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "'::ffff:127.0.0.1'", "LOCALHOST"])
def test_two_roles_on_one_address_and_port_are_refused_at_the_later(address: str) -> None:
    lines = problems(cluster(ROUTER, f"s: {{address: {address}, server: {{port: 3010}}}}"))
    assert len(lines) == 1
    assert lines[0].startswith("f:4:")
    assert "the server of s takes" in lines[0]
    assert "so does the router of r" in lines[0]


def test_router_and_server_of_one_vm_collide_too() -> None:
    lines = problems(cluster("a: {address: h, router: {port: 1}, server: {port: 1}}"))
    assert [line.split(": ")[0] for line in lines] == ["f:3:53"]


def test_one_port_on_two_addresses_is_fine() -> None:
    assert problems(cluster(ROUTER, "s: {address: 127.0.0.2, server: {port: 3010}}")) == []


def test_collision_shows_although_other_vms_are_wrong() -> None:
    lines = problems(
        cluster(
            "w: {address: 127.0.0.1, colour: red, router: {port: 3010}}",
            "x: {address: 'a b', server: {port: 3010}}",
            "y: 7",
            "z: {address: 127.0.0.1, server: {port: 3010}, server: {port: 3011}}",
        )
    )
    assert any(line.startswith("f:6:") and "so does the router of w" in line for line in lines)


@pytest.mark.parametrize(
    ("keepalive", "words"),
    [
        ("{interval: 2s, timeout: 3s, silence: 9s}", ["timeout is longer than interval"]),
        ("{interval: 5s}", ["silence is shorter than two intervals of 5s: write at least 10s"]),
        ("{interval: 500ms}", ["timeout is longer than interval (0.5s)"]),
        ("{silence: 5.9s}", ["silence is shorter"]),
        ("{silence: 6s, timeout: 3s}", []),
        ("{interval: 2s, timeout: 3s, silence: 3s}", ["timeout is longer", "silence is shorter"]),
        ("{interval: 2s, timeout: 3s, silence: 3}", ["timeout is longer", "silence is shorter", 'write "3s"']),
        ("{interval: 5, timeout: 6}", ["silence is shorter", 'write "5s"', 'write "6s"', "timeout is longer"]),
        ("{interval: 2s, timeout: 3s, silence: true}", ["timeout is longer", "is not a duration"]),
    ],
)
def test_heartbeat_times_fit_each_other(keepalive: str, words: list[str]) -> None:
    lines = problems(cluster(ROUTER, "s: {address: h, server: {port: 1}}", head=f"keepalive: {keepalive}\n"))
    assert len(lines) == len(words)
    for word, line in zip(words, lines, strict=True):
        assert word in line
        assert line.startswith("f:2:")


def test_vm_needs_a_role() -> None:
    lines = problems(cluster(ROUTER, "s: {address: h, server: {port: 1}}", "n: {address: h}"))
    assert lines == ["f:5:3: the VM 'n' holds neither a router nor a server: write server: {port: 3020}"]


@pytest.mark.parametrize(
    ("vm", "role"),
    [("a: {address: h, server: {port: 1}}", "router"), ("a: {address: h, router: {port: 1}}", "server")],
)
def test_cluster_needs_a_router_and_a_server(vm: str, role: str) -> None:
    lines = problems(cluster(vm))
    assert len(lines) == 1
    assert lines[0].startswith(f"f:2:1: no VM holds a {role}")


def test_role_that_may_stand_in_an_unreadable_vm_is_not_missed() -> None:
    assert len(problems(cluster("a: {address: h, server: {port: 1}}", "b: []"))) == 1


def test_misspelt_role_is_one_problem() -> None:
    lines = problems(cluster(ROUTER, "s: {address: h, sever: {port: 1}}"))
    assert len(lines) == 1
    assert "did you mean 'server'?" in lines[0]


def test_misspelt_role_still_collides() -> None:
    lines = problems(cluster(ROUTER, "s: {address: 127.0.0.1, sever: {port: 3010}}"))
    assert any("so does the router of r" in line for line in lines)


FAR = ("a: {address: 10.0.0.1, router: {port: 1}, server: {port: 2}}", "b: {address: 10.0.0.2, server: {port: 2}}")


def test_sqlite_on_several_machines_needs_consent() -> None:
    lines = problems(cluster(*FAR))
    assert len(lines) == 1
    assert lines[0].startswith("f:4:16: servers on several machines (10.0.0.1, 10.0.0.2)")
    assert "separate_data: true" in lines[0]
    assert problems(cluster(*FAR, head="store: sqlite:///x.db\n"))[0].startswith("f:2:8: servers on several")
    assert len(problems(cluster(*FAR, head="separate_data: false\n"))) == 1


@pytest.mark.parametrize("head", ["separate_data: true\n", "store: postgresql://sns@db/sns\n"])
def test_servers_on_several_machines_are_fine_with_consent_or_a_shared_store(head: str) -> None:
    assert problems(cluster(*FAR, head=head)) == []


def test_loopback_addresses_share_a_sqlite_store() -> None:
    vms = [
        f"v{i}: {{address: {a}, server: {{port: {i + 1}}}}}"
        for i, a in enumerate(("127.0.0.2", "localhost", "'::1'"))
    ]
    assert problems(cluster(ROUTER, *vms)) == []


def test_routers_elsewhere_do_not_separate_data() -> None:
    assert (
        problems(cluster("r: {address: 10.0.0.9, router: {port: 1}}", "s: {address: 10.0.0.1, server: {port: 1}}"))
        == []
    )
