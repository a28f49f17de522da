"""Guards of the plug-in within supervisord."""

from tests.mutations.entry import Mutation

MUTATIONS = (
    Mutation(
        "a wholly dead pair gets a new first launch from supervisord",
        "snsnode/supervisord/roles.py",
        "            self._fork()\n        elif wanted",
        "        elif wanted",
        "tests/chaos/test_both_die.py",
    ),
    Mutation(
        "supervisord starts nothing that its partner starts",
        "snsnode/supervisord/roles.py",
        '        if self.role == "slave" and (self.laststart or self._partner_launches()):',
        "        if False:",
        "tests/unit/test_supervisor_roles.py",
    ),
    Mutation(
        "a stop from supervisorctl is recorded before the signal",
        "snsnode/supervisord/roles.py",
        "                intent.stop(self.vm_dir, self.role)\n",
        "                pass\n",
        "tests/unit/test_supervisor_roles.py tests/integration/test_adoption.py",
    ),
    Mutation(
        "a stale pid file makes no victim",
        "snsnode/supervisord/foreign.py",
        "        return found if started_s <= written_s + _CLOCK_SLACK_S else None",
        "        return found",
        "tests/unit/test_supervisor_adoption.py",
    ),
    Mutation(
        "a launcher whose end is seen late is an attempt",
        "snsnode/supervisord/foreign.py",
        "        self.backoff = max(self.backoff, self._fruitless)\n",
        "",
        "tests/unit/test_supervisor_adoption.py",
    ),
    Mutation(
        "a reload closes what the life before it has opened",
        "snsnode/supervisord/lives.py",
        "        channel.close()\n",
        "        pass\n",
        "tests/integration/test_supervisord_reload.py",
    ),
    Mutation(
        "relative paths mean the same after a reload",
        "snsnode/supervisord/lives.py",
        "        sys.argv[1:] = arguments\n",
        "",
        "tests/integration/test_supervisord_reload.py",
    ),
    Mutation(
        "a stop ends whoever appeared beside the program's process",
        "snsnode/supervisord/following.py",
        "        for one in self._beside:\n            self._send_to(one, sig)\n",
        "",
        "tests/integration/test_supervisord_following.py",
    ),
    Mutation(
        "the end of an adopted process is expected by its exit code",
        "snsnode/supervisord/adoption.py",
        "expected = self.killing, code in self.config.exitcodes",
        "expected = self.killing, False",
        "tests/unit/test_supervisor_adoption.py",
    ),
)
