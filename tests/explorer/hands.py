"""The hands of each observer: what it does with the decisions of the shipped judge and machine, and when it looks.

A step is one thing that happens: a look, a word that arrives, a lock that is taken, a death.
"""

from snsnode.guard import invariants, machine, times
from snsnode.guard import judge as judging
from snsnode.guard.judge import Action, Memory
from snsnode.guard.machine import Cause, Phase
from snsnode.guard.table import Act
from snsnode.guard.times import Times
from snsnode.guard.view import Me, Place, View
from tests.explorer.ground import SERVES_S, Ground, Violation
from tests.explorer.setup import Setup
from tests.explorer.state import FOREVER, Kind, Process, State, Supervisor, identity, replace, rounded

SPARE_RETRY_S = 1.0
SETTLE_S = 0.0
DRAIN_S = 1.0
REFUSED_S = 0.0  # a beat to a master that does not listen yet


class World(Ground):
    """One state in the making: steps are carried out on it."""

    # --- what observers do -----------------------------------------------------------------------------------

    def feed(self, pid: int, event: machine.Event) -> None:
        """Give the partner's machine an event, and carry out what it says."""
        process = self.find(pid)
        if process is None:
            return
        sends = process.kind == "slave"
        role = "master" if sends else "slave"
        wanted = self.state.wanted(role)
        before = process.watch
        after, actions = self._stepped(before, event, sends=sends, wanted=wanted)
        if after.partner != before.partner and after.partner is not None and self.find(after.partner.pid) is None:
            self.news(pid, 0.0, "died", after.partner.pid)
        self.change(pid, watch=after)
        for action in actions:
            match action:
                case machine.Beat(partner):
                    self._beat(pid, partner.pid)
                case machine.Clear(partner, cause):
                    self._clear(pid, partner.pid, cause)
                case machine.Launch():
                    if not wanted:
                        raise Violation(f"the {process.kind} launches a {role} that is not wanted")
                    self.change(pid, busy="launch")
                    self.news(pid, 0.0, "launch", 0)

    def _stepped(
        self, before: machine.State, event: machine.Event, *, sends: bool, wanted: bool
    ) -> machine.Outcome:
        key = before, event, sends, wanted
        outcome = self.setup.outcomes.get(key)
        if outcome is None:
            rules = self.setup.rules(sends=sends)
            outcome = self.setup.step(before, event, 0.0, rules, wanted=wanted)
            _hold(invariants.by_machine(before, event, 0.0, rules, wanted, *outcome))
            self.setup.outcomes[key] = outcome
        return outcome

    def _beat(self, pid: int, partner: int) -> None:
        process, asked = self.find(pid), self.find(partner)
        assert process is not None
        if sum(what == "missed" for _, what, _ in process.news) >= 2:
            return
        listens = asked is not None and asked.stage in ("serving", "leaving")
        if asked is not None and listens and asked.condition in ("ok", "blocked"):
            if asked.condition == "ok":
                self._look_for_holder(partner)
                self.feed(partner, machine.Answered(identity(pid)))
            self.feed(pid, machine.Answered(identity(partner)))
        else:
            self.news(pid, self.setup.settings.timeout_s if listens else REFUSED_S, "missed", partner)

    def _clear(self, pid: int, victim: int, cause: Cause) -> None:
        process, found = self.find(pid), self.find(victim)
        assert process is not None
        self.change(pid, busy="clear", victim=victim)
        if found is None:
            self.news(pid, 0.0, "cleared", victim)
            return
        patience_s = _patience_s(cause, self.setup.settings)
        if cause is not Cause.DEAD and found.condition == "ok" and found.well_s >= max(1.0, patience_s / 2):
            raise Violation(f"the {process.kind} ends a healthy {found.kind} ({cause.value})")
        self.say(f"the {process.kind} ends the {found.kind}: {cause.value}")
        self.kill(victim)

    def hear(self, pid: int, news: tuple[float, str, int]) -> None:
        """Take what arrived."""
        process = self.find(pid)
        assert process is not None
        rest = list(process.news)
        rest.remove(news)
        self.change(pid, news=tuple(rest))
        _, what, about = news
        match what:
            case "missed":
                self.feed(pid, machine.Missed(identity(about)))
            case "died":
                self.feed(pid, machine.Died(identity(about)))
            case "cleared":
                self._cleared(pid)
            case "launch":
                self._launch(pid)
            case "go":
                self._go(pid)
            case "leave":
                self.kill(pid)
            case "answer":
                self._answered(pid, bool(about))

    def _cleared(self, pid: int) -> None:
        process = self.find(pid)
        assert process is not None
        role: Kind = "master" if process.kind == "slave" else "slave"
        self.change(pid, busy="", victim=0)
        successor = self.state.holder(role)
        if successor is not None:
            self.feed(pid, machine.Seen(identity(successor.pid)))
        else:
            self.feed(pid, machine.Cleared(self.withdraw() if self.state.wanted(role) else 0.0))
        self.wake(pid)

    def withdraw(self) -> float:
        """Ask the budget."""
        wait_s = self.setup.budget_wait_s
        self.state = replace(self.state, waits_s=max(self.state.waits_s, wait_s))
        return wait_s

    def _launch(self, pid: int) -> None:
        process = self.find(pid)
        assert process is not None
        role: Kind = "master" if process.kind == "slave" else "slave"
        self.change(pid, busy="")
        successor = self.state.holder(role)
        if successor is not None:
            self.feed(pid, machine.Seen(identity(successor.pid)))
            return
        child = self._send_in(pid) if role == "master" else 0
        if not child:
            self.say(f"the {process.kind} launches a {role}")
            child = self.spawn(role)
        self.feed(pid, machine.Seen(identity(child)))

    def _send_in(self, pid: int) -> int:
        process = self.find(pid)
        assert process is not None
        child = self.find(process.keeper.child)
        if child is None or child.stage != "ready":
            return 0
        self.say("the slave sends in the spare")
        keeper = replace(process.keeper, child=0, sent=child.pid, not_before_s=SETTLE_S)
        self.change(pid, keeper=keeper)
        self.news(child.pid, 0.0, "go", pid)
        return child.pid

    def _go(self, pid: int) -> None:
        """Become the master: its lock first, so that the pair never looks wholly dead."""
        if self.state.holder("master") is not None or not self.may_run("master"):
            self.kill(pid)
            return
        self.say("the spare takes the master's place")
        self.change(
            pid, kind="master", stage="locked", left_s=SERVES_S, parent=0, rows=Memory(), ask_s=FOREVER,
            answers=None, act="", act_s=FOREVER, told="",
        )  # fmt: skip

    def _look_for_holder(self, pid: int) -> None:
        process = self.find(pid)
        if process is None or process.busy:
            return
        holder = self.state.holder("master" if process.kind == "slave" else "slave")
        if holder is not None and identity(holder.pid) != process.watch.partner:
            self.feed(pid, machine.Seen(identity(holder.pid), settled=holder.stage in ("serving", "leaving")))

    def look(self, pid: int) -> None:
        """One look of a partner or a spare."""
        process = self.find(pid)
        assert process is not None
        self.change(pid, look_s=FOREVER)
        if process.kind != "spare":
            self._look_for_holder(pid)
            watched = self._sample(pid)
            if watched is not None:
                self.feed(pid, watched)
        if process.kind != "master":
            self._judge(pid)
        if self.find(pid) is not None and process.kind == "slave":
            self._keep_spare(pid)

    def _sample(self, pid: int) -> machine.Tick | None:
        process = self.find(pid)
        if process is None:
            return None
        partner = process.watch.partner
        found = self.find(partner.pid) if partner else None
        if found is None:
            return machine.Tick()
        progress = None
        if process.kind == "slave" and found.stage in ("serving", "leaving"):
            last = process.watch.progress
            progress = 1 - (last or 0) if found.runs else (last or 0)
        return machine.Tick(found.letter, progress)

    def _judged(self, rows: Memory, view: View, me: Me) -> judging.Verdict:
        """Judge, once for each memory and view: the judge is pure."""
        key = me, rows, view
        verdict = self.setup.verdicts.get(key)
        if verdict is None:
            settings, table = self.setup.settings, self.setup.rows_of[me]
            verdict = judging.judge(rows, view, me, 0.0, settings, table)
            _hold(invariants.by_judge(rows, view, me, 0.0, settings, *verdict, table))
            self.setup.verdicts[key] = verdict
        return verdict

    def _judge(self, pid: int, *, waited: bool = False) -> None:
        process = self.find(pid)
        if process is None:
            return
        me = Me.SLAVE if process.kind == "slave" else Me.SPARE
        view = self.view_of(process)
        memory, actions = self._judged(process.rows, view, me)
        self.change(pid, rows=memory)
        acts = {action.act for action in actions}
        if me is Me.SPARE and process.act in ("rescue", "launch") and not acts & {Act.RESCUE, Act.LAUNCH_SLAVE}:
            self.change(pid, act="", act_s=FOREVER)
        for action in actions:
            self._act(pid, action, waited=waited)

    def _act(self, pid: int, action: Action, *, waited: bool) -> None:
        process = self.find(pid)
        if process is None:
            return
        match action.act:
            case Act.END:
                assert action.victim is not None
                self._end(action, process.kind)
            case Act.LEAVE:
                self.say("the spare leaves")
                self.kill(pid)
            case Act.RESCUE | Act.LAUNCH_SLAVE:
                what = "rescue" if action.act is Act.RESCUE else "launch"
                if process.act != what:
                    wait_s = self.withdraw()
                    self.change(pid, act=what, act_s=wait_s or FOREVER)
                    waited = not wait_s
                if waited and what == "rescue":
                    self._go(pid)
                elif waited:
                    self.say("the spare launches a slave")
                    self.change(pid, act="", act_s=FOREVER, child=self.spawn("slave"))

    def _end(self, action: Action, by: str) -> None:
        assert action.victim is not None
        victim = self.find(action.victim.pid)
        if victim is None or victim.stage == "dying":
            return
        row = next(row for row in self.setup.table if row.name == action.row)
        patience_s = row.patience_s(self.setup.settings)
        well = victim.condition == "ok" and victim.well_s >= max(1.0, patience_s / 2)
        if well and action.place is not Place.SPARE:
            raise Violation(f"{by} ends a healthy {victim.kind} ({action.row})")
        self.say(f"{by} ends the {victim.kind}: {action.cause}")
        self.kill(victim.pid)

    def _keep_spare(self, pid: int) -> None:
        process = self.find(pid)
        assert process is not None
        keeper = process.keeper
        if keeper.child and self.find(keeper.child) is None:
            keeper = replace(keeper, child=0, not_before_s=max(keeper.not_before_s, SPARE_RETRY_S))
        if keeper.sent and (self.find(keeper.sent) is None or self.state.holder("master") is not None):
            keeper = replace(keeper, sent=0)
        if keeper.dismissed and self.find(keeper.dismissed) is None:
            keeper = replace(keeper, dismissed=0)
        wanted = self.setup.spare and self.state.wanted("master") and self.state.holder("master") is not None
        if wanted and not keeper.child and not keeper.dismissed and keeper.not_before_s <= 0:
            keeper = replace(keeper, child=self.spawn("spare", parent=pid))
        self.change(pid, keeper=keeper)

    def ask(self, pid: int) -> None:
        """A spare asks its slave whether it serves; silence takes the timeout."""
        process = self.find(pid)
        assert process is not None
        slave = self.find(process.parent)
        answers = slave is not None and slave.runs
        self.change(pid, ask_s=FOREVER)
        if answers or slave is None:
            self._answered(pid, answers)
        else:
            self.news(pid, self.setup.settings.timeout_s, "answer", 0)

    def _answered(self, pid: int, answers: bool) -> None:
        process = self.find(pid)
        assert process is not None
        alive = self.find(process.parent) is not None
        self.change(pid, answers=answers, ask_s=self.setup.settings.interval_s if alive else FOREVER)
        self.wake(pid)

    def act(self, pid: int) -> None:
        """A spare's wait is over: it looks once more."""
        process = self.find(pid)
        assert process is not None
        self.change(pid, act_s=FOREVER)
        self._judge(pid, waited=True)

    def look_of_supervisor(self) -> None:
        """One turn of supervisord's loop."""
        supervisor = self.state.supervisor
        view = self.view_of_supervisor()
        memory, actions = self._judged(supervisor.rows, view, Me.SUPERVISORD)
        supervisor = replace(supervisor, rows=memory, look_s=FOREVER)
        self.state = replace(self.state, supervisor=supervisor)
        launches = any(action.act is Act.LAUNCH_SLAVE for action in actions)
        if not launches and supervisor.asked:
            self.state = replace(self.state, supervisor=replace(supervisor, asked=False, launch_s=FOREVER))
        for action in actions:
            if action.act is Act.END:
                self._end(action, "supervisord")
            else:
                self._launch_by_supervisor()

    def _launch_by_supervisor(self) -> None:
        supervisor = self.state.supervisor
        if not supervisor.asked:
            wait_s = self.withdraw()
            supervisor = replace(supervisor, asked=True, launch_s=wait_s)
            self.state = replace(self.state, supervisor=supervisor)
        if supervisor.launch_s <= 0:
            self.say("supervisord launches a slave")
            child = self.spawn("slave")
            done = replace(self.state.supervisor, child=child, asked=False, launch_s=FOREVER)
            self.state = replace(self.state, supervisor=done)

    # --- when each looks next --------------------------------------------------------------------------------

    def due_s(self, process: Process) -> float:
        """Return in how many seconds this observer's next look does something, if nothing happens before."""
        due: list[float] = []
        if process.kind != "spare" and not process.busy:
            sends = process.kind == "slave"
            partner = process.watch.partner
            found = self.find(partner.pid) if partner else None
            moving = found is not None and found.runs
            wanted = self.state.wanted("master" if sends else "slave")
            watch = process.watch
            if watch.phase is Phase.STARTING and not _would_answer(found):
                watch = replace(watch, next_beat_s=FOREVER)  # nobody answers, and misses do not count yet
            at_s = machine.due_s(watch, self.setup.rules(sends=sends), wanted=wanted, moving=moving)
            due += [at_s] if at_s is not None else []
        if process.kind != "master":
            me = Me.SLAVE if process.kind == "slave" else Me.SPARE
            row_s = judging.due_s(
                process.rows, self.view_of(process), me, self.setup.settings, self.setup.rows_of[me]
            )
            due += [row_s] if row_s is not None and (process.act_s >= FOREVER / 2 or me is Me.SLAVE) else []
        if process.kind == "slave" and self._lacks_spare(process):
            due.append(process.keeper.not_before_s)
        if not due:
            return FOREVER
        looked_s = None if process.kind == "spare" else process.watch.tick_s
        earliest_s = 0.0 if looked_s is None else looked_s + times.TICK_S
        return rounded(max(0.0, earliest_s, min(due)))

    def _row_due_s(self, rows: Memory, view: View, me: Me) -> float | None:
        return judging.due_s(rows, view, me, self.setup.settings, self.setup.rows_of[me])

    def _lacks_spare(self, process: Process) -> bool:
        keeper = process.keeper
        wanted = self.setup.spare and self.state.wanted("master") and self.state.holder("master") is not None
        return wanted and not keeper.child and not keeper.dismissed

    def due_of_supervisor_s(self) -> float:
        """Return in how many seconds supervisord's next look does something, if nothing happens before."""
        rows, view = self.state.supervisor.rows, self.view_of_supervisor()
        if self.state.supervisor.asked:
            at_s = self.state.supervisor.launch_s
        else:
            row_s = judging.due_s(
                rows, view, Me.SUPERVISORD, self.setup.settings, self.setup.rows_of[Me.SUPERVISORD]
            )
            if row_s is None:
                return FOREVER
            at_s = row_s
        return rounded(max(0.0, at_s))


def _hold(broken: list[str]) -> None:
    if broken:
        raise Violation("; ".join(broken))


def _would_answer(found: Process | None) -> bool:
    return found is not None and found.stage == "serving" and found.condition in ("ok", "blocked")


def _patience_s(cause: Cause, settings: Times) -> float:
    match cause:
        case Cause.SILENT | Cause.UNANSWERED | Cause.WEDGED:
            return settings.partner_s
        case Cause.NEVER_READY:
            return times.START_S
        case _:
            return machine.STALL_S


def first_state(setup: Setup) -> State:
    """Return a pair that supervisord has just launched."""
    world = World(setup, State())
    child = world.spawn("slave")
    return replace(world.state, supervisor=Supervisor(child=child, look_s=times.SUPERVISORD_TICK_S))
