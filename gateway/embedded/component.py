"""
One component's connection to the host: the accepting side of XEP-0114.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime

from gateway import ns
from gateway.addresses import jids
from gateway.embedded.handler import Services
from gateway.embedded.peer import COMPONENTS, PeerConnection
from gateway.errors import BadRequest, Malformed
from gateway.stream.component import HANDSHAKE, handshake
from gateway.stream.core import StreamStarted
from gateway.stream.stanzas import Stanza
from gateway.xml.write import tag


class ComponentConnection(PeerConnection):
    """
    A component on one transport.

    @param secrets: the secret of each component, by domain.
    """

    namespace = ns.COMPONENT_ACCEPT
    # It has one stream, before and after the handshake.
    firstLimits = COMPONENTS

    def __init__(self, services: Services, secrets: Mapping[str, str], clock: IReactorTime) -> None:
        super().__init__(services.router.domain, clock)
        self._services = services
        self._secrets = secrets
        self._jid = ""
        self._attached = False

    def _streamEvent(self, event: StreamStarted | Stanza) -> None:
        if isinstance(event, StreamStarted):
            self._jid = event.attributes.get("to", "").lower()
            self._begin(self._jid)
            self._knownSecret()
        elif event.name != HANDSHAKE or self._attached:
            self.refuse("unsupported-stanza-type")
        elif (secret := self._knownSecret()) is None:
            return
        elif not hmac.compare_digest(_text(event), handshake(self._streamId, secret).encode()):
            self.refuse("not-authorized")
        elif self._services.router.components.get(self._jid) is not None:
            self.refuse("conflict", "this component is connected already")
        else:
            self._attached = True
            self.write(tag("handshake").encode())
            self._open(self._stanzaReceived)
            self._services.router.attach(self._jid, self)

    def _knownSecret(self) -> str | None:
        """Return the component's secret; refuse a component that does not exist, or does not exist any longer."""
        secret = self._secrets.get(self._jid)
        if secret is None:
            self.refuse("host-unknown", "there is no such component in the configuration")
        return secret

    def _early(self, stanza: Stanza) -> None:
        self.refuse("not-authorized", "a handshake is required first")

    def _stanzaReceived(self, stanza: Stanza) -> None:
        try:
            sender = jids.prepared(stanza.sender or self._jid)
        except Malformed:
            sender = ""
        if jids.split(sender)[1] != self._jid:
            self.refuse("invalid-from", f"this component is {self._jid}")
            return
        router, recipient = self._services.router, stanza.recipient or self._domain
        self._take(stanza, lambda: router.fromComponent(self, stanza, sender, jids.prepared(recipient)))

    def _addresses(self, stanza: Stanza) -> tuple[str, str]:
        return stanza.sender or self._jid, stanza.recipient or self._domain

    def _hold(self, slow: PeerConnection) -> None:
        """Do not wait for a slow reader: a component's stanzas are for many recipients."""

    def _ending(self) -> None:
        # The component may have been removed, and admitted again, before this connection was seen to end.
        if self._services.router.components.get(self._jid) is self:
            self._services.router.attach(self._jid, None)
        self._attached = False


def _text(handshaking: Stanza) -> bytes:
    try:
        return str(handshaking.element).strip().encode()
    except BadRequest:
        return b""
