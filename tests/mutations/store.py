"""Guards of the store and what it keeps."""

from tests.mutations.entry import Mutation

MUTATIONS = (
    Mutation(
        "a new name that differs only in case is refused",
        "snsnode/store/sqlite_writes.py",
        "if alike and who.username not in alike:",
        "if False:",
        "tests/conformance/test_names.py",
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
)
