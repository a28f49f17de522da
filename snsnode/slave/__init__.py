"""The process that watches its master, tells the routers of its death, and restarts it."""
