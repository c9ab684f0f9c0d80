"""
The program: C{python -m gateway.cli}, which is C{xmpp-gateway} without an installation.
"""

from gateway.cli.command import main

if __name__ == "__main__":
    main()
