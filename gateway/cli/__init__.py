"""
The command C{xmpp-gateway}: one module for each of its commands. C{command.py} has the table of them.

Each command prints its result to standard output, and errors to standard error. It exits with 0 if everything is
well, with 1 if not, and with 2 if it was called in a wrong way.
"""
