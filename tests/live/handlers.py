"""
Misbehaving handlers for delegated namespaces; for a gateway's plugin folder, into which the tests copy this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.plugin import IPlugin
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface import implementer

from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest, IDelegationPlugin, IServiceBuilder

ODD = "urn:xmpp:test:odd"
BESIDE = "urn:xmpp:test:beside"
UNGRANTED = "urn:xmpp:test:ungranted"

# More than any server accepts here in one stanza.
MUCH = 3 * 1024 * 1024


def _element(text: str = "") -> domish.Element:
    element = domish.Element((ODD, "done"))
    element.addContent(text)
    return element


def _refusal() -> StanzaError:
    condition = domish.Element((ODD, "sunday"))
    return StanzaError("not-acceptable", "modify", "not on <Sundays>", appCondition=condition)


def _raise(error: BaseException) -> Any:
    raise error


def _unwritable() -> domish.Element:
    element = _element()
    element.children.append(object())
    return element


async def _awaited() -> domish.Element:
    await deferLater(reactor, 0.1, lambda: None)
    return _element("later")


def _strangeError() -> StanzaError:
    error = _refusal()
    error.type = "no such type"
    error.condition = "no such condition"
    return error


# The result of a request, by the name of its payload.
_BEHAVIOURS: dict[str, Callable[[], Any]] = {
    "element": _element,
    "nothing": lambda: None,
    "deferred": lambda: succeed(_element("now")),
    "awaited": _awaited,
    "refused": lambda: _raise(_refusal()),
    "refused-later": lambda: fail(_refusal()),
    "silent": Deferred,
    "raised": lambda: _raise(ValueError("the handler's own affair")),
    "raised-later": lambda: fail(ValueError("the handler's own affair")),
    "exit": lambda: _raise(SystemExit(3)),
    "text": lambda: "<done/>",
    "number": lambda: succeed(7),
    "unwritable": _unwritable,
    "control": lambda: _element("\x00"),
    "surrogate": lambda: _element("\ud800"),
    "much": lambda: _element("x" * MUCH),
    "strange-error": lambda: _raise(_strangeError()),
}


@implementer(IDelegatedNamespace)
class Odd:
    """Behaves as the payload says."""

    namespaces = frozenset({ODD, BESIDE, UNGRANTED})
    features = (ODD,)
    identities: tuple[tuple[str, str, str], ...] = ()
    bareFeatures: tuple[str, ...] = ()
    bareIdentities: tuple[tuple[str, str, str], ...] = ()

    def answer(self, request: IDelegatedRequest) -> Any:
        return _BEHAVIOURS[request.payload.name]()


@implementer(IPlugin, IDelegationPlugin)
class OddPlugin:
    """Composes the handler."""

    name = "odd"

    def makeHandler(self, jid: str, link: Any, composition: IServiceBuilder) -> IDelegatedNamespace:
        return Odd()


odd = OddPlugin()
