"""The routing server: which masters live, and which one is available."""
