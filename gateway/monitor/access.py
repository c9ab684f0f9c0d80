"""
Who may see or change something over HTTP: whoever shows the token of C{http.token_file}.
"""

from __future__ import annotations

import hmac

from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from zope.interface import implementer

from gateway.monitor.health import text

_SCHEME = b"Bearer "


def guarded(resource: Resource, token: str | None) -> IResource:
    """The resource, for those who show the token (RFC 6750 section 2.1); as it is, if there is none."""
    return resource if token is None else _Guard(resource, token.encode())


@implementer(IResource)
class _Guard:
    isLeaf = False

    def __init__(self, resource: Resource, token: bytes) -> None:
        self._resource = resource
        self._token = token

    def _mayPass(self, request: Request) -> bool:
        shown = request.getHeader(b"authorization") or b""
        scheme, credentials = shown[: len(_SCHEME)], shown[len(_SCHEME) :].strip()
        return scheme.lower() == _SCHEME.lower() and hmac.compare_digest(credentials, self._token)

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        child: IResource = self._resource.getChildWithDefault(name, request) if self._mayPass(request) else self
        return child

    def putChild(self, path: bytes, child: IResource) -> None:
        self._resource.putChild(path, child)

    def render(self, request: Request) -> bytes | int:
        if self._mayPass(request):
            rendered: bytes | int = self._resource.render(request)
            return rendered
        request.setHeader(b"www-authenticate", b"Bearer")
        return text(request, 401, "The token of http.token_file is needed: Authorization: Bearer TOKEN\n")
