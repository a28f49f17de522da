"""``snsctl``: the table of commands, and the one place where errors become a message and an exit code."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from snsnode import __version__
from snsnode.base.errors import EXIT_NOT_SO, EXIT_USAGE, SnsError
from snsnode.base.signals import start_clean
from snsnode.cli import streams
from snsnode.cli.lazy import Entry, LazyGroup
from snsnode.cli.options import shared_before
from snsnode.spec.problems import SpecError

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

COMMANDS = {
    "validate": Entry("snsnode.cli.validate", "Report every problem of the cluster spec at once."),
    "generate": Entry("snsnode.cli.generate", "Write one supervisord configuration per VM."),
    "start": Entry("snsnode.cli.start", "Start a role, or everything of this machine; or a client."),
    "stop": Entry("snsnode.cli.stop", "Stop a role, or everything of this machine, for good."),
    "restart": Entry("snsnode.cli.restart", "Stop and start a role."),
    "status": Entry("snsnode.cli.status", "Show the whole cluster as it is."),
    "why": Entry("snsnode.cli.why", "Show who restarted whom, when and for what cause."),
    "doctor": Entry("snsnode.cli.doctor", "Check what needs the real machine."),
    "backup": Entry("snsnode.cli.backup", "Copy the store while the cluster runs."),
    "store": Entry("snsnode.cli.store", "Move a store, while its cluster is stopped."),
    "drain": Entry("snsnode.cli.drain", "Send a server's clients to the others."),
    "undrain": Entry("snsnode.cli.undrain", "Let clients come to a server again."),
    "switchover": Entry("snsnode.cli.switchover", "Make a server the available one."),
    "pause": Entry("snsnode.cli.pause", "Suspend automatic restarts."),
    "resume": Entry("snsnode.cli.resume", "Restart automatically again."),
}


@click.group(
    cls=LazyGroup,
    help="Keep a fault-tolerant tiny social network up, from one YAML file.",
    table=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="snsctl")
@shared_before
@click.pass_context
def snsctl(ctx: click.Context, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]) -> int:
    """Take the options that stand before the command, and hand them on as its defaults."""
    given = {"spec_path": spec_path, "home": home, "vms": vms or None}
    defaults = {name: value for name, value in given.items() if value is not None}
    ctx.default_map = dict.fromkeys(COMMANDS, defaults) | {"store": {"copy": defaults}}
    if ctx.invoked_subcommand is None:
        streams.complain(ctx.get_help())
        return EXIT_USAGE
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``snsctl`` and return its exit code; a command's own is what its function returns."""
    if arguments is None:  # a process of our own, which hands no blocked signal to those that it starts
        start_clean()
    with streams.installed() as (out, _):
        code = _run(arguments)
        if out.lost is None or isinstance(out.lost, BrokenPipeError):
            # The reader has left, and the command did its work all the same.
            return code if out.lost is None else code or EXIT_NOT_SO
        return _failed(f"cannot write the output: {out.lost.strerror}", code or EXIT_NOT_SO)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = snsctl.main(arguments, prog_name="snsctl", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except SpecError as error:
        streams.complain(error.message)  # its lines begin with FILE:LINE:COLUMN
        return error.exit_code
    except SnsError as error:
        return _failed(error.message, error.exit_code)
    except click.ClickException as error:
        return _failed(_one_line(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except OSError as error:
        where = f" {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
        return _failed(f"cannot go on{where}: {error.strerror or error}", EXIT_NOT_SO)


def _failed(message: str, exit_code: int) -> int:
    streams.complain(f"snsctl: {message}")
    return exit_code


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see '{context.command_path} --help'" if context else message


if __name__ == "__main__":
    sys.exit(main())
