"""
The words in which a table of the configuration is declared: a plugin derives its own from L{ComponentTable}.
"""

from __future__ import annotations

import re
from typing import Literal, NewType

from attrs import field, frozen

# User and password, where they are meant to be or a mistake has put them; and a query. All look at each character a
# few times at most: in a word of 16 KB, as others may send it, a careless pattern takes a minute.
_WORD = re.compile(r"\S+")
_USER_INFO = re.compile(r"(?<=//)[^/?#]*@|(?<![^/?#]):*[^/?#:]+:[^/?#]*@")
_QUERY = re.compile(r"[?#].+")

BareJid = NewType("BareJid", str)
Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)
# What fits any stanza of rooms and of private storage.
LargeBytes = NewType("LargeBytes", int)
Count = NewType("Count", int)
Url = NewType("Url", str)
# Relative ones are meant from the folder of the configuration file.
Filename = NewType("Filename", str)
ClientEndpoint = NewType("ClientEndpoint", str)
ServerEndpoint = NewType("ServerEndpoint", str)
Domain = NewType("Domain", str)
# A host as in a URL, with or without a port.
Host = NewType("Host", str)
# One that can be delegated (XEP-0355 section 8, rule 5).
Namespace = NewType("Namespace", str)
# One or several, of any kind.
Jids = NewType("Jids", tuple[str, ...])
# A word that may stand before the "@" of an address, and the secret of each.
Passwords = NewType("Passwords", dict[str, str])
# A domain, and the secret of each.
Secrets = NewType("Secrets", dict[str, str])


def elided(text: str) -> str:
    """A URL, right or wrong, without user, password and query: an application may want a secret there."""
    return _WORD.sub(_elided, text)


def _elided(word: re.Match[str]) -> str:
    before, slashes, rest = word[0].partition("//")
    # A password may hold anything.
    login, at, host = rest.rpartition("@")
    if ":" in login:
        rest = f"...{at}{host}"
    return _QUERY.sub("?...", _USER_INFO.sub("...@", f"{before}{slashes}{rest}"))


class ConfigError(Exception):
    """
    The configuration cannot be used.

    @ivar problems: one line for each thing that is wrong.
    @ivar rest: what of it could be read, for who looks for more.
    """

    def __init__(self, problems: list[str], rest: object = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.rest = rest


def keyOf(attribute: str) -> str:
    """The key of a table that an attribute stands for: of one that Python keeps for itself, as C{import_}."""
    return attribute.removesuffix("_")


@frozen(kw_only=True)
class ComponentTable:
    """
    The keys that every service's table has: each may override what C{[server]} says.

    @ivar secret: what the component shares with its server.
    """

    endpoint: ClientEndpoint | None = None
    secret: str | None = field(default=None, repr=False)
    secret_file: Filename | None = None


@frozen(kw_only=True)
class ServerTable(ComponentTable):
    """
    C{[server]}.

    @ivar endpoint: a Twisted client endpoint string.
    @ivar domain: the host whose components these are.
    @ivar max_stanza_size: a stanza from the server that is over it is refused.
    @ivar max_outgoing_stanza_size: a larger stanza is not sent: the server would end the stream.
    @ivar answer_budget: what one user may be sent at once in answer to little.
    """

    domain: Domain | None = None
    max_stanza_size: Bytes = Bytes(4 * 1024 * 1024)
    max_outgoing_stanza_size: LargeBytes = LargeBytes(512 * 1024)
    answer_budget: Bytes = Bytes(1024 * 1024)


@frozen(kw_only=True)
class DelegatedTable:
    """
    One namespace that the embedded host delegates.

    @ivar jid: managing entities; the first that is there gets the requests.
    @ivar filtering: only requests whose payload has all of these attributes are delegated.
    """

    jid: Jids
    filtering: frozenset[str] = frozenset()


@frozen(kw_only=True)
class PrivilegesTable:
    """
    C{[embedded.privileges]}: what the host grants one component (XEP-0356).

    @ivar push: whether it is told of changes to rosters; C{None} for the default: if it may read them.
    @ivar iq: by the namespace of what is asked.
    """

    roster: Literal["none", "get", "set", "both"] = "none"
    push: bool | None = None
    message: Literal["none", "outgoing"] = "none"
    presence: Literal["none", "managed_entity", "roster"] = "none"
    iq: dict[str, Literal["none", "get", "set", "both"]] = field(factory=dict)


@frozen(kw_only=True)
class EmbeddedTable:
    """
    C{[embedded]}: the host for trying out.

    @ivar c2s: where clients connect: a Twisted server endpoint string.
    @ivar component: where components connect.
    @ivar accounts: passwords by user name; C{None} for three of them with passwords made up at the first start.
    @ivar components: the secrets of components that are not the gateway's own, by domain.
    @ivar delegations: what is delegated to whom, by namespace; C{None} for private storage to C{delegate}.
    @ivar privileges: what is granted, by the component's domain; C{None} for rosters and presence to C{roster}.
    """

    domain: Domain = Domain("localhost")
    c2s: ServerEndpoint = ServerEndpoint("tcp:5222:interface=127.0.0.1")
    component: ServerEndpoint = ServerEndpoint("tcp:5347:interface=127.0.0.1")
    accounts: Passwords | None = field(default=None, repr=False)
    components: Secrets = field(factory=lambda: Secrets({}), repr=False)
    delegations: dict[Namespace, DelegatedTable] | None = None
    privileges: dict[Domain, PrivilegesTable] | None = None


@frozen(kw_only=True)
class HttpTable:
    """
    C{[http]}.

    @ivar listen: a Twisted server endpoint string.
    @ivar token_file: holds what a caller must show.
    @ivar hosts: names by which the listener is reached, beside its own address.
    """

    listen: ServerEndpoint = ServerEndpoint("tcp:5290:interface=127.0.0.1")
    token_file: Filename | None = None
    hosts: frozenset[Host] = frozenset()
