"""Guards of the commands, of what they write and show, and of logs."""

from tests.mutations.entry import Mutation

MUTATIONS = (
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
        "a line is kept where another process rotates at the same moment",
        "snsnode/observe/shared_log.py",
        "        except FileNotFoundError:\n            return False",
        "        except FileNotFoundError:\n            raise",
        "tests/unit/test_observe_shared_log.py",
    ),
    Mutation(
        "a start that no restart can help ends at once",
        "snsnode/control/start.py",
        "    if logs.is_hopeless(role) and not is_locked(vm.dir, role):",
        "    if False:",
        "tests/integration/test_start_errors.py",
    ),
)
