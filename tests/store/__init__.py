"""What only the SQLite engine does: its file, its plans, its disk."""
