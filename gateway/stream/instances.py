"""
Detection of another gateway that is connected as the same component. Pure.

Some servers accept several connections of one component and give each a part of the stanzas (ejabberd). Two
gateways that do not know of each other then lose answers. So each link sends signs from the component to the
component itself. The server delivers a sign to any of the connections; a link that receives one of another name is
not alone.
"""

from __future__ import annotations

from gateway.stream.stanzas import Stanza, route

# Seconds between two signs. While the connection is new, or another gateway is there, one goes out at each tick.
_SIGN_EVERY = 30.0
_NEW = 10.0
# Seconds without a sign after which the other gateway counts as gone: its signs may rarely come to this one.
_GONE_AFTER = 60.0

_RESOURCE = "gateway-instance-"

SHARED = (
    "another gateway is connected as this component, and the server gives each a part of the stanzas: stop one of "
    "them (several proxies of one component need shared = true and one key_file)"
)


class OtherInstances:
    """
    The signs of one link.

    @ivar found: whether there is another gateway.
    @ivar sign: the stanza to send. A result without a request: no software answers that.
    @param jid: the component's.
    @param name: different for each link of each process; hexadecimal digits.
    """

    def __init__(self, jid: str, name: str) -> None:
        self._prefix = f"{jid}/{_RESOURCE}"
        self._own = self._prefix + name
        self.sign = b"<iq" + route(self._own, jid) + b" type='result' id='" + name.encode() + b"'/>"
        self.found = False
        self._signAt = self._newUntil = self._foundUntil = 0.0

    def connected(self, now: float) -> None:
        """Begin anew: the link is up."""
        self.found = False
        self._signAt, self._newUntil = now, now + _NEW

    def received(self, stanza: Stanza, now: float) -> bool:
        """
        Look at a stanza.

        @return: whether it is a sign.
        """
        sender = stanza.sender or ""
        if stanza.type != "result" or not sender.startswith(self._prefix):
            return False
        if sender != self._own:
            if not self.found:
                # The other one is to find this one as soon.
                self._signAt = now
            self.found = True
            self._foundUntil = now + _GONE_AFTER
        return True

    def tick(self, now: float) -> bytes:
        """
        Forget another gateway that is gone. To be called about once a second.

        @return: what is to be sent.
        """
        self.found = self.found and now < self._foundUntil
        if now < self._signAt:
            return b""
        self._signAt = now if self.found or now < self._newUntil else now + _SIGN_EVERY
        return self.sign
