"""What a master decides from the routers' answers, without a router."""

from snsnode.base.ids import Epoch
from snsnode.master import standing
from snsnode.master.standing import CLAIM_END, FOLLOW_MAX, Said, Standing, Then

STANDBY, AVAILABLE = Said(True, 0, 0), Said(False, 0, 0)


def test_a_granted_claim_is_news_once() -> None:
    granted = Said(False, highest_claim=5, granted_claim=5)
    first, is_news = standing.take(Standing(), "r1", granted)
    assert (first.claim, first.highest_claim, is_news) == (5, 5, True)
    assert standing.take(first, "r2", granted) == (first, False)


def test_claims_beyond_the_end_count_nothing() -> None:
    absurd = Said(False, highest_claim=CLAIM_END, granted_claim=CLAIM_END)
    after, is_news = standing.take(Standing(highest_claim=3), "r1", absurd)
    assert (after.claim, after.highest_claim, is_news) == (0, 3, False)


def test_who_takes_over_claims_more_than_anybody() -> None:
    known = Standing(claim=2, highest_claim=8).claiming()
    assert known.claim == 9


def test_clients_may_move_while_a_router_that_took_our_leaving_has_another_server() -> None:
    known, _ = standing.take(Standing().left(), "r1", STANDBY)
    assert known.may_move
    assert not known.stayed().may_move
    assert not known.unheard("r1").may_move
    assert not standing.take(known, "r1", AVAILABLE)[0].may_move
    assert standing.take(known, "r2", AVAILABLE)[0].may_move


def test_who_ends_does_not_stay() -> None:
    assert Standing().left(ending=True).stayed().leaving
    assert Standing().left(ending=True).left().ending
    assert not Standing().left().stayed().leaving


def test_a_refused_line_rises_unless_we_end_or_the_router_errs() -> None:
    own = Epoch(4)
    assert standing.after_refusal(Standing(), own, Epoch(4 + FOLLOW_MAX)) is Then.RISE
    assert standing.after_refusal(Standing().left(), own, Epoch(9)) is Then.RISE
    assert standing.after_refusal(Standing(), own, Epoch(5 + FOLLOW_MAX)) is Then.REST
    assert standing.after_refusal(Standing().left(ending=True), own, Epoch(9)) is Then.REST


def test_after_a_rise_the_line_registers_at_once_and_else_rests() -> None:
    assert standing.after_rise(Epoch(4), Epoch(10)) is Then.AGAIN
    assert standing.after_rise(Epoch(4), Epoch(4)) is Then.REST


def test_the_second_of_two_refused_lines_claims_nothing_more() -> None:
    assert standing.risen(Epoch(4), Epoch(9)) == 10
    assert standing.risen(Epoch(4), Epoch(4)) == 5
    assert standing.risen(Epoch(10), Epoch(9)) is None
