"""Who may end or launch whom in a pair: one view, one table of patience, one pure judge for every observer."""
