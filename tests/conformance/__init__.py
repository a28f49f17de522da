"""One suite for every store engine: what the docstrings of ``snsnode.store.protocol`` promise."""
