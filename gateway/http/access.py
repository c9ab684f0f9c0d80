"""
Access rules of the HTTP server, decided from the head of a request alone; pure.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.web.http_headers import Headers

_SCHEME = b"Bearer "

# A host and optionally a port (RFC 9110 section 7.2).
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(?::([0-9]{1,5}))?")

# Values of Sec-Fetch-Site that only our own pages cause. All ports of a machine are one site, so "same-site" is not
# included.
_OWN_SITE = (b"same-origin", b"none")


@frozen
class Refusal:
    """
    The answer to a request that is not served.

    @ivar code: the HTTP status.
    @ivar text: the reason, for people.
    @ivar headers: further headers of the answer.
    """

    code: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


@frozen
class Gate:
    """
    The check that every request must pass before its body is read.

    @ivar token: a caller must send it (RFC 6750 section 2.1); C{None} if there is none.
    @ivar hosts: further accepted values of C{Host}, in lower case, each with or without a port.
    @ivar free: paths without any check: a health probe has no token, and may use any host name.
    """

    token: str | None = field(default=None, repr=False)
    hosts: frozenset[str] = frozenset()
    free: frozenset[bytes] = frozenset()

    def refusal(self, uri: bytes, headers: Headers, address: IAddress, isOld: bool = False) -> Refusal | None:
        """
        Return the refusal of a request; C{None} if it may be served.

        @param address: the local end of the connection.
        @param isOld: true for HTTP/1.0, in which a request needs no C{Host}.
        """
        if uri.partition(b"?")[0] in self.free:
            return None
        if not self._mayPass(headers):
            text = "The token of http.token_file is required: Authorization: Bearer TOKEN\n"
            return Refusal(401, text, ((b"www-authenticate", b"Bearer"),))
        found = headers.getRawHeaders(b"host") or []
        if len(found) > 1 or not (found or isOld):
            return Refusal(400, "A request has one Host header.\n")
        host = found[0].decode("latin-1").strip().lower() if found else ""
        if found and not self._isOurs(host, address):
            # DNS rebinding: a page could let its own name resolve to this machine, and then read every answer.
            return Refusal(421, f'"{_shown(host)}" is not a name of this server; add it to http.hosts if it is.\n')
        if _isForeign(headers, self.hosts | {host}):
            text = "Web pages of other sites may not send this request; http.hosts has this server's own names.\n"
            return Refusal(403, text)
        return None

    def _mayPass(self, headers: Headers) -> bool:
        if self.token is None:
            return True
        shown = (headers.getRawHeaders(b"authorization") or [b""])[0]
        scheme, credentials = shown[: len(_SCHEME)], shown[len(_SCHEME) :].strip()
        return scheme.lower() == _SCHEME.lower() and hmac.compare_digest(credentials, self.token.encode())

    def _isOurs(self, host: str, address: IAddress) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name, port = found[1].removesuffix("."), found[2]
        if host in self.hosts or name in self.hosts:
            return True
        if not isinstance(address, IPv4Address | IPv6Address):
            # A UNIX socket has no host name, and browsers cannot connect to it.
            return True
        return name in _names(address) and port in (None, str(address.port))


def _names(address: IPv4Address | IPv6Address) -> Iterable[str]:
    """Return the names of a local address in the form of a C{Host} header."""
    local = ipaddress.ip_address(address.host.partition("%")[0])
    local = getattr(local, "ipv4_mapped", None) or local
    names = [str(local) if local.version == 4 else f"[{local}]"]
    return [*names, "localhost"] if local.is_loopback else names


def _isForeign(headers: Headers, hosts: Iterable[str]) -> bool:
    """
    True if a browser says that the request comes from a page of another site.

    @param hosts: hosts of our own pages.
    """
    if any(site.lower() not in _OWN_SITE for site in headers.getRawHeaders(b"sec-fetch-site") or ()):
        return True
    # The origin of a page without an address is "null".
    origins = headers.getRawHeaders(b"origin") or ()
    return any(not _origin(origin) or _origin(origin) not in hosts for origin in origins)


def _origin(origin: bytes) -> str:
    try:
        return urlsplit(origin.decode("ascii").lower()).netloc
    except ValueError:
        return ""


def _shown(text: str) -> str:
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text[:100])
