"""``snsctl start client USER``: runs the terminal client here. The command itself is ``cli.start``."""

from collections.abc import Sequence

from snsnode.cli.streams import bare


def run_client(routers: Sequence[str], username: str) -> int:
    """Run the client against ``routers`` (``host:port`` each) until the user leaves; return the exit code.

    Raises:
        UsageError: the name is malformed; exit 2.
        SnsError: the login was refused, or no server was found; exit 1.
    """
    # grpc and the prompt are loaded by those who start a client only.
    from snsnode.client.terminal import run

    with bare():
        return run(routers, username)
