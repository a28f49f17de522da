"""supervisor's own parser judges what was rendered."""

import os
import sys
import warnings
from pathlib import Path

import pytest

from snsnode.base.errors import ConfigError
from snsnode.render import readback, template

PROGRAMS = ("router", "slave", "master")
CONF = template.render(template.load(), cluster="local", vm="vm1", programs=PROGRAMS)


def check(text: str) -> None:
    readback.check(text, "vm1/supervisord.conf", PROGRAMS)


def test_rendered_file_is_accepted_in_silence(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["snsctl", "--nonsense"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(CONF)
    assert capfd.readouterr() == ("", "")


def test_plug_in_is_not_imported() -> None:
    before = sys.modules.pop("snsnode.supervisord.plugin", None)
    try:
        check(CONF)
        assert "snsnode.supervisord.plugin" not in sys.modules
    finally:
        if before is not None:
            sys.modules["snsnode.supervisord.plugin"] = before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "[program:slave]",
            "[progam:slave]",
            "its programs are master, router; they must be router, slave, master",
        ),
        ("[supervisord]", "[program:x]\ncommand=x\nautostrat=1\n[supervisord]", "'autostrat' in [program:x]"),
        ("[supervisord]", "[group:slave]\nprograms = x\n[program:x]\ncommand=x\n[supervisord]", "slave"),
        ("%(here)s/local/*.conf", "%(heer)s/*.conf", "heer"),
        (
            "[supervisord]",
            "[group:pair]\nprograms = slave,master\n[supervisord]",
            "pair:master, pair:slave, router",
        ),
        ("[program:router]", "[program:router]\nnumprocs = 2\nprocess_name = r%(process_num)d", "router:r0"),
        ("[supervisord]", "[supervisor]", "does not include supervisord section"),
        ("autostart = true", "autostart = maybe", "not a valid boolean value: 'maybe'"),
        ("umask = 077", "umask = 9", "octal"),
        ("%(here)s/log/slave.log", "%(heer)s/slave.log", "'heer'"),
        ("%(here)s/log/slave.log", "%(here)s/lag/slave.log", "%(here)s/lag/slave.log does not exist"),
        ("%(here)s/log/slave.log", "100%", "badly formatted"),
        ("command = python -P -m snsnode.slave vm1", "", "does not specify a command"),
        ("autorestart = false", "autorestrat = false", "autorestart = false"),
        ("startretries = 5", "startretires = 5", "does not know the key 'startretires' in [program:slave]"),
        ("autorestart = false", "autorestart = true", "they restart each other"),
        ("file = %(here)s/run/supervisor.sock", "file = %(here)s/run/s.sock", "[unix_http_server] must have"),
        ("[unix_http_server]", "[unix_htp_server]", "[unix_http_server] must have"),
        ("[rpcinterface:supervisor]", "[rpcintrface:supervisor]", "[rpcinterface:supervisor] must have"),
        ("plugin:make_rpcinterface", "plugin:make", "[rpcinterface:supervisor] must have"),
        ("; local", "local", "no section headers"),
        ("redirect_stderr = true", "redirect_stderr = true\nstderr_logfile = %(here)s/log/x", "has been ignored"),
    ],
)
def test_edited_template_that_supervisor_would_misread_is_refused(
    old: str, new: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert old in CONF
    with pytest.raises(ConfigError) as caught:
        check(CONF.replace(old, new))
    message = caught.value.message
    assert words in message
    assert "\n" not in message
    assert "/tmp" not in message
    assert "ENV_" not in message
    assert capfd.readouterr() == ("", "")


OTHERS = """
[program:x]
command = /bin/cat
[eventlistener:watch]
events = TICK_5
command = /bin/cat
[group:two]
programs = y,z
[program:y]
command = /bin/cat
[program:z]
command = /bin/cat
process_name = %(program_name)s-%(process_num)d
numprocs = 2
"""


def test_what_an_operator_adds_is_accepted_in_the_template_and_in_local(tmp_path: Path) -> None:
    check(CONF + OTHERS)
    (tmp_path / "x.conf").write_text(OTHERS)
    readback.check(CONF, "vm1/supervisord.conf", PROGRAMS, tmp_path)


@pytest.mark.parametrize("where", ["%(here)s/local/*.conf", "local/*.conf /nowhere/*.conf", "%(here)s/more/*.ini"])
def test_an_include_of_nothing_is_accepted(where: str) -> None:
    check(CONF.replace("%(here)s/local/*.conf", where))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[program:x]\n", "does not specify a command"),
        ("no section\n", "%(here)s/local/x.conf"),
        ("[program:master]\nautorestart = true\n", "slave and master must have autorestart = false"),
        ("[program:x]\ncommand = x\nstdout_logfile = %(here)s/no/x.log\n", "%(here)s/local/no"),
        ("[group:pair]\nprograms = slave,master\n", "pair:master, pair:slave, router"),
        ("[eventlistener:x]\ncommand = x\n", "events"),
    ],
)
def test_what_an_operator_adds_wrongly_is_refused_without_a_temporary_path(
    text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "x.conf").write_text(text)
    with pytest.raises(ConfigError) as caught:
        readback.check(CONF, "vm1/supervisord.conf", PROGRAMS, tmp_path)
    assert words in caught.value.message
    assert "snsctl-" not in caught.value.message
    assert "\n" not in caught.value.message


def test_a_name_of_ours_is_not_for_others() -> None:
    conf = template.render(template.load(), cluster="local", vm="vm1", programs=("router",))
    with pytest.raises(ConfigError, match="router, slave, master are names of snsnode's own"):
        readback.check(f"{conf}[program:master]\ncommand = x\n", "vm1/supervisord.conf", ("router",))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_ours_is_not_redefined_in_local(name: str, tmp_path: Path) -> None:
    """supervisor merges sections of one name: "start" then waited for a slave that was a "sleep"."""
    (tmp_path / "mine.conf").write_text(f"[program:{name}]\ncommand = /bin/sleep 99\n")
    with pytest.raises(ConfigError, match=rf"mine\.conf: \[program:{name}\] is a program of snsnode's own"):
        readback.check(CONF, "vm1/supervisord.conf", PROGRAMS, tmp_path)


def test_a_pipe_in_local_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.conf")
    with pytest.raises(ConfigError, match="is no regular file"):
        readback.check(CONF, "vm1/supervisord.conf", PROGRAMS, tmp_path)
