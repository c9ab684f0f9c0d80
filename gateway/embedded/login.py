"""
An ordinary client of the host, made of Twisted's and Wokkel's parts.
"""

from __future__ import annotations

from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.client import XMPPClientFactory
from twisted.words.protocols.jabber.jid import JID
from wokkel.subprotocols import StreamManager


class Client(StreamManager):
    """
    Parent of the handlers of one client.

    @ivar service: keeps the client connected while it runs.
    @ivar failed: the reason if the last login failed.
    """

    _log = Logger()

    def __init__(
        self, jid: str, password: str, endpoint: IStreamClientEndpoint, certificate: Certificate, reactor: Any
    ) -> None:
        me = JID(jid)
        # The host's certificate is self-signed. It is checked, because another process may listen on the port.
        tls = optionsForClientTLS(me.host, trustRoot=certificate)
        factory = XMPPClientFactory(me, password, configurationForTLS=tls)
        factory.noisy = False
        super().__init__(factory, reactor)
        self.jid = jid
        self.failed: Failure | None = None
        self.service = ClientService(endpoint, factory, clock=reactor)

    def initializationFailed(self, reason: Failure) -> None:
        self.failed = reason
        self._log.warn(
            "{jid} cannot log in: {reason}",
            event="embedded.client_login_failed",
            jid=self.jid,
            reason=reason.getErrorMessage(),
        )
        if self.xmlstream is not None and self.xmlstream.transport is not None:
            self.xmlstream.transport.loseConnection()
