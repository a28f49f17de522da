"""``python -m snsnode.router VM``, in the VM's folder."""

import sys

from snsnode.pair.role import arguments, main
from snsnode.router.run import run

if __name__ == "__main__":
    sys.exit(main("router", arguments("router").vm, run))
