"""
Access rules of the HTTP server, decided from the head of a request alone; pure.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.web.http_headers import Headers

_SCHEME = b"Bearer "

# The paths of the status page, which a browser may GET with a session. A session admits to nothing else, because
# other HTTP servers of this host get the cookie as well: cookies do not depend on the port (RFC 6265 section 8.5).
PAGE = b"/"
PAGES = frozenset({PAGE, b"/status", b"/page/events", b"/page/live.js"})
LOGIN = b"/page/login"
LOGOUT = b"/page/logout"

# Bytes of a form. It is read before the token is known.
_MAX_FORM = 4096
_FORM = b"application/x-www-form-urlencoded"

# Seconds until a browser has to log in again.
SESSION = 12 * 3600

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
    @ivar isLogin: true if a browser asks for the page: then a form to log in is the answer.
    """

    code: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    isLogin: bool = False


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

    def refusal(
        self,
        uri: bytes,
        headers: Headers,
        address: IAddress,
        isOld: bool = False,
        method: bytes = b"GET",
        utc: float = math.inf,
    ) -> Refusal | None:
        """
        Return the refusal of a request; C{None} if it may be served.

        @param address: the local end of the connection.
        @param isOld: true for HTTP/1.0, in which a request needs no C{Host}.
        @param utc: seconds since 1970; without them no session is valid.
        """
        if uri.partition(b"?")[0] in self.free:
            return None
        path, isRead = uri.partition(b"?")[0], method in (b"GET", b"HEAD")
        isForm = method == b"POST" and path in (LOGIN, LOGOUT) and _isSmallForm(headers)
        hasSession = isRead and path in PAGES and self._hasSession(headers, utc)
        if not (isForm or hasSession or self._mayPass(headers)):
            text = "The token of http.token_file is required: Authorization: Bearer TOKEN\n"
            isLogin = path == PAGE and isRead and b"text/html" in b",".join(headers.getRawHeaders(b"accept") or ())
            return Refusal(401, text, ((b"www-authenticate", b"Bearer"),), isLogin)
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
        return scheme.lower() == _SCHEME.lower() and self.isToken(credentials)

    def isToken(self, credentials: bytes) -> bool:
        """True if this is the token."""
        return self.token is not None and hmac.compare_digest(credentials, self.token.encode())

    @property
    def cookie(self) -> bytes:
        """The name of a session's cookie. Gateways of one host have different ones: cookies ignore the port."""
        return b"gateway_" + self._code(b"name")[:8]

    def session(self, utc: float) -> bytes:
        """
        Return the value of the cookie of a new session: the time of its end, and a code that proves that it comes
        from this gateway. The token cannot be computed from it. A new token ends all sessions.

        @param utc: seconds since 1970.
        """
        ends = b"%d" % (utc + SESSION)
        return ends + b"." + self._code(ends)

    def _hasSession(self, headers: Headers, utc: float) -> bool:
        for header in headers.getRawHeaders(b"cookie") or ():
            for each in header.split(b";"):
                name, _, value = each.strip().partition(b"=")
                if name == self.cookie:
                    # Browsers send one cookie of this name.
                    return self._isSession(value, utc)
        return False

    def _isSession(self, value: bytes, utc: float) -> bool:
        ends, _, code = value.partition(b".")
        if not (hmac.compare_digest(code, self._code(ends)) and ends.isdigit()):
            return False
        return 0 < int(ends) - utc <= SESSION

    def _code(self, text: bytes) -> bytes:
        key = (self.token or "").encode()
        return hmac.new(key, b"session of the status page: " + text, "sha256").hexdigest().encode()

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


def _isSmallForm(headers: Headers) -> bool:
    kind = (headers.getRawHeaders(b"content-type") or [b""])[0].partition(b";")[0]
    lengths = headers.getRawHeaders(b"content-length") or [b""]
    isSmall = len(lengths) == 1 and len(lengths[0]) <= 4 and lengths[0].isdigit() and int(lengths[0]) <= _MAX_FORM
    return isSmall and kind.strip().lower() == _FORM and not headers.hasHeader(b"transfer-encoding")


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
