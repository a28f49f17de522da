"""``python -m snsnode.master VM [--spare]``, in the VM's folder."""

import sys
from functools import partial

from snsnode.master.run import Life, run
from snsnode.pair.role import arguments, main

if __name__ == "__main__":
    given = arguments("master", "--spare")
    life = Life(is_spare=given.spare)
    sys.exit(main("master", given.vm, partial(run, life=life), life.who))
