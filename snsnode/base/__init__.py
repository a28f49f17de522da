"""Floor 0: errors, identifiers, clocks and backoff. Standard library only; imports nothing of snsnode."""
