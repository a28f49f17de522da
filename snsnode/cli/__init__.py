"""``snsctl``: one command a file, loaded only when it is called; errors become a message and an exit code."""
