"""
C{python -m gateway.tour}: logs in to the embedded host of a gateway that runs, as an ordinary client, and shows
each service: what it does in words, and the XML that goes and comes.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from xml.dom import minidom

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.ssl import Certificate
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure
from twisted.words.protocols.jabber import xmlstream
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import ns
from gateway.config import load
from gateway.embedded.login import Client
from gateway.embedded.store import HostFolder, Whereabouts
from gateway.interfaces import IDemonstration, IGuide
from gateway.service import findPlugins
from gateway.tables import ConfigError
from gateway.tap import find

_WIDTH = 100

# Seconds for each answer, for the login, and for a service that has only just started.
_PATIENCE = 15.0


class Disappointed(Exception):
    """Something is not as it was said."""


@implementer(IGuide)
class Guide:
    """
    Leads the tour.

    @param write: shows a text.
    """

    def __init__(self, client: Client, write: Callable[[str], object], reactor: Any) -> None:
        self.jid = client.jid
        self._client = client
        self._write = write
        self._reactor = reactor

    def say(self, text: str) -> None:
        self._write("\n" + textwrap.fill(text, _WIDTH) + "\n\n")

    async def ask(self, recipient: str, payload: str, kind: str = "get") -> domish.Element:
        request = xmlstream.IQ(self._client.xmlstream, kind)
        request["to"] = recipient
        request.addRawXml(payload)
        self._write(_indented(request, "  -> "))
        answer = await self._answer(request, recipient)
        self._write(_indented(answer, "  <- "))
        return answer

    def check(self, right: object, promise: str) -> None:
        if not right:
            raise Disappointed(f"this should hold, and does not: {promise}")
        self._write(f"  ok: {promise}\n")

    async def served(self, jid: str) -> None:
        """Wait until a service that has perhaps only just started has an answer."""
        started = self._reactor.seconds()
        while True:
            request = xmlstream.IQ(self._client.xmlstream, "get")
            request.addElement((ns.DISCO_INFO, "query"))
            answer = await self._answer(request, jid)
            if answer["type"] == "result" or self._reactor.seconds() - started > _PATIENCE:
                return
            await deferLater(self._reactor, 0.5)

    async def _answer(self, request: xmlstream.IQ, recipient: str) -> domish.Element:
        request.timeout = _PATIENCE  # type: ignore[assignment]  # Twisted shows None as its type.
        answer: domish.Element
        try:
            answer = await request.send(recipient)
        except StanzaError as error:
            answer = error.stanza  # type: ignore[attr-defined]  # set wherever it comes from a stanza
        except xmlstream.TimeoutError as error:
            raise Disappointed(f"{recipient} did not answer within {_PATIENCE:g} s") from error
        except ConnectionLost as error:
            raise Disappointed(f"the connection was lost before {recipient} answered") from error
        return answer


class _Arrival(XMPPHandler):
    """Knows when the client is logged in."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: Deferred[None] = Deferred()

    def connectionInitialized(self) -> None:
        self.send(domish.Element((None, "presence")))
        self.arrived.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        if not self.arrived.called:
            self.arrived.errback(reason)


async def tour(place: Whereabouts, certificate: Certificate, write: Callable[[str], object], reactor: Any) -> None:
    """
    Show every service that runs on the host and has something to show.

    @raise Disappointed: at the first thing that is not as it should be.
    """
    user = next((each for each in place.accounts if each != "implementation"), None)
    if user is None:
        raise Disappointed("there is no account to log in as: add one to [embedded.accounts]")
    endpoint = clientFromString(reactor, place.c2s)
    client = Client(f"{user}@{place.domain}/tour", place.accounts[user], endpoint, certificate, reactor)
    arrival = _Arrival()
    arrival.setHandlerParent(client)
    guide = Guide(client, write, reactor)
    client.service.startService()
    try:
        await _logIn(client, arrival, place, reactor)
        guide.say(
            f"A tour of the gateway at {place.domain}. It is logged in as {guide.jid}, over TLS, like any client."
        )
        await _showAll(guide, place, write)
    finally:
        # Not while the service is telling us that it could not connect: it cannot be stopped from inside of that.
        await deferLater(reactor, 0)
        await client.service.stopService()


async def _logIn(client: Client, arrival: _Arrival, place: Whereabouts, reactor: Any) -> None:
    try:
        await client.service.whenConnected(failAfterFailures=1)
        await arrival.arrived.addTimeout(_PATIENCE, reactor)
    except ConnectError as error:
        text = f"nobody listens at {place.c2s}: start the gateway first, in this folder, with twistd -n gateway"
        raise Disappointed(text) from error
    except Exception as error:
        reason = error if client.failed is None else client.failed.value
        raise Disappointed(f"the login failed: {reason!r}") from error


async def _showAll(guide: Guide, place: Whereabouts, write: Callable[[str], object]) -> None:
    shown = 0
    for plugin in findPlugins():
        for jid in place.services.get(plugin.kind, []):
            if not IDemonstration.providedBy(plugin):
                continue
            shown += 1
            write(f"\n=== {plugin.kind}: {jid} ===\n")
            await guide.served(jid)
            await IDemonstration(plugin).tour(guide, jid)
    guide.say("That was all there is." if shown else "No service runs that has anything to show.")


def main(
    arguments: list[str], write: Callable[[str], object]
) -> Callable[[Any], Coroutine[Deferred[Any], Any, None]]:
    """What is to be done on the reactor; exits with 1, and the reason, if it cannot be."""
    parser = argparse.ArgumentParser("python -m gateway.tour", description="A tour of a running embedded gateway.")
    parser.add_argument("--config", help="the configuration that the gateway runs with, if it is not the default")
    path = find(parser.parse_args(arguments).config)

    async def run(reactor: Any) -> None:
        try:
            config = load(path, findPlugins(), reactor)
            if config.server is not None:
                raise Disappointed(f"{path} is for a real server; the tour is of the embedded host")
            folder = HostFolder(Path(config.state_dir))
            place = folder.read()
            if place is None:
                raise Disappointed(
                    f"no embedded host has run here yet, there is none in {config.state_dir}: take the tour in the "
                    "folder of the gateway, or start one here first, with twistd -n gateway"
                )
            await tour(place, Certificate.loadPEM(folder.certificate.read_bytes()), write, reactor)
        except (Disappointed, ConfigError, OSError) as error:
            sys.exit(f"\nThe tour ends here: {error}")

    return run


def _indented(element: domish.Element, arrow: str) -> str:
    """An element over several lines, with an arrow before the first."""
    # It was parsed before, under all the limits of a stream.
    document = minidom.parseString(element.toXml().encode())  # noqa: S318
    text = document.toprettyxml(indent="  ").partition("?>")[2]
    lines = [line for line in text.splitlines() if line.strip()]
    return "".join(f"{arrow if not number else ' ' * len(arrow)}{line}\n" for number, line in enumerate(lines))


if __name__ == "__main__":
    run = main(sys.argv[1:], sys.stdout.write)
    react(lambda reactor: ensureDeferred(run(reactor)))
