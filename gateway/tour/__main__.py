"""
The program: C{python -m gateway.tour}.
"""

import sys

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from gateway.tour.command import main

if __name__ == "__main__":
    run = main(sys.argv[1:], sys.stdout.write)
    react(lambda reactor: ensureDeferred(run(reactor)))
