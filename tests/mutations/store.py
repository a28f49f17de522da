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
        "what closes a store that is copied waits for the step that was cancelled",
        "snsnode/store/sqlite_transfer.py",
        """            with self._in_use:
                return work()""",
        """            return work()""",
        "tests/store/test_store_copy.py",
    ),
    Mutation(
        "a want of descriptors is no bad configuration of the store",
        "snsnode/store/sqlite_file.py",
        "    if isinstance(error, apsw.CantOpenError):",
        "    if False:",
        "tests/store/test_sqlite_file.py",
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
    Mutation(
        "settings are made after connecting, for a pooler refuses them",
        "snsnode/store/postgresql_connect.py",
        "            server_settings=_NAMED,",
        "            server_settings=_NAMED | _SETTINGS,",
        "tests/store/test_postgresql_pooler.py::test_pooler_of_sessions_serves",
    ),
    Mutation(
        "settings hold on a plain connection",
        "snsnode/store/postgresql_connect.py",
        "                    await connection.execute(_SET)\n",
        "",
        "tests/store/test_postgresql_pooler.py::test_settings_hold_on_a_plain_connection",
    ),
    Mutation(
        "a name with another in another case is refused to a newcomer (PostgreSQL)",
        "snsnode/store/sql/postgresql/additions.sql",
        "    IF p_username <> ALL (alike) AND cardinality(alike) > 0 THEN",
        "    IF false THEN",
        "tests/conformance/test_names.py::test_new_name_that_differs_only_in_case_is_refused[postgresql]",
    ),
    Mutation(
        "of two that take one name in two cases one has it (PostgreSQL)",
        "snsnode/store/sql/postgresql/additions.sql",
        "    PERFORM pg_advisory_xact_lock(7302, 0);\n",
        "",
        "tests/conformance/test_names.py::test_of_many_who_take_one_name_in_different_cases_one_has_it[postgresql]",
    ),
    Mutation(
        "an exact name comes first (PostgreSQL)",
        "snsnode/store/sql/postgresql/additions.sql",
        "    IF EXISTS (SELECT FROM users WHERE username = p_username) THEN",
        "    IF false THEN",
        "tests/conformance/test_names.py::test_names_that_were_there_before_stay_and_are_meant_exactly[postgresql]",
    ),
    Mutation(
        "a name that fits several is nobody (PostgreSQL)",
        "snsnode/store/sql/postgresql/additions.sql",
        "    IF cardinality(alike) > 1 THEN",
        "    IF false THEN",
        "tests/conformance/test_names.py::test_names_that_were_there_before_stay_and_are_meant_exactly[postgresql]",
    ),
    Mutation(
        "a follow ignores case where one fits (PostgreSQL)",
        "snsnode/store/sql/postgresql/additions.sql",
        "coalesce(alike[1], p_followee)",
        "p_followee",
        "tests/conformance/test_names.py::test_follow_ignores_case_where_that_leaves_one[postgresql]",
    ),
    Mutation(
        "an unfollow ignores case where one fits (PostgreSQL)",
        "snsnode/store/sql/postgresql/additions.sql",
        "RETURN sns_unfollow(p_username, followee, p",
        "RETURN sns_unfollow(p_username, p_followee, p",
        "tests/conformance/test_names.py::test_follow_ignores_case_where_that_leaves_one[postgresql]",
    ),
    Mutation(
        "nobody follows themselves in another case (PostgreSQL)",
        "snsnode/store/sql/postgresql/additions.sql",
        "    IF followee = p_username THEN",
        "    IF p_followee = p_username THEN",
        "tests/conformance/test_names.py::test_follow_ignores_case_where_that_leaves_one[postgresql]",
    ),
    Mutation(
        "a follow ignores case where one fits (SQLite)",
        "snsnode/store/sqlite_writes.py",
        "    return alike[0] if alike else username",
        "    return username",
        "tests/conformance/test_names.py::test_follow_ignores_case_where_that_leaves_one[sqlite]",
    ),
    Mutation(
        "a name that fits several is nobody (SQLite)",
        "snsnode/store/sqlite_writes.py",
        "    if len(alike) > 1:",
        "    if False:",
        "tests/conformance/test_names.py::test_names_that_were_there_before_stay_and_are_meant_exactly[sqlite]",
    ),
    Mutation(
        "a connection that fails to close keeps no other open",
        "snsnode/store/postgresql_session.py",
        "        except Exception:  # noqa: BLE001 - raised, it would",
        "        except ZeroDivisionError:  # noqa: BLE001 - raised, it would",
        "tests/store/test_store_close.py::test_postgresql_connection_that_fails_to_close_keeps_no_other_open",
    ),
)
