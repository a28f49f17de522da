"""What one VM's processes share on disk: configuration, locks, pid files, epochs, stop intents, the budget.

Standard library only: supervisord's plug-in reads the very same files from inside supervisord.
"""
