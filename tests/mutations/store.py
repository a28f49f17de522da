"""Guards of the store and what it keeps."""

from tests.mutations.entry import Mutation

MUTATIONS = (
    Mutation(
        "an old SQLite store that cannot take additions is served",
        "snsnode/store/sqlite_file.py",
        """    except apsw.Error as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        where""",
        """    except ZeroDivisionError as error:
        where""",
        "tests/store/test_sqlite_additions.py",
    ),
    Mutation(
        "an old PostgreSQL store gets the additions, once",
        "snsnode/store/postgresql_schema.py",
        """        if not await connection.fetchval(_SQL["has_additions"]):
            await""",
        """        if True:
            await""",
        "tests/store/test_postgresql_additions.py",
    ),
    Mutation(
        "what the version before calls in PostgreSQL is never replaced",
        "snsnode/store/sql/postgresql/additions.sql",
        "CREATE OR REPLACE FUNCTION sns_write_named",
        "CREATE OR REPLACE FUNCTION sns_write",
        "tests/store/test_postgresql_additions.py",
    ),
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
