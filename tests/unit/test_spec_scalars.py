"""Durations, names, addresses and store URLs."""

import pytest

from snsnode.spec.addresses import canonical, machine, parse_address
from snsnode.spec.scalars import POSTGRESQL_OPTIONS, parse_duration, parse_name, parse_size, parse_store
from snsnode.store import postgresql_url


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3s", 3.0), ("500ms", 0.5), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("100ms", 0.1), ("0.1s", 0.1)],
)
def test_duration_with_a_unit_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("number", [3, 0.5, 0])
def test_bare_number_is_refused_with_the_unit_to_write(number: float) -> None:
    with pytest.raises(ValueError, match=rf'write "{number}s"'):
        parse_duration(number)


@pytest.mark.parametrize(
    "value", ["", "3", "-3s", "3 s", "3S", "s", "1d", "5min", "٣s", "3s\n", ".5s", "1e3s", True, [], {}]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("64MiB", 64 * 2**20), ("1GiB", 2**30), ("1024MiB", 2**30), ("1TiB", 2**40)]
)
def test_size_with_a_unit_is_bytes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("number", [1024, 0.5])
def test_bare_size_is_refused_with_the_units_to_write(number: float) -> None:
    with pytest.raises(ValueError, match="has no unit: write it as 512MiB"):
        parse_size(number)


@pytest.mark.parametrize(
    "value", ["", "1", "1GB", "1 GiB", "1gib", "-1GiB", "1.5GiB", "٣GiB", "1GiB\n", True, [], None]
)
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(value)


@pytest.mark.parametrize("name", ["a", "vm1", "no", "a-b-", "a" * 32])
def test_name_is_taken(name: str) -> None:
    assert parse_name(name) == name


@pytest.mark.parametrize("name", ["", "1a", "-a", "A", "a_b", "a.b", "ä", "a" * 33, "a\n", "a b", "../a", 7])
def test_name_outside_the_pattern_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        parse_name(name)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "2001:db8::7",
        "localhost",
        "db-1.example.com",
        "a",
        "host.example.",
        "10x",
        "xn--bcher-kva.de",
    ],
)
def test_address_is_taken_as_written(address: str) -> None:
    assert parse_address(address) == address


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("0.0.0.0", "wildcard"),
        ("::", "wildcard"),
        ("::ffff:0.0.0.0", "wildcard"),
        ("0:0:0:0:0:0:0:0", "wildcard"),
        ("224.0.0.1", "no single machine"),
        ("255.255.255.255", "no single machine"),
        ("fe80::1%eth0", "own link"),
        ("[::1]", "without brackets"),
        ("http://a", "without a scheme"),
        ("10.0.0.1:3010", "write 10.0.0.1 here, and the port under router or server"),
        ("bücher.de", "ASCII form"),
        ("256.1.1.1", "is not an address"),
        ("127.1", "is not an address"),
        ("host.1", "is not an address"),
        ("a..b", "is not an address"),
        ("-a", "is not an address"),
        ("a_b", "is not an address"),
        ("a b", "is not an address"),
        ("", "is not an address"),
        ("a" * 64, "is not an address"),
        ("a\n", "is not an address"),
        (10, "is not an address"),
    ],
)
def test_address_that_nobody_can_connect_to_is_refused(address: object, fix: str) -> None:
    with pytest.raises(ValueError, match=fix):
        parse_address(address)


def test_spellings_of_one_address_are_one() -> None:
    assert {canonical(a) for a in ("127.0.0.1", "localhost", "LocalHost.", "::ffff:127.0.0.1")} == {"127.0.0.1"}
    assert canonical("2001:DB8:0::7") == canonical("2001:db8::7")
    assert canonical("Db1.Example.com.") == "db1.example.com"
    assert canonical("127.0.0.2") != canonical("127.0.0.1")


def test_loopback_addresses_are_one_machine() -> None:
    assert {machine(a) for a in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "db.localhost")} == {"loopback"}
    assert machine("10.0.0.1") != machine("10.0.0.2")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///sns.db",
        "sqlite:////var/lib/sns.db",
        "postgresql://sns@db1,db2/sns",
        "postgresql://sns@db1:5432,[::1]:5433/sns?target_session_attrs=read-write",
        "postgresql:///sns",
        "postgresql://%2Frun%2Fpg/sns",
        "postgresql://sns@db1/sns?passfile=secret/pgpass&sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem",
    ],
)
def test_store_is_taken_as_written(url: str) -> None:
    assert parse_store(url) == url


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("mysql://db/sns", "'mysql' is not known: write sqlite:///PATH .* or postgresql://"),
        ("postgres://db/sns", "'postgres' is not known"),
        ("sqlite://sns.db", "'sqlite' is not known"),
        ("sns.db", "'sns.db' is not known"),
        ("sqlite:///", "names no file"),
        ("sqlite:///a/", "names no file"),
        ("sqlite:///a?mode=ro", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///a b", "no spaces"),
        ("postgresql://", "malformed"),
        ("postgresql://db", "malformed"),
        ("postgresql://db:port/sns", "malformed"),
        ("postgresql://db/sns?passfil=x", "option 'passfil', which is not known: write passfile, "),
        ("postgresql://db/sns?target_session_attrs=standby", "can only be read-write"),
        (5, "is not a store"),
    ],
)
def test_store_that_is_not_known_is_refused(url: object, fix: str) -> None:
    with pytest.raises(ValueError, match=fix):
        parse_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://sns:hunter2@db/sns",
        "postgresql://sns:hunter2/x@db/sns",
        "postgresql://sns:hunter2@x@db/sns",
        "postgresql://sns%3Ahunter2@db/sns",
        "postgresql://db/sns?password=hunter2",
        "postgresql://db/sns?sslpassword=hunter2",
        "postgresql://db/sns?pass%77ord=hunter2",
    ],
)
def test_password_in_a_store_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="PGPASSFILE") as caught:
        parse_store(url)
    assert "hunter2" not in str(caught.value)


def test_options_of_a_store_are_those_that_the_engine_takes() -> None:
    assert POSTGRESQL_OPTIONS == postgresql_url.OPTIONS
