"""
The HTTP resources of services, which can be withdrawn while the server runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from gateway.log.printable import printable


class Branch(Resource):
    """A resource that consists of its children. The answer for another path names them."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        return self._notFound((request.prepath or [])[:-1])

    def render(self, request: Request) -> bytes:
        return self._notFound(request.prepath or []).render(request)

    def _notFound(self, above: list[bytes]) -> _NotFound:
        parent = b"/".join([b"", *above]).decode("latin-1")
        names = ", ".join(sorted(name.decode() or "/" for name in self.children))
        return _NotFound(f"Nothing has this path. Below {printable(parent) or '/'} there are: {names}\n")


class _NotFound(Resource):
    isLeaf = True

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message

    def render(self, request: Request) -> bytes:
        request.setResponseCode(404)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return self._message.encode()


class Served(Resource):
    """
    The resource of one service at one path. Several services may have resources at the same path: if their
    children have the same name, that of the service which is first in the configuration is served.

    @param changed: called when children were added or removed.
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        super().__init__()
        self._changed = changed

    def putChild(self, path: bytes, child: IResource) -> None:
        super().putChild(path, child)
        self._changed()

    def withdraw(self) -> None:
        """Remove all children: their paths are 404 from now on. Requests under way still get their answers."""
        self.children.clear()
        self._changed()


def merged(services: Iterable[Mapping[str, Served]]) -> dict[bytes, Resource]:
    """
    Return the resources of all services by the first segment of their path.

    @param services: the resources of each service by the first segment, in the order of the configuration.
    """
    found: dict[bytes, Resource] = {}
    for served in services:
        for name, one in served.items():
            if one.children:
                resource = found.setdefault(name.encode(), Branch())
                resource.children = {**one.children, **resource.children}
    return found
