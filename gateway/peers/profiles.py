"""
Times of a direct link, by the kind of connection that carries it. Pure.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class Profile:
    """
    All in seconds.

    @ivar handshake: until the other side has shown its key and accepted this one.
    @ivar ping: of silence, until a ping is sent.
    @ivar gone: from a ping until the other side counts as gone.
    @ivar stall: without any output being taken, until the other side counts as gone.
    @ivar gather: that stanzas wait for others, to be sent with them.
    @ivar wait: that stanzas wait for a lost connection to come back, before they go another way.
    @ivar firstRetry: until the second try to connect; C{lastRetry}: between two tries, at most.
    """

    handshake: float
    ping: float
    gone: float
    stall: float
    gather: float
    wait: float
    firstRetry: float
    lastRetry: float


PROFILES = {
    "broadband": Profile(
        handshake=30, ping=30, gone=15, stall=120, gather=0, wait=15, firstRetry=0.5, lastRetry=30
    ),
    "satellite": Profile(
        handshake=60, ping=120, gone=30, stall=300, gather=0.1, wait=60, firstRetry=2, lastRetry=60
    ),
    "hf": Profile(handshake=240, ping=900, gone=180, stall=900, gather=0.5, wait=600, firstRetry=10, lastRetry=300),
}
