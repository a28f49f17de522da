"""Every state that a pair can reach under so many faults, searched breadth-first with the shipped judge."""
