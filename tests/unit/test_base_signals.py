"""A process begins with every signal taken, and a program that started a cluster ends it by three signals."""

import signal
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import os, signal, sys, time
from snsnode.base.signals import exit_on_signals

with exit_on_signals():
    try:
        print("begun", flush=True)
        for _ in range(600):  # in pieces: a signal just before one begins is taken only when it is over
            time.sleep(0.1)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)  # as "timeout", which signals twice
        os.kill(os.getpid(), signal.SIGINT)
        print("ended what it began", flush=True)
"""
CLEAN = """
import signal
from snsnode.base.signals import start_clean

start_clean()
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
print([signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)] == [signal.SIG_DFL] * 2)
"""
DEAF = """
import os, signal, sys

signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""


def begun(program: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-c", textwrap.dedent(DEAF), program]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_program_that_is_ended_by_a_signal_ends_what_it_began(number: signal.Signals) -> None:
    with begun(PROGRAM) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
    assert (said, process.returncode) == ("ended what it began\n", 128 + number)


def test_process_that_was_started_deaf_takes_signals_again() -> None:
    with begun(CLEAN) as process:
        assert process.communicate(timeout=30)[0] == "True\n"
    assert process.returncode == 0
