"""What master and slave use to keep each other alive: a pure machine that decides, and what acts on it."""
