"""Where users, follows, posts and logins are kept: one contract (``protocol``), one file per engine."""
