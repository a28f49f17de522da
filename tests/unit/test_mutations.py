"""The list of mutations is in step with the sources."""

import pytest

from tests.mutations import MUTATIONS
from tests.mutations.__main__ import ROOT
from tests.mutations.entry import Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.guard.replace(" ", "-"))
def test_guard_stands_once_where_the_mutation_looks(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.new != mutation.old
    for test in mutation.tests.split():
        file, _, name = test.partition("::")
        assert not name or f"def {name.partition('[')[0]}(" in (ROOT / file).read_text()
        assert (ROOT / file).is_file()
