"""Runs the terminal client as ``snsctl start client`` does: ``python -m tests.terminal_client USER ROUTER…``."""

import sys

from snsnode.base.errors import SnsError
from snsnode.cli.start_client import run_client

if __name__ == "__main__":
    try:
        sys.exit(run_client(sys.argv[2:], sys.argv[1]))
    except SnsError as error:
        print(error.message, file=sys.stderr)
        sys.exit(error.exit_code)
