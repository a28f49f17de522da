"""``python -m snsnode.slave VM``, in the VM's folder."""

import sys

from snsnode.pair.role import arguments, main
from snsnode.slave.run import run

if __name__ == "__main__":
    sys.exit(main("slave", arguments("slave").vm, run))
