"""
A service that uses its privileges as clients ask it to; for a gateway's plugin folder, into which the tests copy
this module. An iq C{<do xmlns='urn:xmpp:test:do' what=... user=.../>} is answered when it is done.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.application.service import IService
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.plugin import IPlugin
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.xmlstream import toResponse
from twisted.words.xish import domish
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway.config.tables import ComponentTable, Domain
from gateway.errors import NotGranted
from gateway.interfaces import IPrivileges, IServiceBuilder, IServicePlugin, RosterItem

DO = "urn:xmpp:test:do"
ASKED = "urn:xmpp:test:asked"


class PrivilegedRequester(XMPPHandler):
    """Does what clients ask."""

    def __init__(self, privileges: IPrivileges) -> None:
        super().__init__()
        self._privileges = privileges
        self._seen: list[str] = []
        privileges.watchPresence(lambda stanza: self._seen.append(f"{stanza.sender} {stanza.type}"))

    def connectionInitialized(self) -> None:
        self.xmlstream.addObserver(f"/iq/do[@xmlns='{DO}']", self._asked)

    def _asked(self, iq: Any) -> None:
        iq.handled = True
        done: Deferred[Any] = ensureDeferred(self._do(iq.do))
        done.addCallback(lambda lines: self._answer(iq, lines))
        done.addErrback(lambda failure: self._refuse(iq, failure))

    def _answer(self, iq: Any, lines: list[str]) -> None:
        response: Any = toResponse(iq, "result")
        done = response.addElement((DO, "done"))
        for line in lines:
            done.addElement("line", content=line)
        self.send(response)

    def _refuse(self, iq: Any, failure: Any) -> None:
        error = failure.value
        if isinstance(error, NotGranted):
            error = StanzaError("forbidden", text=str(error))
        elif not isinstance(error, StanzaError):
            error = StanzaError("internal-server-error", text=repr(error))
        self.send(error.toResponse(iq))

    async def _do(self, do: Any) -> list[str]:
        what, user = do["what"], do["user"]
        privileges: Any = self._privileges
        if what == "get":
            items = await privileges.getRoster(user)
            return sorted(
                f"{item.jid} {item.name} {','.join(sorted(item.groups))} {item.subscription}" for item in items
            )
        if what == "set":
            groups = frozenset({do["group"]})
            item = RosterItem(jid=do["jid"], name=do["name"], groups=groups, subscription=do["subscription"])
            await privileges.setRoster(user, [item])
        elif what == "message":
            message = domish.Element((None, "message"), attribs={"from": user, "to": do["to"]})
            message.addElement("body", content=do["text"])
            privileges.sendAs(message)
        elif what == "iq":
            iq = domish.Element((None, "iq"), attribs={"type": "get", "to": do["to"]})
            iq.addElement((do["ns"], "query"))
            answer = await privileges.requestAs(user, iq)
            return [f"{answer['type']} {next(answer.elements()).name}"]
        elif what == "presence":
            seen, self._seen = self._seen, []
            return seen
        return []


@frozen(kw_only=True)
class DoingTable(ComponentTable):
    """The table: domain of the users."""

    server: Domain


@implementer(IPlugin, IServicePlugin)
class DoingPlugin:
    """Composes the service."""

    kind = "doing"
    table = DoingTable

    def makeService(self, jid: str, table: DoingTable, composition: IServiceBuilder) -> IService:
        link: Any = composition.link(jid, table)
        PrivilegedRequester(composition.privileges(link, [table.server])).setHandlerParent(link)
        service: IService = link
        return service


doing = DoingPlugin()
