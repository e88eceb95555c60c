"""What each command does, one module a command; how it is called and what an error looks like is cli.py's."""
