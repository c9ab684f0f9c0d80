"""
A service that sends requests before its link is up; for a gateway's plugin folder, into which the tests copy this
module. The requests are sent after the handshake. The number of answers is logged.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.application.service import IService
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.words.xish import domish
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway.config.tables import ComponentTable, Domain
from gateway.interfaces import IServiceBuilder, IServicePlugin

COUNT = 40


class EarlyRequester(XMPPHandler):
    """Sends this number of requests to the server's own domain."""

    _log = Logger()

    def __init__(self, link: Any, server: str) -> None:
        super().__init__()
        self._answers: list[bool] = []
        for _ in range(COUNT):
            iq = domish.Element((None, "iq"), attribs={"type": "get", "to": server})
            iq.addElement(("http://jabber.org/protocol/disco#info", "query"))
            link.request(iq).addCallbacks(self._answered, self._failed)

    def _answered(self, answer: Any) -> None:
        self._answers.append(True)
        self._log.info("early: {count} answered", count=len(self._answers))

    def _failed(self, failure: Any) -> None:
        self._log.warn("early: {error}", error=failure.value)


@frozen(kw_only=True)
class EarlyTable(ComponentTable):
    """C{[early."component JID"]}."""

    server: Domain


@implementer(IPlugin, IServicePlugin)
class EarlyPlugin:
    """Composes the service."""

    kind = "early"
    table = EarlyTable

    def makeService(self, jid: str, table: EarlyTable, composition: IServiceBuilder) -> IService:
        link: Any = composition.link(jid, table)
        EarlyRequester(link, table.server).setHandlerParent(link)
        service: IService = link
        return service


early = EarlyPlugin()
