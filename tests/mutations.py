"""Take one guard away at a time and see its test fail: python -m tests.mutations [WORD…] [--markdown]

Works on a copy of the tree, with the copy first on the path of everything that is started. Each mutation is the
least edit that takes a guard away; its tests must fail with it, and ``--without`` shows that they pass before.
WORD chooses the mutations whose guard contains it. Exit code 1 where no test missed a guard. A test of the suite
keeps the list in step with the sources.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from snsnode.base.signals import exit_on_signals

ROOT = Path(__file__).resolve().parents[1]
WITHIN_S = 300
_COPIED = (
    "supervisord.conf.tmpl",
    "snsnode",
    "tests",
    "conf",
    "proto",
    "docs",
    "bench",
    "bin",
    "pyproject.toml",
    "setup.cfg",
    "README.md",
)


class Mutation(NamedTuple):
    """``guard`` in words; ``old`` stands once in ``file`` and becomes ``new``; one of ``tests`` must then fail."""

    guard: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = (
    Mutation(
        "the child of a fork touches nothing of gRPC's",
        "snsnode/transport/forked.py",
        "_used_by is not None and _used_by != os.getpid()",
        "False",
        "tests/integration/test_client_fork.py",
    ),
    Mutation(
        "a new name that differs only in case is refused",
        "snsnode/store/sqlite_writes.py",
        "if alike and who.username not in alike:",
        "if False:",
        "tests/conformance/test_names.py",
    ),
    Mutation(
        "a pipe in a file's place is not waited for",
        "snsnode/base/reading.py",
        "os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC",
        "os.O_RDWR | os.O_CLOEXEC",
        "tests/unit/test_base_reading.py",
    ),
    Mutation(
        "JSON that is nested deep is damaged",
        "snsnode/base/reading.py",
        "    _check(value, surrogates)\n",
        "",
        "tests/unit/test_base_reading.py",
    ),
    Mutation(
        "an epoch far above the store's is not believed",
        "snsnode/master/run.py",
        "if self._claimed and epochs.is_beyond_belief(own, stored):",
        "if False:",
        "tests/integration/test_damaged.py",
    ),
    Mutation(
        "a master that asks whether it may end is not brought back meanwhile",
        "snsnode/master/leaving.py",
        "        if self._asking:\n",
        "        if False:\n",
        "tests/unit/test_master_leaving.py",
    ),
    Mutation(
        "a line is kept where another process rotates at the same moment",
        "snsnode/observe/shared_log.py",
        "        except FileNotFoundError:\n            return False",
        "        except FileNotFoundError:\n            raise",
        "tests/unit/test_observe_shared_log.py",
    ),
    Mutation(
        "a name is looked up also where threads are refused",
        "snsnode/router/peer.py",
        "while self._waiting and self._threads < LOOKUPS_AT_ONCE:",
        "if self._waiting and self._threads < LOOKUPS_AT_ONCE:",
        "tests/unit/test_router_peer.py",
    ),
    Mutation(
        "a watcher that was late judges nobody",
        "snsnode/guard/machine.py",
        "    if _is_late(state, now_s):\n        state = _forgive(state, now_s, rules)\n",
        "",
        "tests/unit/test_pair_verdicts.py",
    ),
    Mutation(
        "a stop ends the wait for a restart",
        "snsnode/guard/machine.py",
        "    if not wanted:  # I2",
        "    if False:  # I2",
        "tests/unit/test_pair_machine.py",
    ),
    Mutation(
        "nothing is launched before the old one is dead",
        "snsnode/guard/machine.py",
        "    return condemned, (Clear(state.partner, cause),)",
        "    return condemned, (Clear(state.partner, cause), Launch(cause))",
        "tests/unit/test_pair_verdicts.py",
    ),
    Mutation(
        "one look at state T is not enough",
        "snsnode/guard/machine.py",
        "if state.stopped_seen >= 2:",
        "if state.stopped_seen >= 1:",
        "tests/unit/test_pair_verdicts.py",
    ),
    Mutation(
        "a partner whose progress moves may miss beats for the whole silence",
        "snsnode/guard/machine.py",
        "now_s - state.beat_s > max(rules.silence_s, SILENCE_MIN_S)",
        "now_s - state.beat_s > 0",
        "tests/unit/test_pair_verdicts.py",
    ),
    Mutation(
        "what no disk took is added to what the partner wrote meanwhile",
        "snsnode/node/budget.py",
        "    recent_s = tuple(sorted({*ledger.recent_s, *unwritten.recent_s}))\n",
        "    recent_s = unwritten.recent_s or ledger.recent_s\n",
        "tests/unit/test_node_budget.py",
    ),
    Mutation(
        "an order that was refused does not begin",
        "snsnode/master/orders.py",
        "            if self._given_up or time.monotonic() > self._until_s:\n",
        "            if False:\n",
        "tests/unit/test_master_orders.py",
    ),
    Mutation(
        "an action that broke off is tried again",
        "snsnode/guard/machine.py",
        "return replace(state, clear_at_s=now_s + RETRY_S), ()",
        "return state, ()",
        "tests/unit/test_pair_machine.py",
    ),
    Mutation(
        "what we lack ourselves ends no watch",
        "snsnode/pair/watch.py",
        "                event = machine.Failed()\n",
        "                raise\n",
        "tests/unit/test_pair_watch_faults.py",
    ),
    Mutation(
        "the condemned one is killed before it is replaced",
        "snsnode/pair/watch.py",
        "        await kill_and_await(partner)\n",
        "",
        "tests/chaos/test_hung.py",
    ),
    Mutation(
        "a recycled pid is never shot",
        "snsnode/node/process.py",
        "    # Checked after opening: the pidfd pins whoever it is, so the answer cannot go stale.\n"
        "    if is_alive(identity):",
        "    if True:",
        "tests/unit/test_node_process.py",
    ),
    Mutation(
        "one process for each role",
        "snsnode/node/lock.py",
        "                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        "tests/unit/test_node_lock.py",
    ),
    Mutation(
        "the epoch rises with each incarnation, also where the store takes no claim",
        "snsnode/master/run.py",
        "await self._become(Epoch(own + 1))",
        "await self._become(Epoch(own))",
        "tests/chaos/test_disk.py",
    ),
    Mutation(
        "the store refuses a replaced incarnation (SQLite)",
        "snsnode/store/sqlite_batch.py",
        "    if newest <= incarnation.epoch:",
        "    if True:",
        "tests/conformance/test_epochs.py",
    ),
    Mutation(
        "a repeated request id is one post (SQLite)",
        "snsnode/store/sqlite_writes.py",
        "        if first_text == text:",
        "        if False:",
        "tests/conformance/test_posts.py",
    ),
    Mutation(
        "the restart budget is limited",
        "snsnode/node/budget.py",
        "    elif delayed == 0 and len(within) < rule.intensity:",
        "    elif True:",
        "tests/unit/test_node_budget.py",
    ),
    Mutation(
        "exit 78 goes straight to the longest delay",
        "snsnode/pair/watch.py",
        "hopeless=code == EXIT_CONFIG",
        "hopeless=False",
        "tests/chaos/test_crash_loop.py",
    ),
    Mutation(
        "a stop keeps the partner from restarting",
        "snsnode/node/intent.py",
        "    return is_stopped(vm_dir, role) or is_shutting_down(vm_dir)",
        "    return is_shutting_down(vm_dir)",
        "tests/unit/test_node_intent.py tests/chaos/test_stop.py",
    ),
    Mutation(
        "a pause suspends restarting",
        "snsnode/node/intent.py",
        "    return not (must_not_run(vm_dir, role) or is_paused(vm_dir))",
        "    return not must_not_run(vm_dir, role)",
        "tests/unit/test_node_intent.py tests/integration/test_why.py",
    ),
    Mutation(
        "an orphaned spare takes a dead master's place",
        "snsnode/guard/table.py",
        '    return "both" if _is_alone(view)',
        "    return None if _is_alone(view)",
        "tests/chaos/test_both_die.py",
    ),
    Mutation(
        "what an observer saw before it was away is no evidence",
        "snsnode/guard/judge.py",
        "    if memory.looked_s is not None and now_s - memory.looked_s > late_s(me, view, settings):\n"
        "        memory = Memory()\n",
        "",
        "tests/unit/test_master_spare.py",
    ),
    Mutation(
        "a wholly dead pair gets a new first launch from supervisord",
        "snsnode/supervisord/roles.py",
        "cause=launch.cause\n            )\n            self._fork()\n",
        "cause=launch.cause\n            )\n",
        "tests/chaos/test_both_die.py",
    ),
    Mutation(
        "supervisord starts nothing that its partner starts",
        "snsnode/supervisord/roles.py",
        '        if self.role == "slave" and (self.laststart or self._partner_launches()):',
        "        if False:",
        "tests/unit/test_supervisor_roles.py",
    ),
    Mutation(
        "a stop from supervisorctl is recorded before the signal",
        "snsnode/supervisord/roles.py",
        "                intent.stop(self.vm_dir, self.role)\n",
        "                pass\n",
        "tests/unit/test_supervisor_roles.py tests/integration/test_adoption.py",
    ),
    Mutation(
        "a slave whose counter stands still is ended where nobody else does it",
        "snsnode/guard/table.py",
        "    return slave.identity, slave.progress",
        "    return None",
        "tests/unit/test_supervisor_guards.py",
    ),
    Mutation(
        "a slave shows that its event loop turns",
        "snsnode/slave/run.py",
        '                ("progress", beat.move(self._progress)),\n',
        "",
        "tests/chaos/test_spare.py",
    ),
    Mutation(
        "master and spare that both hang, without a slave, get a new one",
        "snsnode/guard/table.py",
        "    return (view.master.identity, view.spare.identity) if both else None",
        "    return None",
        "tests/unit/test_supervisor_guards.py",
    ),
    Mutation(
        "a child that never reaches its lock is ended by whoever launched it",
        "snsnode/guard/table.py",
        "    return view.born\n",
        "    return None\n",
        "tests/unit/test_guard_judge.py",
    ),
    Mutation(
        "one that cannot be looked at is not called absent",
        "snsnode/node/places.py",
        "        return self.known and self.identity is None and not self.taken",
        "        return self.identity is None and not self.taken",
        "tests/unit/test_guard_judge.py",
    ),
    Mutation(
        "a stale pid file makes no victim",
        "snsnode/supervisord/foreign.py",
        "        return found if started_s <= written_s + _CLOCK_SLACK_S else None",
        "        return found",
        "tests/unit/test_supervisor_adoption.py",
    ),
    Mutation(
        "a launcher whose end is seen late is an attempt",
        "snsnode/supervisord/foreign.py",
        "        self.backoff = max(self.backoff, self._fruitless)\n",
        "",
        "tests/unit/test_supervisor_adoption.py",
    ),
    Mutation(
        "a reload closes what the life before it has opened",
        "snsnode/supervisord/lives.py",
        "        channel.close()\n",
        "        pass\n",
        "tests/integration/test_supervisord_reload.py",
    ),
    Mutation(
        "relative paths mean the same after a reload",
        "snsnode/supervisord/lives.py",
        "        sys.argv[1:] = arguments\n",
        "",
        "tests/integration/test_supervisord_reload.py",
    ),
    Mutation(
        "a stop ends whoever appeared beside the program's process",
        "snsnode/supervisord/following.py",
        "        for one in self._beside:\n            self._send_to(one, sig)\n",
        "",
        "tests/integration/test_supervisord_following.py",
    ),
    Mutation(
        "the end of an adopted process is expected by its exit code",
        "snsnode/supervisord/adoption.py",
        "expected = self.killing, code in self.config.exitcodes",
        "expected = self.killing, False",
        "tests/unit/test_supervisor_adoption.py",
    ),
    Mutation(
        "a start that no restart can help ends at once",
        "snsnode/control/start.py",
        "    if logs.is_hopeless(role) and not is_locked(vm.dir, role):",
        "    if False:",
        "tests/integration/test_start_errors.py",
    ),
    Mutation(
        "routers refuse an epoch that was replaced",
        "snsnode/router/table.py",
        "    if known is None or server.epoch > known.epoch or (server.epoch == known.epoch and not known.down):",
        "    if True:",
        "tests/unit/test_router_table.py",
    ),
    Mutation(
        "routers take only servers of the spec, at their addresses",
        "snsnode/router/table.py",
        "    if not is_member(table, server):",
        "    if False:",
        "tests/unit/test_router_table.py",
    ),
    Mutation(
        "an epoch that is not known, or leaps, counts only when it is confirmed",
        "snsnode/router/table.py",
        "        if confirmed or not is_doubtful(table, server):",
        "        if True:",
        "tests/unit/test_router_table.py",
    ),
    Mutation(
        "an epoch that leaps is taken from no other router",
        "snsnode/router/merge.py",
        "    return known is None or news.epoch > known.epoch + EPOCH_LEAP",
        "    return known is None",
        "tests/unit/test_router_merge.py",
    ),
    Mutation(
        "what another machine says of a server is asked of that server",
        "snsnode/router/service.py",
        "            if not is_own or tables.is_doubtful(self._table, server):",
        "            if tables.is_doubtful(self._table, server):",
        "tests/integration/test_router_strangers.py",
    ),
    Mutation(
        "a router that did not run expires nobody",
        "snsnode/router/table.py",
        "    if late or deaf:",
        "    if deaf:",
        "tests/unit/test_router_leases.py",
    ),
    Mutation(
        "silence of all servers is the router's own fault",
        "snsnode/router/table.py",
        "    if late or deaf:",
        "    if late:",
        "tests/unit/test_router_leases.py",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen mutations and print what became of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only guards that contain it")
    parser.add_argument("--markdown", action="store_true", help="print a table")
    parser.add_argument("--without", action="store_true", help="first run the tests without the mutation")
    chosen = parser.parse_args(arguments)
    unnoticed = 0
    if chosen.markdown:
        print("| guard taken away | in | test that fails |\n|---|---|---|")
    for mutation in MUTATIONS:
        if chosen.words and not any(word in mutation.guard for word in chosen.words):
            continue
        began_s = time.monotonic()
        if chosen.without and (failed := failing(None, mutation.tests)):
            print(f"{mutation.guard}: {failed} fails without the mutation", file=sys.stderr)
            unnoticed += 1
        test = failing(mutation, mutation.tests)
        unnoticed += not test
        shown = f"`{test}`" if test else "NONE"
        if chosen.markdown:
            print(f"| {mutation.guard} | `{Path(mutation.file).name}` | {shown} |", flush=True)
        else:
            print(f"{mutation.guard}: {shown} ({time.monotonic() - began_s:.0f} s)", flush=True)
    return 1 if unnoticed else 0


def failing(mutation: Mutation | None, tests: str) -> str:
    """Return the first of ``tests`` that fails with ``mutation``; "" where none does."""
    with tempfile.TemporaryDirectory(prefix="sns-") as folder:
        copy = Path(folder)
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, symlinks=False, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        if mutation is not None:
            file = copy / mutation.file
            file.write_text(file.read_text().replace(mutation.old, mutation.new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests.split()]
        done = subprocess.run(
            command,
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        found = re.search(r"^(?:FAILED|ERROR) \S+?::([\w:]+)", done.stdout, re.MULTILINE)
        if done.returncode not in (0, 1) or (done.returncode == 1 and not found):
            raise RuntimeError(done.stdout[-2000:])
        return found[1] if found else ""


if __name__ == "__main__":
    with exit_on_signals():  # what it started is ended, too
        sys.exit(main())
