"""A ``postgresql://`` URL: what it names, and what is refused without repeating a secret."""

from pathlib import Path

import pytest

from snsnode.base.errors import ConfigError
from snsnode.store.postgresql_url import Host, Target, parse_url

HOME = Path("/srv/sns")


def test_hosts_ports_user_and_database_are_read() -> None:
    assert parse_url("postgresql://sns@db1,db2:5433,[::1]:5434/main", HOME) == Target(
        (Host("db1", 5432), Host("db2", 5433), Host("::1", 5434)), "sns", "main", None, ""
    )


def test_socket_folder_and_no_host_are_taken() -> None:
    assert parse_url("postgresql://%2Frun%2Fpg:5433/sns", HOME).hosts == (Host("/run/pg", 5433),)
    assert parse_url("postgresql:///sns", HOME) == Target((Host("", 5432),), None, "sns", None, "")


def test_password_file_is_relative_to_the_home() -> None:
    assert parse_url("postgresql://sns@db/sns?passfile=secret", HOME).passfile == Path("/srv/sns/secret")
    assert parse_url("postgresql://sns@db/sns?passfile=/etc/pgpass", HOME).passfile == Path("/etc/pgpass")


def test_options_of_tls_go_to_the_driver() -> None:
    url = "postgresql://sns@db/sns?sslmode=verify-full&sslrootcert=/a%20b/ca.pem&target_session_attrs=read-write"
    assert parse_url(url, HOME).tls == "sslmode=verify-full&sslrootcert=/a%20b/ca.pem"


def test_shown_target_is_the_url_without_its_options() -> None:
    url = "postgresql://sns@db1,[::1]:5433/sns?passfile=/etc/secret"
    assert str(parse_url(url, HOME)) == "postgresql://sns@db1:5432,[::1]:5433/sns"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://sns:hunter2@db/sns",
        "postgresql://sns%3Ahunter2@db/sns",
        "postgresql://sns:hunter2@x@db/sns",
        "postgresql://db/sns?password=hunter2",
        "postgresql://db/sns?sslpassword=hunter2",
    ],
)
def test_password_is_refused_with_the_fix_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"PGPASSFILE or \?passfile=FILE") as refusal:
        parse_url(url, HOME)
    assert "hunter2" not in refusal.value.message


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("postgresql://", "malformed; write postgresql://USER@HOST"),
        ("postgresql://db", "malformed"),
        ("postgresql://db/a/b", "malformed"),
        ("postgresql://db/sns#x", "malformed"),
        ("postgresql://db:0/sns", "port '0'; write a number"),
        ("postgresql://db:x/sns", "port 'x'; write a number"),
        ("postgresql://db/sns?passfil=x", "option 'passfil', which is not known; known are passfile"),
        ("postgresql://db/sns?target_session_attrs=standby", "can only be read-write"),
    ],
)
def test_malformed_url_is_refused(url: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        parse_url(url, HOME)
