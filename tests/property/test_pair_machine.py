"""The pair machine in a small world of its own, driven by hypothesis: what holds whatever happens.

The world keeps the promises of ``watch``: one replacement at a time, each reports once, a dead partner is told
of, at most so many beats are out, and each of them ends.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from snsnode.guard.invariants import by_machine, of_serving
from snsnode.guard.machine import (
    Action,
    Answered,
    Beat,
    Cause,
    Clear,
    Cleared,
    Died,
    Event,
    Failed,
    Launch,
    Missed,
    Phase,
    Rules,
    Seen,
    State,
    Tick,
    step,
)
from snsnode.guard.times import TICK_S
from snsnode.node.process import Identity

BEATS_AT_ONCE = 2

HANG = {Cause.FROZEN, Cause.HUNG, Cause.UNANSWERED, Cause.WEDGED, Cause.SILENT, Cause.NEVER_READY}

rules_of_slave = st.builds(
    Rules,
    interval_s=st.sampled_from([0.1, 1.0, 3.0, 10.0]),
    timeout_s=st.sampled_from([0.1, 1.0]),
    silence_s=st.just(20.0),
    start_deadline_s=st.just(20.0),
    sends=st.just(True),
)
rules_of_master = st.builds(
    Rules,
    interval_s=st.just(3.0),
    timeout_s=st.just(1.0),
    silence_s=st.just(9.0),
    start_deadline_s=st.just(20.0),
    sends=st.just(False),
)


@dataclass
class Process:
    """A partner as it really is."""

    identity: Identity
    alive: bool = True
    ready_at_s: float = 0.0  # answers from then on
    serves: bool = True  # its loop turns
    answers: bool = True  # its KeepAlive threads do
    shows: bool = True  # has a progress counter
    letter: str = "S"
    count: int = 0
    told_dead: bool = False

    @property
    def runs(self) -> bool:
        return self.alive and self.letter not in "Tt"


@dataclass
class World:
    """The watcher, its partners, and the clock."""

    rules: Rules
    state: State = field(default_factory=State)
    now_s: float = 500.0
    wanted: bool = True
    processes: list[Process] = field(default_factory=list)
    replacing: Clear | Launch | None = None
    beats: list[tuple[float, Identity]] = field(default_factory=list)  # when each times out
    last_look_s: float | None = None
    last_beat_s: float = 0.0
    launches: int = 0
    verdicts: list[tuple[float, Cause, Process]] = field(default_factory=list)
    budget_s: float = 0.0

    # --- what is so ------------------------------------------------------------------------------------

    def process(self, identity: Identity | None) -> Process | None:
        return next((p for p in self.processes if p.identity == identity), None)

    @property
    def living(self) -> list[Process]:
        return [p for p in self.processes if p.alive]

    @property
    def watched(self) -> Process | None:
        return self.process(self.state.partner)

    # --- what happens ----------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        before = self.state
        self.state, actions = step(before, event, self.now_s, self.rules, wanted=self.wanted)
        again = step(before, event, self.now_s, self.rules, wanted=self.wanted)
        assert (self.state, actions) == again  # pure
        assert by_machine(before, event, self.now_s, self.rules, self.wanted, self.state, actions) == []
        for action in actions:
            self._act(action, before)

    def _act(self, action: Action, before: State) -> None:
        match action:
            case Beat(partner):
                assert self.rules.sends
                assert partner == self.state.partner
                if len(self.beats) < BEATS_AT_ONCE:
                    self.beats.append((self.now_s + self.rules.timeout_s, partner))
            case Clear(partner, cause):
                assert self.replacing is None  # I5
                assert self.state.phase is Phase.CLEARING
                process = self.process(partner)
                assert process is not None
                if before.phase is not Phase.CLEARING:  # else it is tried again: the verdict stands
                    self._check_verdict(process, cause, before)
                    self.verdicts.append((self.now_s, cause, process))
                self.replacing = action
            case Launch():
                assert self.replacing is None  # I5
                assert self.wanted  # I2
                known = self.process(before.partner)
                assert known is None or not known.alive  # I1
                self.launches += 1
                self.replacing = action

    def _check_verdict(self, process: Process, cause: Cause, before: State) -> None:
        if cause is Cause.DEAD:
            assert not process.alive  # I4
            return
        assert cause in HANG
        assert self.wanted
        assert process.letter != "t"
        if cause is not Cause.FROZEN:
            assert self.last_look_s is None or self.now_s - self.last_look_s <= 0.5 + 1e-6  # I3
            assert cause is Cause.NEVER_READY or self.now_s >= before.trusted_from_s

    def look(self) -> None:
        """One turn of the watcher."""
        if self.replacing is None:
            holder = next((p for p in self.living if p.identity != self.state.partner), None)
            current = self.watched
            if holder is not None and (current is None or not current.alive):
                self.feed(Seen(holder.identity, settled=False))
        process = self.watched
        if process is None:
            self.feed(Tick())
        else:
            letter = process.letter if process.alive else None
            self.feed(Tick(letter, process.count if process.shows else None))
        self.last_look_s = self.now_s

    def pass_time(self, for_s: float) -> None:
        self.now_s += for_s
        for process in self.processes:
            if process.runs and process.serves and int(self.now_s * 10) != int((self.now_s - for_s) * 10):
                process.count += 1

    def end_beats(self) -> None:
        """Answer or time out."""
        out, self.beats = self.beats, []
        for at_s, partner in out:
            process = self.process(partner)
            if process is not None and process.runs and process.answers and process.ready_at_s <= self.now_s:
                self.feed(Answered(partner))
            elif at_s <= self.now_s or process is None or not process.alive:
                self.feed(Missed(partner))
            else:
                self.beats.append((at_s, partner))

    def send_beats(self) -> None:
        """Where the watcher listens: the partner sends."""
        process = self.watched
        if self.rules.sends or process is None or self.now_s - self.last_beat_s < self.rules.interval_s:
            return
        if process.runs and process.serves and process.answers and process.ready_at_s <= self.now_s:
            self.last_beat_s = self.now_s
            self.feed(Answered(process.identity))

    def tell_deaths(self) -> None:
        """The pidfd of whoever is watched."""
        process = self.watched
        if process is not None and not process.alive and not process.told_dead:
            process.told_dead = True
            self.feed(Died(process.identity))

    def finish_replacing(self, fails: bool = False, ready_in_s: float = 0.2) -> None:
        done, self.replacing = self.replacing, None
        match done:
            case Clear(partner):
                process = self.process(partner)
                assert process is not None
                process.alive = False
                process.told_dead = True
                if self.living:
                    self.feed(Seen(self.living[0].identity))
                else:
                    self.feed(Cleared(self.budget_s if self.wanted else 0.0))
            case Launch():
                if self.living:
                    self.feed(Seen(self.living[0].identity))
                elif fails:
                    self.feed(Cleared(max(self.budget_s, 0.1)))
                else:
                    self.feed(Seen(self.start(ready_in_s).identity))
            case None:
                pass

    def break_off(self, killed: bool) -> None:
        """End the replacement under way because the watcher lacks something, before or after the kill."""
        done, self.replacing = self.replacing, None
        if isinstance(done, Clear) and killed:
            process = self.process(done.partner)
            assert process is not None
            process.alive, process.told_dead = False, True
        if done is not None:
            self.feed(Failed())

    def start(self, ready_in_s: float) -> Process:
        assert not self.living  # the role's lock
        number = len(self.processes) + 1
        process = Process(Identity(number, number, "boot"), ready_at_s=self.now_s + ready_in_s)
        self.processes.append(process)
        return process

    def turn(self, after_s: float = TICK_S) -> None:
        """One fair turn: everybody whose turn it is gets it."""
        self.pass_time(after_s)
        self.end_beats()
        self.send_beats()
        self.tell_deaths()
        self.look()
        self.finish_replacing()


class Pair(RuleBasedStateMachine):
    """Everything may happen at any time, and in any order."""

    @initialize(rules=st.one_of(rules_of_slave, rules_of_master))
    def begin(self, rules: Rules) -> None:
        self.world = World(rules)

    @rule()
    def turn(self) -> None:
        self.world.turn()

    @rule(turns=st.integers(2, 120))
    def turns(self, turns: int) -> None:
        for _ in range(turns):
            self.world.turn()

    @rule(after_s=st.floats(0.0, 30.0))
    def look(self, after_s: float) -> None:
        self.world.pass_time(after_s)
        self.world.look()

    @rule(after_s=st.floats(0.0, 30.0))
    def beats_end_first(self, after_s: float) -> None:
        self.world.pass_time(after_s)
        self.world.end_beats()

    @rule()
    def partner_sends(self) -> None:
        self.world.send_beats()

    @rule(fails=st.booleans(), ready_in_s=st.floats(0, 40), budget_s=st.sampled_from([0.0, 0.1, 10.0]))
    def replacement_goes_on(self, fails: bool, ready_in_s: float, budget_s: float) -> None:
        self.world.budget_s = budget_s
        self.world.finish_replacing(fails, ready_in_s)

    @rule(killed=st.booleans())
    def replacement_breaks_off(self, killed: bool) -> None:
        self.world.break_off(killed)

    @precondition(lambda self: self.world.watched is not None)
    @rule(letter=st.sampled_from("SRDTt"))
    def partner_changes_state(self, letter: str) -> None:
        assert self.world.watched is not None
        self.world.watched.letter = letter

    @precondition(lambda self: self.world.watched is not None)
    @rule(serves=st.booleans(), answers=st.booleans(), shows=st.booleans())
    def partner_hangs_or_recovers(self, serves: bool, answers: bool, shows: bool) -> None:
        assert self.world.watched is not None
        self.world.watched.serves, self.world.watched.answers = serves, answers
        self.world.watched.shows = shows

    @rule(tell=st.booleans())
    def somebody_kills_it(self, tell: bool) -> None:
        for process in self.world.living:
            process.alive = False
        if tell:
            self.world.tell_deaths()

    @rule()
    def death_is_told(self) -> None:
        self.world.tell_deaths()

    @precondition(lambda self: not self.world.living)
    @rule(ready_in_s=st.floats(0, 5))
    def somebody_else_starts_one(self, ready_in_s: float) -> None:
        self.world.start(ready_in_s)

    @rule(wanted=st.booleans())
    def operator(self, wanted: bool) -> None:
        self.world.wanted = wanted

    @invariant()
    def one_lives_at_most(self) -> None:
        assert of_serving([process.identity for process in self.world.living]) == []

    @invariant()
    def the_state_is_whole(self) -> None:
        state = self.world.state
        watching = state.phase in (Phase.STARTING, Phase.UP, Phase.DOUBTED)
        assert not watching or state.partner is not None
        assert state.phase not in (Phase.ABSENT, Phase.WAITING) or state.partner is None
        under_way = self.world.replacing is not None or state.clear_at_s is not None  # I6
        assert (state.phase is Phase.CLEARING) == under_way

    def teardown(self) -> None:
        """Liveness: left alone and wanted, a pair has a serving partner soon, whatever was before."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.wanted, world.budget_s = True, 0.0
        for process in world.processes:
            if process.letter == "t":
                process.letter = "S"  # the debugger leaves
        deadline_s = world.now_s + 60.0
        while world.now_s < deadline_s:
            world.turn()
        partner = world.watched
        assert partner is not None and partner.alive, world.state
        assert partner.runs and (partner.answers or not world.rules.sends), world.state
        assert partner.serves or not partner.shows, world.state
        assert world.state.phase is Phase.UP, world.state


TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# --- bounds, on a watcher whose ticks come in time ----------------------------------------------------------

jitters = st.lists(st.floats(0.0, 0.3), min_size=400, max_size=400)


def serving(rules: Rules) -> World:
    world = World(rules)
    for _ in range(100):
        world.turn()
    assert world.state.phase is Phase.UP
    assert world.launches == 1
    return world


DEFAULT = Rules(interval_s=3.0, timeout_s=1.0, silence_s=9.0, start_deadline_s=20.0, sends=True)
LISTENER = Rules(interval_s=3.0, timeout_s=1.0, silence_s=9.0, start_deadline_s=20.0, sends=False)


@settings(deadline=None, max_examples=50)
@given(jitters, st.sampled_from([DEFAULT, LISTENER]))
def test_healthy_partner_is_never_condemned_however_unevenly_we_look(late: list[float], rules: Rules) -> None:
    world = serving(rules)
    for more_s in late:
        world.turn(TICK_S + more_s)
    assert world.verdicts == []
    assert world.launches == 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.0, 40.0), max_size=100), st.sampled_from([DEFAULT, LISTENER]))
def test_healthy_partner_is_never_condemned_by_a_watcher_that_is_often_away(
    away: list[float], rules: Rules
) -> None:
    world = serving(rules)
    for away_s in away:
        world.pass_time(away_s)
        for beat in range(len(world.beats)):  # our deadlines passed while we were away: told before we look
            world.beats[beat] = (world.now_s, world.beats[beat][1])
        missed, world.beats = world.beats, []
        for _, partner in missed:
            world.feed(Missed(partner))
        world.look()
        world.turn()
    assert world.verdicts == []


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 40), st.floats(0.0, 0.1))
def test_stopped_is_found_within_three_tenths(turns: int, part_s: float) -> None:
    world = serving(DEFAULT)
    for _ in range(turns):
        world.turn()
    partner = world.watched
    assert partner is not None
    world.now_s += part_s
    stopped_s, partner.letter = world.now_s, "T"
    while not world.verdicts:
        world.turn()
    assert world.verdicts[0][1] is Cause.FROZEN
    assert world.verdicts[0][0] - stopped_s <= 0.3 + 1e-6


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 40))
def test_deadlock_is_found_within_two_seconds(turns: int) -> None:
    world = serving(DEFAULT)
    for _ in range(turns):
        world.turn()
    partner = world.watched
    assert partner is not None
    locked_s, partner.serves, partner.answers = world.now_s, False, False
    while not world.verdicts:
        world.turn()
        assert world.now_s - locked_s < 30
    assert world.verdicts[0][1] is Cause.HUNG
    assert world.verdicts[0][0] - locked_s <= 2.0


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 40))
def test_silent_slave_is_found_after_the_silence(turns: int) -> None:
    world = serving(LISTENER)
    for _ in range(turns):
        world.turn()
    partner = world.watched
    assert partner is not None
    silent_s, partner.answers = world.last_beat_s, False
    while not world.verdicts:
        world.turn()
        assert world.now_s - silent_s < 30
    assert world.verdicts[0][1] is Cause.SILENT
    assert 9.0 <= world.verdicts[0][0] - silent_s <= 9.5


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 80), st.integers(0, 40))
def test_missed_beats_alone_condemn_nobody_before_the_silence(missing_turns: int, turns: int) -> None:
    world = serving(DEFAULT)
    for _ in range(turns):
        world.turn()
    partner = world.watched
    assert partner is not None
    answered_s = world.state.beat_s
    partner.answers = False
    for _ in range(missing_turns):
        world.turn()
        assert world.verdicts == [] or world.verdicts[0][0] - answered_s > DEFAULT.silence_s


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=100))
def test_beats_are_bounded_in_number_whatever_comes_of_them(steps: list[float]) -> None:
    """Each beat fails at once: no hot loop."""
    world = serving(DEFAULT)
    looks = beats = 0
    for after_s in steps:
        world.pass_time(after_s)
        world.look()
        looks += 1
        for _ in range(10):
            if not world.beats:
                break
            _, partner = world.beats.pop()
            beats += 1
            world.feed(Missed(partner))
    assert beats <= 2 * looks + 1
