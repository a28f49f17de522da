"""Which of several database servers is written to."""

from snsnode.base.errors import ConfigError, SnsError, Unavailable
from snsnode.store.postgresql_choice import Answer, choose, none_found
from snsnode.store.postgresql_url import Host, Target

DB1, DB2 = Host("db1", 5432), Host("db2", 5432)
TARGET = Target((DB1, DB2), "sns", "sns", None, "")
DOWN: SnsError = Unavailable("does not answer within 1 s")


def test_the_primary_is_chosen_whatever_the_order() -> None:
    primary, standby = Answer(DB1, timeline=3), Answer(DB2)
    assert choose([primary, standby], 0) == primary
    assert choose([standby, primary], 3) == primary


def test_of_two_primaries_the_promoted_one_is_chosen() -> None:
    old, new = Answer(DB1, timeline=1), Answer(DB2, timeline=2)
    assert choose([old, new], 0) == choose([new, old], 1) == new


def test_a_replaced_primary_is_never_gone_back_to() -> None:
    old = Answer(DB1, timeline=1)
    assert choose([old, Answer(DB2, failure=DOWN)], 2) is None
    error = none_found(TARGET, [old, Answer(DB2, failure=DOWN)], 2)
    assert isinstance(error, Unavailable)
    assert "db1:5432 was replaced: it is on timeline 1, and 2 is known; rebuild it" in error.message


def test_without_a_primary_each_host_is_explained() -> None:
    answers = [Answer(DB1), Answer(DB2, failure=DOWN)]
    assert choose(answers, 0) is None
    error = none_found(TARGET, answers, 0)
    assert type(error) is Unavailable
    assert error.message == (
        "cannot use the store postgresql://sns@db1:5432,db2:5432/sns: db1:5432 is a standby; promote it, or name "
        "its primary too; db2:5432 does not answer within 1 s"
    )


def test_only_where_every_host_refuses_for_good_it_is_the_configuration() -> None:
    refused = ConfigError("has no such database; create it")
    both = [Answer(DB1, failure=refused), Answer(DB2, failure=refused)]
    assert type(none_found(TARGET, both, 0)) is ConfigError
    assert type(none_found(TARGET, [both[0], Answer(DB2, failure=DOWN)], 0)) is Unavailable
    assert type(none_found(TARGET, [both[0], Answer(DB2)], 0)) is Unavailable
