"""
Functions that are given any bytes, each with some input to begin with. What they raise is a fault: the gateway
refuses bad input, in words of its own.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch
from xml.etree.ElementTree import Element

from attrs import define, field
from twisted.internet import endpoints
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.plugin import getPlugins

from gateway import ns
from gateway.composition import checks, reader
from gateway.composition.checks import findPlugins
from gateway.config.tables import ConfigError
from gateway.proxy.addresses import BrokenSeal, Sealer, UnknownHandle
from gateway.roster.document import readingDocument, readingNames
from gateway.roster.failures import INTERNAL_ERROR, RefreshFailed
from gateway.stream.core import Limits, Splitter, StreamEnded, StreamFailed
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza
from gateway.testing import MemoryGateway, wire
from gateway.testing.http import PORT
from gateway.testing.wire import MemoryTransport
from tests.fuzz import mutate, requests, seeds, tables

HEADER = wire.HEADER.encode()
# Inputs after which a gateway in memory is made anew.
_FRESH = 2_000
# Seconds that may pass after stanzas.
_PASSES = (0, 0, 1, 20)
# Largest number of pieces of a stream.
_MAX_PIECES = 100
# Limits that short input exceeds.
_SMALL = Limits(stanzaSize=200, depth=4)
# Longest text of a problem, in characters.
_MAX_PROBLEM = 20_000


class Fault(AssertionError):
    """The gateway has done what it must never do."""


@define
class Target:
    """
    @ivar attempt: is given any bytes; raises if there is a fault.
    @ivar seeds: input to begin with.
    """

    attempt: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


# The stream.


def stream(data: bytes) -> None:
    """A stream has the same events in pieces of any size; the first one that ends it is the last."""
    size = max(1 + len(data) % 13, len(data) // _MAX_PIECES)
    limits = _SMALL if len(data) % 2 else Limits()
    found = [_events(data, len(data) + 5, limits), _events(data, size, limits)]
    if found[0] != found[1]:
        raise Fault(f"in pieces of {size} bytes, with {limits}: {found}")


def _events(data: bytes, size: int, limits: Limits) -> list[tuple[object, ...]]:
    splitter = Splitter(ns.COMPONENT_ACCEPT, limits)
    # The last bytes of the header are cut as well.
    events: list[Any] = splitter.feed(HEADER[:-5])
    data = HEADER[-5:] + data
    for start in range(0, len(data), size):
        events += splitter.feed(data[start : start + size])
        if any(isinstance(each, StreamEnded | StreamFailed) for each in events):
            break
    return [_shape(each) for each in events]


def _shape(event: Any) -> tuple[object, ...]:
    kind = type(event).__name__
    if isinstance(event, Stanza):
        return kind, event.name, event.sender, event.recipient, event.id, event.type, bytes(event.raw)
    if isinstance(event, StanzaRefused):
        return kind, event.why, event.size, event.head, *_shape(event.stanza)
    # If a stream has several faults, any of them may be the one that is named.
    return (kind,)


@define
class _Folder:
    """A temporary folder; made at the first use."""

    made: tempfile.TemporaryDirectory[str] | None = None

    def path(self) -> Path:
        """Return its path."""
        if self.made is None:
            self.made = tempfile.TemporaryDirectory(prefix="fuzz-")
        return Path(self.made.name)

    def drop(self) -> None:
        """Remove it."""
        if self.made is not None:
            self.made.cleanup()
            self.made = None


# Stanzas, for all services.


@define
class _Gateway:
    """
    A gateway in memory with all services; it is made anew now and then, and after each fault.

    @ivar tables: further tables.
    @ivar open: number of requests without an answer.
    """

    tables: str = ""
    gateway: MemoryGateway | None = None
    folder: _Folder = field(factory=_Folder)
    used: int = 0
    open: Counter[Any] = field(factory=Counter)
    logged: list[Any] = field(factory=list)

    def take(self) -> MemoryGateway:
        """Return the gateway."""
        self.used += 1
        if self.gateway is None or self.used > _FRESH:
            self.drop()
            (self.folder.path() / "http.token").write_bytes(seeds.TOKEN)
            self.gateway, self.used = MemoryGateway(self.folder.path(), seeds.TABLES + self.tables), 0
            self.open.clear()
            globalLogPublisher.addObserver(self._observe)
        self.logged.clear()
        return self.gateway

    def drop(self) -> None:
        """Stop it."""
        if self.gateway is not None:
            globalLogPublisher.removeObserver(self._observe)
            self.gateway.stop()
            self.gateway = None
        self.folder.drop()

    def _observe(self, event: Any) -> None:
        if "log_failure" in event:
            self.logged.append(event)

    def check(self) -> None:
        """@raise Fault: if an exception was logged."""
        if self.logged:
            self.drop()
            raise Fault(self.logged[0]["log_failure"].getTraceback())


_GATEWAY, _LOCKED = _Gateway(), _Gateway(tables=seeds.LOCKED)


def stanzas(data: bytes) -> None:
    """
    Well-formed stanzas end no stream, and each request has at most one answer; nothing is logged as an exception.
    The first byte chooses the component, and the time that passes then.
    """
    events = Splitter(ns.COMPONENT_ACCEPT).feed(HEADER + data[1:])
    found = [each for each in events if isinstance(each, Stanza)]
    if not found:
        return
    gateway = _GATEWAY.take()
    component = seeds.COMPONENTS[data[0] % len(seeds.COMPONENTS)]
    seconds = _PASSES[data[0] >> 6]
    side = gateway.server(component)
    side.transport.clear()
    try:
        for each in found:
            side.send(each.whole)
        if seconds:
            for other in seeds.COMPONENTS:
                # A server that is silent for a minute is lost.
                gateway.server(other).send(" ")
        gateway.reactor.advance(seconds)
        if side.isGone:
            raise Fault("the stream has ended")
        checkAnswers(component, _GATEWAY.open, found, side.received())
    except BaseException:
        _GATEWAY.drop()
        raise
    _GATEWAY.check()


def checkAnswers(component: str, open_: Counter[Any], asked: list[Stanza], sent: list[Element]) -> None:
    """
    Check that no request has two answers.

    @param open_: number of requests without an answer, by component, sender and identifier; earlier input may have
        asked some of them.
    """
    for each in asked:
        # One of an unknown type is answered with an error.
        if each.name == "iq" and each.type not in ("result", "error"):
            open_[component, each.sender, each.id] += 1
    for answer in sent:
        place = component, answer.get("to"), answer.get("id")
        if answer.tag.endswith("}iq") and answer.get("type") in ("result", "error") and place in open_:
            open_[place] -= 1
            if open_[place] < 0:
                raise Fault(f"answered more than once: {place}")


# The documents of a web application.


def roster(data: bytes) -> None:
    """A document of contacts, and a list of users, are read, or refused with a reason."""
    for read in (readingDocument(data, "user@example.com"), readingNames(data)):
        try:
            _exhaust(read)
        except RefreshFailed as error:
            _checkText(str(error))


def _exhaust(read: Generator[None, None, Any]) -> object:
    while True:
        try:
            next(read)
        except StopIteration as result:
            return result.value


def _checkText(text: str) -> None:
    if not text or len(text) > _MAX_PROBLEM or "Traceback" in text:
        raise Fault(text)


# The tokens of a proxy.

_SEALER = Sealer("proxy.example.com", b"k" * 32)


def token(data: bytes) -> None:
    """Only what the gateway has made is opened; any address of a requester can be sealed."""
    text = data.decode("utf-8", "replace").replace("\0", "")
    try:
        found = _SEALER.unseal(text)
    except (BrokenSeal, UnknownHandle):
        pass
    else:
        if _SEALER.seal(*found) != text:
            raise Fault(found)
    requester, _, address = text.partition("|")
    made = _SEALER.seal(requester, address or "proxy.example.com")
    if _SEALER.unseal(made) != (requester, address or "proxy.example.com"):
        raise Fault(made)


# The configuration.

_plugins = cache(findPlugins)
# Of the file, which is not written to disk: that takes longer than to read it.
_FOLDER = _Folder()


class _File(type(Path())):  # type: ignore[misc]  # the class of paths of this system
    """A file in memory."""

    content = b""

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        return io.TextIOWrapper(io.BytesIO(self.content), encoding, errors).read()


def configuration(data: bytes) -> None:
    """
    A configuration is read, or refused with all of its problems. The bytes after L{BETWEEN} are variables of the
    environment.
    """
    path = _File(_FOLDER.path() / "gateway.toml")
    path.content, _, variables = data.partition(tables.BETWEEN)
    pairs = (each.partition("=") for each in variables.decode(errors="replace").split("\n"))
    environment = {name: value for name, _, value in pairs if name != "CREDENTIALS_DIRECTORY"}
    with patch.object(endpoints, "getPlugins", _endpoints):
        try:
            config = reader.load(path, _plugins(), MemoryReactorClock(), environment=environment)
            checks.warnings(config)
            checks.check(config)
        except ConfigError as error:
            if not error.problems:
                raise Fault("no problem") from error
            for each in error.problems:
                _checkText(each)
                if "the plugin failed" in each:
                    raise


@cache
def _endpoints(*interface: Any) -> list[Any]:
    """Return Twisted's kinds of endpoints. Twisted looks for them on disk at each call."""
    return list(getPlugins(*interface))


# The HTTP server.


_STATUS = re.compile(rb"(?:^|\n)HTTP/1\.[01] ([0-9]{3}) ")


def http(data: bytes) -> None:
    """
    Requests are answered, or the connection is closed. No exception is logged, and nobody without the token gets
    anything but the answers to health probes. The bytes after L{BETWEEN} are what web applications answer.
    """
    sent, _, answered = data.partition(requests.BETWEEN)
    place = _LOCKED if len(data) % 2 else _GATEWAY
    gateway = place.take()
    transport = MemoryTransport(gateway.reactor)
    transport.hostAddr = IPv4Address("TCP", "127.0.0.1", PORT)
    transport.connect(gateway.accepted(PORT))
    try:
        transport.say(sent)
        _answer(gateway, answered)
        answer = transport.value()
        if not transport.lost:
            transport.lose(ConnectionDone())
        gateway.reactor.advance(0)
        checkResponses(sent, answer, isLocked=place is _LOCKED)
    except BaseException:
        place.drop()
        raise
    place.check()


def _answer(gateway: MemoryGateway, answered: bytes) -> None:
    """Answer the requests of the gateway, and close their connections; twice, for what follows from it."""
    for _ in range(3):
        calls = gateway.calls()
        for call in calls[:5]:
            if not call.transport.lost:
                call.transport.say(answered)
                gateway.reactor.advance(0)
                call.transport.lose(ConnectionDone())
        if calls:
            # Until it asks again.
            gateway.reactor.advance(10)


def checkResponses(sent: bytes, answer: bytes, isLocked: bool) -> None:
    """Check what an HTTP server has answered."""
    codes = {int(each) for each in _STATUS.findall(answer)}
    isShown = seeds.TOKEN in answer and seeds.TOKEN not in sent
    if isShown or not (answer or b"HTTP/1.").startswith(b"HTTP/1."):
        raise Fault(answer[:200])
    mayBeServed = seeds.TOKEN in sent or b"%" in sent or b"/healthz" in sent or b"/readyz" in sent
    if isLocked and not mayBeServed and codes & {200, 202}:
        raise Fault(f"answered without the token: {answer[:200]!r}")
    if INTERNAL_ERROR.encode() in answer:
        raise Fault(answer[:200])


def stop() -> None:
    """Stop the gateways, and remove their files."""
    _GATEWAY.drop()
    _LOCKED.drop()
    _FOLDER.drop()


TARGETS: dict[str, Target] = {
    "stream": Target(stream, seeds.STREAM),
    "stanzas": Target(stanzas, seeds.STANZAS),
    "roster": Target(roster, seeds.ROSTER),
    "token": Target(token, tuple(_SEALER.seal(*each).encode() for each in seeds.REQUESTERS)),
    "configuration": Target(configuration, tables.CONFIGURATIONS),
    "http": Target(http, requests.REQUESTS),
}

# Changes of input that keep its form.
MUTATORS = {"stanzas": mutate.mutated, "http": requests.mutated, "configuration": tables.mutated}
