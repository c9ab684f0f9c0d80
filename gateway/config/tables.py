"""
The tables of the configuration and the types of their values. A plugin derives its table from L{ComponentTable}.
"""

from __future__ import annotations

import re
from typing import Literal, NewType

from attrs import field, frozen

from gateway.log.output import Format, Level

# A user and password, in the right or a wrong place of a URL; and a query. Each pattern reads each character a few
# times at most: third parties can send words of 16 KB, for which a careless pattern takes a minute.
_WORD = re.compile(r"\S+")
_USER_INFO = re.compile(r"(?<=//)[^/?#]*@|(?<![^/?#]):*[^/?#:]+:[^/?#]*@")
_QUERY = re.compile(r"[?#].+")

# The ends of the names of keys that are secrets, also in tables of other software.
SECRET_ENDINGS = ("secret", "password", "token", "key")

BareJid = NewType("BareJid", str)
Seconds = NewType("Seconds", float)
# A time with its unit.
Duration = NewType("Duration", str)
Bytes = NewType("Bytes", int)
# A limit that has a minimum: any stanza of rooms and of private storage must fit.
LargeBytes = NewType("LargeBytes", int)
Count = NewType("Count", int)
Url = NewType("Url", str)
# A connection URI of PostgreSQL. It may contain a password.
DatabaseUrl = NewType("DatabaseUrl", str)
# A relative name refers to the folder of the configuration file.
Filename = NewType("Filename", str)
ClientEndpoint = NewType("ClientEndpoint", str)
ServerEndpoint = NewType("ServerEndpoint", str)
Domain = NewType("Domain", str)
# A domain, or "*" for all. Plugins check it themselves, with other keys of the table.
AnyDomain = NewType("AnyDomain", str)
# A host as in a URL, with or without a port.
Host = NewType("Host", str)
# A namespace that can be delegated (XEP-0355 section 8, rule 5).
Namespace = NewType("Namespace", str)
# One or several JIDs, with or without localpart and resource.
Jids = NewType("Jids", tuple[str, ...])
# A part of the gateway, or of other software, as its log lines name it.
LogPart = NewType("LogPart", str)
# Passwords by user name, the localpart of a JID.
Passwords = NewType("Passwords", dict[str, str])
# An endpoint of a direct link, or a list of fingerprints of keys. "tls:" means the TLS of the link itself.
PeerEndpoint = NewType("PeerEndpoint", str)
PeerListener = NewType("PeerListener", str)
Fingerprints = NewType("Fingerprints", frozenset[str])
# Secrets by domain.
Secrets = NewType("Secrets", dict[str, str])


def elided(text: str) -> str:
    """Return a text with the user, password and query removed from each URL, valid or not: they may be secret."""
    return _WORD.sub(_elided, text)


def _elided(word: re.Match[str]) -> str:
    before, slashes, rest = word[0].partition("//")
    # A password may contain any character.
    login, at, host = rest.rpartition("@")
    if ":" in login:
        rest = f"...{at}{host}"
    return _QUERY.sub("?...", _USER_INFO.sub("...@", f"{before}{slashes}{rest}"))


class ConfigError(Exception):
    """
    The configuration cannot be used.

    @ivar problems: one line for each problem.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def keyOf(attribute: str) -> str:
    """Return the key for an attribute: an attribute such as C{import_} avoids a keyword of Python."""
    return attribute.removesuffix("_")


@frozen(kw_only=True)
class ComponentTable:
    """
    The keys that every service's table has. Each may override the key of the same name in C{[server]}.

    @ivar endpoint: the address of the server's port for components.
    @ivar secret: the component's shared secret (XEP-0114).
    @ivar secret_file: a file with the secret in one line, in place of C{secret}.
    @ivar standby: true if other gateways have the component as well, and one of them serves it.
    """

    endpoint: ClientEndpoint | None = None
    secret: str | None = field(default=None, repr=False)
    secret_file: Filename | None = None
    standby: bool | None = None


@frozen(kw_only=True)
class ServerTable(ComponentTable):
    """
    C{[server]}: the server that components connect to.

    @ivar domain: the server's XMPP domain, which is pinged after a minute without input.
    @ivar max_stanza_size: a larger stanza from the server is refused.
    @ivar max_outgoing_stanza_size: a larger stanza is not sent, because the server would end the stream.
    @ivar answer_budget: bytes that one user may be sent at once in answers that are larger than the requests.
    """

    domain: Domain | None = None
    max_stanza_size: Bytes = Bytes(4 * 1024 * 1024)
    max_outgoing_stanza_size: LargeBytes = LargeBytes(512 * 1024)
    answer_budget: Bytes = Bytes(1024 * 1024)


@frozen(kw_only=True)
class DelegatedTable:
    """
    One namespace that the embedded host delegates.

    @ivar jid: managing entities; the first one that is connected gets the requests.
    @ivar filtering: attributes; only requests whose payload has all of them are delegated.
    """

    jid: Jids
    filtering: frozenset[str] = frozenset()


@frozen(kw_only=True)
class PrivilegesTable:
    """
    C{[embedded.privileges]}: the privileges that the host grants to one component (XEP-0356).

    @ivar roster: which requests for users' rosters it may send.
    @ivar push: true if roster pushes are sent to it; C{None} for true if it may read rosters.
    @ivar message: C{outgoing} if it may send messages in users' names.
    @ivar presence: C{managed_entity} for the presence of users, C{roster} for that of their contacts, too.
    @ivar iq: permissions by the namespace of the payload.
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

    @ivar domain: the host's XMPP domain.
    @ivar c2s: the address for clients.
    @ivar component: the address for components.
    @ivar accounts: passwords by user name; C{None} for three accounts with random passwords.
    @ivar components: secrets of components that are not part of the gateway, by domain.
    @ivar delegations: by namespace; C{None} for private storage, to C{delegate.DOMAIN}.
    @ivar privileges: by the component's domain; C{None} for rosters and presence, to C{roster.DOMAIN}.
    """

    domain: Domain = Domain("localhost")
    c2s: ServerEndpoint = ServerEndpoint("tcp:5222:interface=127.0.0.1")
    component: ServerEndpoint = ServerEndpoint("tcp:5347:interface=127.0.0.1")
    accounts: Passwords | None = field(default=None, repr=False)
    components: Secrets = field(factory=lambda: Secrets({}), repr=False)
    delegations: dict[Namespace, DelegatedTable] | None = None
    privileges: dict[Domain, PrivilegesTable] | None = None


@frozen(kw_only=True)
class PeerTable:
    """
    C{[peers."domain"]}: a direct link to another gateway.

    @ivar endpoint: the address to connect to; exactly one of C{endpoint} and C{listen} is given.
    @ivar listen: the address to listen on; several peers may use the same.
    @ivar fingerprint: those of the other gateway's key; several while the key is replaced.
    @ivar domains: further domains that the peer speaks for, beside the name of the table.
    @ivar key_file: the file of this gateway's own key, which is created if it does not exist; C{None} for
        C{peers.key} in C{state_dir}.
    @ivar profile: the kind of link, which sets the timers of the connection.
    @ivar fallback: C{s2s} if stanzas go by the server while the link is down; C{none} if they are refused.
    """

    endpoint: PeerEndpoint | None = None
    listen: PeerListener | None = None
    fingerprint: Fingerprints
    domains: frozenset[Domain] = frozenset()
    key_file: Filename | None = None
    profile: Literal["broadband", "satellite", "hf"] = "broadband"
    fallback: Literal["s2s", "none"] = "s2s"


@frozen(kw_only=True)
class StateTable:
    """
    C{[state]}: the place of the stores.

    @ivar url: a database that has the stores, instead of files in C{state_dir}.
    """

    url: DatabaseUrl | None = field(default=None, repr=False)


@frozen(kw_only=True)
class LogTable:
    """
    C{[log]}: format, level and place of the log.

    @ivar format: C{json} for one object in each line.
    @ivar level: lines below this level are not written.
    @ivar levels: other levels for parts of the gateway, by the name of the part as lines show it, or the beginning
        of the name up to a dot.
    @ivar file: a file for the log, in place of the destination that twistd was told.
    """

    format: Format = "text"
    level: Level = "info"
    levels: dict[LogPart, Level] = field(factory=dict)
    file: Filename | None = None


@frozen(kw_only=True)
class HttpTable:
    """
    C{[http]}: the HTTP server, with the status page, metrics and resources of services.

    @ivar listen: the address to listen on.
    @ivar token_file: file with the token that a caller must send; required if other machines can connect.
    @ivar hosts: further names of this server, beside the listening address.
    """

    listen: ServerEndpoint = ServerEndpoint("tcp:5290:interface=127.0.0.1")
    token_file: Filename | None = None
    hosts: frozenset[Host] = frozenset()
