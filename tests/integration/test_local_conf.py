"""What an operator adds to a VM's supervisord: in files that ``generate`` leaves alone, or in another template."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cluster import BIN, running
from tests.eventually import eventually

pytestmark = pytest.mark.integration

LOCAL = """
[program:cat]
command = /bin/cat
stdout_logfile = %(here)s/../log/cat.log
[eventlistener:listen]
events = PROCESS_STATE
command = /bin/cat
"""


def test_programs_and_listeners_in_local_run_beside_ours_and_survive_generate() -> None:
    with running(servers=1, spare=False, start=False) as cluster:
        local = cluster.home / "vm1" / "local"
        assert local.is_dir()
        (local / "mine.conf").write_text(LOCAL)
        cluster.ctl("generate", "--check")
        cluster.start()

        def lines() -> dict[str, str]:
            done = cluster.supervisorctl("vm1", "status", code=None)
            return {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}

        eventually(lambda: lines() == {"router": "RUNNING", "cat": "RUNNING", "listen": "RUNNING"}, within_s=10)
        assert (cluster.home / "vm1" / "log" / "cat.log").exists()
        cluster.generate()
        assert (local / "mine.conf").read_text() == LOCAL

        (local / "mine.conf").write_text("[program:cat]\n")
        done = cluster.ctl("generate", code=78)
        assert "does not specify a command" in done.stderr
        assert done.stderr.count("\n") == 1
        (local / "mine.conf").write_text("[program:cat]\ncommand = %(nope)s\n")
        cluster.ctl("stop")
        done = cluster.ctl("start", code=1)
        assert "Format string '%(nope)s'" in done.stderr
        assert "ENV_PATH" not in done.stderr
        (local / "mine.conf").unlink()
        os.mkfifo(local / "pipe.conf")  # supervisord would wait for its writer
        assert f"cannot include {local / 'pipe.conf'}" in cluster.ctl("start", code=78).stderr
        (local / "pipe.conf").unlink()
        cluster.ctl("start")
        assert lines() == {"router": "RUNNING"}


def test_a_template_of_ones_own_is_written_edited_and_given(tmp_path: Path) -> None:
    with running(servers=1, spare=False, start=False) as cluster:
        mine = tmp_path / "mine.tmpl"
        cluster.ctl("generate", "--write-template", str(mine))
        assert "exists; name another file" in cluster.ctl("generate", "--write-template", str(mine), code=2).stderr
        cluster.ctl("generate", "--check", "--template", str(mine))
        mine.write_text(mine.read_text().replace("loglevel = info", "loglevel = debug"))
        assert "supervisord.conf" in cluster.ctl("generate", "--template", str(mine)).stdout
        assert "loglevel = debug" in cluster.conf("vm1").read_text()
        assert cluster.ctl("doctor", environment={"SNS_TEMPLATE": str(mine)}).stdout.count("up to date") == 1
        assert "which changes vm1, vm2" in cluster.ctl("doctor").stdout
        assert cluster.ctl("start", "--template", str(mine)).stderr == ""
        for bad, words in (("nowhere", "No such file"), (str(tmp_path), "it is a folder")):
            assert words in cluster.ctl("generate", "--template", bad, code=78).stderr
        mine.chmod(0o666)
        assert f"others may write to {mine}" in cluster.ctl("generate", "--template", str(mine), code=78).stderr
        if os.geteuid() == 0:
            mine.chmod(0o644)
            os.chown(mine, 54321, 54321)
            assert "belongs to uid 54321" in cluster.ctl("start", "--template", str(mine), code=78).stderr


def test_the_template_needs_no_spec(tmp_path: Path) -> None:
    command = [str(BIN / "snsctl"), "generate", "--write-template", "new.tmpl"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("wrote new.tmpl")
    assert "[program:slave]" in (tmp_path / "new.tmpl").read_text()
