"""The story that ``snsctl why`` makes of the journal."""

from datetime import UTC, date
from typing import Any

import pytest

from snsnode.control.story import line, raw, tell
from snsnode.observe.journal import Entry


def entry(second: float, role: str, event: str, *, pid: int, vm: str = "vm2", **fields: Any) -> Entry:
    return Entry(f"2026-11-22T19:14:{second:06.3f}Z", role, event, {"vm": vm, "pid": pid, **fields})


def told(*entries: Entry) -> list[str]:
    return [sentence.text for sentence in tell(entries)]


FIRST_LAUNCH = [
    entry(1, "slave", "slave-started", pid=10),
    entry(1.4, "master", "serving", pid=20, epoch=1),
    entry(1.5, "slave", "master-up", pid=10, cause="first launch", partner_pid=20, epoch=1, took_ms=629.6),
    entry(1.5, "master", "slave-up", pid=20, cause="found running", partner_pid=10),
]


def test_first_launch_is_two_sentences() -> None:
    assert told(*FIRST_LAUNCH) == [
        "slave (process 10) started",
        "the slave launched the master as process 20, epoch 1, in 630 ms",
    ]


def test_outage_is_one_sentence_with_cause_epoch_and_duration() -> None:
    assert told(
        *FIRST_LAUNCH,
        entry(36, "slave", "master-down", pid=10, cause="died", partner_pid=20, epoch=1, exit_code=-9),
        entry(36, "master", "serving", pid=30, epoch=2),
        entry(36, "master", "slave-up", pid=30, cause="found running", partner_pid=10),
        entry(36.1, "slave", "master-up", pid=10, cause="died", partner_pid=30, epoch=2, took_ms=12.3),
    )[2:] == [
        "master (process 20) died, killed by SIGKILL; restarted by the slave as process 30, epoch 2, in 12 ms"
    ]


def test_slave_that_comes_back_is_not_told_twice() -> None:
    assert told(
        entry(1, "master", "slave-down", pid=20, cause="fell silent", partner_pid=10),
        entry(2, "slave", "slave-started", pid=11),
        entry(2, "master", "slave-up", pid=20, cause="fell silent", partner_pid=11, took_ms=1500),
    ) == ["slave (process 10) fell silent and was killed; restarted by the master as process 11, in 1.5 s"]


def test_router_that_was_ended_is_told_with_its_successor() -> None:
    down = entry(1, "supervisord", "router-down", pid=1, cause="stopped (state T)", partner_pid=10)
    assert told(down) == ["router (process 10) was frozen (SIGSTOP) and was killed; it is not back yet"]
    assert told(down, entry(2, "router", "router-started", pid=11)) == [
        "router (process 10) was frozen (SIGSTOP) and was killed; supervisord started it again as process 11",
        "router (process 11) started",
    ]
    moves = entry(1, "supervisord", "router-down", pid=1, cause="it does not move", partner_pid=10)
    assert told(moves) == ["router (process 10) did not move and was killed by supervisord; it is not back yet"]


def test_outage_without_an_end_says_so() -> None:
    down = entry(1, "slave", "master-down", pid=10, cause="died", partner_pid=20, exit_code=78)
    assert told(down) == ["master (process 20) died, exit code 78; it is not back yet"]
    assert told(down, entry(2, "slave", "master-down", pid=10, cause="died", partner_pid=21))[0] == (
        "master (process 20) died, exit code 78; it did not come back at once"
    )


def test_degraded_and_failed_launches_stand_on_their_own() -> None:
    assert told(
        entry(1, "slave", "master-launch-failed", pid=10, cause="cannot start the master: no memory"),
        entry(2, "slave", "degraded", pid=10, partner="master", wait_ms=10_300, restarts=7),
    ) == [
        "the slave could not launch the master: cannot start the master: no memory",
        "DEGRADED: the master fails too often; the next start waits 10.3 s ('snsctl doctor' may tell why)",
    ]


def test_failure_is_told_with_the_end_that_it_was() -> None:
    failed = entry(0.9, "master", "failed", pid=20, cause="cannot listen on 127.0.0.1:3020", exit_code=78)
    down = entry(1, "slave", "master-down", pid=10, cause="died", partner_pid=20, exit_code=78)
    assert told(failed, down) == [
        "master (process 20) died, exit code 78 (cannot listen on 127.0.0.1:3020); it is not back yet"
    ]
    assert told(failed) == ["master (process 20) failed: cannot listen on 127.0.0.1:3020, exit code 78"]


def test_rescue_by_the_spare_includes_its_serving() -> None:
    assert told(
        entry(1, "spare", "rescue", pid=30, cause="master and slave died", wait_ms=0, restarts=0),
        entry(1, "master", "serving", pid=30, epoch=6),
    ) == ["master and slave died; the spare (process 30) took the master's place, epoch 6"]


def test_new_first_launch_of_a_dead_pair() -> None:
    assert told(
        entry(1, "supervisord", "first-launch", pid=1, cause="the whole pair was dead"),
        entry(2, "slave", "slave-started", pid=10),
    ) == ["the whole pair was dead; supervisord launched its slave anew", "slave (process 10) started"]


def test_stop_on_purpose_includes_the_drain() -> None:
    assert told(
        entry(1, "master", "draining", pid=20, clients=1),
        entry(2, "slave", "master-stopped", pid=10, cause="died", partner_pid=20),
        entry(3, "slave", "slave-ended", pid=10, cause="asked to stop"),
    ) == [
        "master (process 20) was stopped on purpose, after 1 client moved elsewhere",
        "slave (process 10) ended: asked to stop",
    ]


def test_planned_restart_is_one_sentence_and_no_death() -> None:
    assert told(
        *FIRST_LAUNCH,
        entry(5, "master", "draining", pid=20, clients=2),
        entry(5.2, "slave", "master-stopped", pid=10, cause="died", partner_pid=20, epoch=1, exit_code=0),
        entry(5.6, "master", "serving", pid=30, epoch=2),
        entry(5.7, "slave", "master-up", pid=10, cause="first launch", partner_pid=30, epoch=2, took_ms=100),
        entry(5.7, "master", "slave-up", pid=30, cause="found running", partner_pid=10),
    )[2:] == [
        "master (process 20) was restarted on purpose, after 2 clients moved elsewhere; now process 30, epoch 2, "
        "500 ms later"
    ]


def test_planned_restart_of_a_slave_is_one_sentence_too() -> None:
    assert told(
        entry(5, "slave", "slave-ended", pid=10, cause="asked to stop"),
        entry(5.1, "master", "slave-stopped", pid=20, cause="died", partner_pid=10, exit_code=0),
        entry(5.3, "slave", "slave-started", pid=11),
        entry(5.6, "master", "slave-up", pid=20, cause="first launch", partner_pid=11),
    ) == ["slave (process 10) was restarted on purpose; now process 11, 500 ms later"]


def test_stop_and_a_start_long_after_it_are_two_sentences() -> None:
    assert told(
        entry(5, "slave", "master-stopped", pid=10, cause="died", partner_pid=20),
        entry(55, "slave", "master-up", pid=10, cause="first launch", partner_pid=30, epoch=2, took_ms=100),
    ) == [
        "master (process 20) was stopped on purpose",
        "the slave launched the master as process 30, epoch 2, in 100 ms",
    ]


def test_end_that_a_signal_asked_for_is_no_death_without_a_reason() -> None:
    assert told(
        entry(5, "master", "draining", pid=20, clients=0),
        entry(5.2, "slave", "master-down", pid=10, cause="died", partner_pid=20, exit_code=0),
        entry(5.3, "slave", "master-up", pid=10, cause="died", partner_pid=30, epoch=2, took_ms=100),
    ) == [
        "master (process 20) ended as a signal asked it to, exit code 0; restarted by the slave as process 30, "
        "epoch 2, in 100 ms"
    ]


def test_frozen_slave_that_supervisord_ended_is_told_with_its_successor() -> None:
    assert told(
        entry(1, "supervisord", "slave-down", pid=1, cause="stopped (state T)", partner_pid=10),
        entry(2, "supervisord", "first-launch", pid=1, cause="the master launches no slave"),
        entry(3, "slave", "slave-started", pid=11),
        entry(4, "slave", "master-down", pid=11, cause="stopped (state T)", partner_pid=20, epoch=1, exit_code=-9),
        entry(5, "slave", "master-up", pid=11, cause="stopped (state T)", partner_pid=30, epoch=2, took_ms=200),
        entry(5, "master", "slave-up", pid=30, cause="found running", partner_pid=11),
    ) == [
        "slave (process 10) was frozen (SIGSTOP) and was killed; found running again as process 11",
        "the master launches no slave; supervisord launched its slave anew",
        "slave (process 11) started",
        "master (process 20) was frozen (SIGSTOP) and was killed; restarted by the slave as process 30, epoch 2, "
        "in 200 ms",
    ]


def test_drain_without_a_partner_to_tell_is_told_by_the_master() -> None:
    drained = entry(1, "master", "draining", pid=20, clients=3)
    assert told(drained) == ["master (process 20) was asked to stop, after 3 clients moved elsewhere"]


def test_what_ends_during_a_pause_was_not_stopped() -> None:
    assert told(
        entry(1, "snsctl", "paused", pid=5),
        entry(2, "slave", "master-stopped", pid=10, cause="died", partner_pid=20, exit_code=-9),
        entry(3, "snsctl", "resumed", pid=6),
        entry(4, "slave", "master-up", pid=10, cause="first launch", partner_pid=30, epoch=2, took_ms=100),
    ) == [
        "restarting was paused by an operator",
        "master (process 20) ended while restarting was paused, killed by SIGKILL",
        "restarting was resumed by an operator",
        "the slave launched the master as process 30, epoch 2, in 100 ms",
    ]


def test_vms_are_told_apart_and_merged_by_time() -> None:
    story = tell(
        [
            entry(3, "router", "router-ended", pid=1, vm="vm1", cause="asked to stop"),
            entry(1, "slave", "slave-started", pid=10, vm="vm2"),
            entry(2, "slave", "slave-started", pid=10, vm="vm3"),
        ]
    )
    assert [sentence.vm for sentence in story] == ["vm2", "vm3", "vm1"]


def test_pid_that_returns_much_later_does_not_confuse_the_story() -> None:
    lives = [e for second in range(50) for e in (entry(second, "router", "router-started", pid=second),)]
    assert "slave (process 10) started" in told(
        entry(0, "slave", "slave-started", pid=10),
        *lives,
        entry(59, "master", "slave-up", pid=20, cause="died", partner_pid=10),
    )


def test_event_of_a_newer_version_is_shown_as_it_stands() -> None:
    assert told(entry(1, "master", "promoted", pid=20, by="vm1")) == ["master (process 20): promoted (by vm1)"]


@pytest.mark.parametrize(
    ("today", "when"), [(date(2026, 11, 22), "19:14:36"), (date(2026, 11, 23), "2026-11-22 19:14:36")]
)
def test_line_has_the_date_only_where_it_is_not_today(today: date, when: str) -> None:
    [sentence] = tell([entry(36, "snsctl", "paused", pid=5)])
    assert line(sentence, today, UTC) == f"{when} vm2: restarting was paused by an operator"


def test_line_of_a_damaged_time_is_still_shown() -> None:
    [sentence] = tell([Entry("when?", "snsctl", "paused", {"vm": "vm2"})])
    assert line(sentence, date(2026, 11, 22), UTC) == "when? vm2: restarting was paused by an operator"


def test_raw_gives_the_entry_back() -> None:
    one = entry(1, "master", "serving", pid=20, epoch=3)
    assert raw(one) == {
        "at": one.at, "vm": "vm2", "role": "master", "pid": 20, "event": "serving", "epoch": 3,
    }  # fmt: skip
