"""supervisord: the plug-in that makes it tell the truth, and our proxy to it."""
