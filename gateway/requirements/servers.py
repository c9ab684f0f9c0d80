"""
The kinds of servers whose lines of configuration are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attrs import frozen

from gateway.requirements import ejabberd, openfire, prosody
from gateway.requirements.values import Component


@frozen
class Server:
    """
    One kind of server.

    @ivar title: its name, as it writes it.
    @ivar comment: begins a comment in its configuration.
    @ivar block: returns the whole configuration for some components.
    @ivar part: yields the lines of it that concern the components themselves, without listeners and comments.
    @ivar relevant: returns a component with those of its requirements that this kind of server can fulfil.
    """

    title: str
    comment: str
    block: Callable[[Sequence[Component]], str]
    part: Callable[[Sequence[Component]], Iterator[str]]
    relevant: Callable[[Component], Component]


SERVERS = {
    "prosody": Server(prosody.TITLE, "--", prosody.block, prosody.part, prosody.relevant),
    "ejabberd": Server(ejabberd.TITLE, "#", ejabberd.block, ejabberd.part, ejabberd.relevant),
    "openfire": Server(openfire.TITLE, "#", openfire.block, openfire.part, openfire.relevant),
}

# The name that the embedded host gives itself.
EMBEDDED = "xmpp-gateway embedded host"


def blocks(server: Server, components: Sequence[Component]) -> str:
    """
    Return the whole configuration for these components. A component with an endpoint on another host is on another
    server: each has a block of its own.
    """
    hosts = dict.fromkeys(_hostOf(each) for each in components)
    found = []
    for host in hosts:
        title = f"{server.comment} The server at {host}:\n" if len(hosts) > 1 else ""
        found.append(title + server.block([each for each in components if _hostOf(each) == host]))
    return "\n".join(found)


def _hostOf(component: Component) -> str:
    return component.address.socket or component.address.host


def recognise(software: str) -> Server | None:
    """
    Return the kind of a server.

    @param software: its name in disco#info or in its software version.
    @return: C{None} if it is unknown.
    """
    return SERVERS.get(kindOf(software))


def kindOf(software: str) -> str:
    """
    Return a key of L{SERVERS}, or C{embedded} for the embedded host; empty for another or an unknown server.

    @param software: as for L{recognise}.
    """
    name = software.lower()
    if name.startswith(EMBEDDED):
        return "embedded"
    return next((key for key in SERVERS if name.startswith(key)), "")
