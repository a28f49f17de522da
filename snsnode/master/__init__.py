"""The process that serves the social network, answers its slave, and restarts a silent one."""
