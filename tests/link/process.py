"""
A process with a link and a DNS server, for tests with real servers: C{python -m tests.link.process FILE}.

The file is JSON: C{control}, a port for commands; C{doors}, each with C{side}, C{port} and C{target}; C{dns}, a
port; and C{services}, the names of XMPP servers with the port of the door that leads to each.

A command is a line of JSON with a script: pairs of seconds from now and a step. The answer is a line, too: the
state of the link, and the counts by side. An empty script only asks for them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict
from twisted.internet import defer
from twisted.internet.protocol import Factory
from twisted.names import dns, error
from twisted.names.server import DNSServerFactory
from twisted.protocols.basic import LineReceiver

from tests.link.core import Become, Cut, Link, LinkState, Shape, Side, Step, Way
from tests.link.shaper import Shaper

_SECONDS_TO_LIVE = 1


def toStep(value: Any) -> Step:
    """
    Return the step that JSON stands for: C{"cut"}, a state such as C{"hole"}, or the attributes of a L{Way}.

    @raise ValueError: there is none.
    """
    if value == "cut":
        return Cut()
    if isinstance(value, str):
        return Become(LinkState(value))
    try:
        return Shape(Way(**value))
    except TypeError as problem:
        raise ValueError(f"no step: {value}") from problem


def toJson(step: Step) -> Any:
    """Return a step as JSON."""
    if isinstance(step, Shape):
        return {key: value for key, value in asdict(step.way).items() if value != getattr(Way(), key)}
    return "cut" if isinstance(step, Cut) else step.state.value


class Control(LineReceiver):
    """A connection for commands."""

    delimiter = b"\n"

    def __init__(self, shaper: Shaper) -> None:
        self._shaper = shaper

    def lineReceived(self, line: bytes) -> None:
        script = [(float(at), toStep(step)) for at, step in json.loads(line)]
        self._shaper.add(script)
        self._shaper.catchUp()
        link = self._shaper.link
        counts = {side.value: asdict(found) for side, found in link.counts.items()}
        self.sendLine(json.dumps({"state": link.state.value, "counts": counts}).encode())


class Services:
    """
    A resolver that knows the SRV records of some XMPP servers, and nothing else.

    The target is C{localhost}, whose address every machine knows: ejabberd asks libc for the address, whatever DNS
    server it has.
    """

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = {f"_xmpp-server._tcp.{name}".encode(): port for name, port in ports.items()}

    def query(self, query: dns.Query, timeout: Any = None) -> defer.Deferred[Any]:
        port = self._ports.get(query.name.name.lower())
        if port is None:
            return defer.fail(error.DNSNameError(query))
        if query.type != dns.SRV:
            return defer.succeed(([], [], []))
        found = dns.Record_SRV(0, 0, port, b"localhost")
        answer = dns.RRHeader(query.name.name, dns.SRV, dns.IN, _SECONDS_TO_LIVE, found, auth=True)
        return defer.succeed(([answer], [], []))


class Names(DNSServerFactory):
    """A DNS server. Erlang's resolver accepts no answer without the flag "recursion desired" of its query."""

    noisy = False

    def sendReply(self, protocol: Any, message: dns.Message, address: Any) -> None:
        message.recDes = 1
        super().sendReply(protocol, message, address)


def main() -> None:
    """Run until the process is ended."""
    from twisted.internet import reactor

    there: Any = reactor
    options = json.loads(Path(sys.argv[1]).read_text())
    shaper = Shaper(there, Link())
    for door in options["doors"]:
        shaper.open(Side(door["side"]), door["target"], door["port"])
    names = Names(clients=[Services(options["services"])])
    there.listenUDP(options["dns"], dns.DNSDatagramProtocol(names), interface="127.0.0.1")
    factory = Factory.forProtocol(partial(Control, shaper))
    there.listenTCP(options["control"], factory, interface="127.0.0.1")
    there.run()


if __name__ == "__main__":
    main()
