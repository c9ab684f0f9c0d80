"""
The built-in web application of the embedded host: C{/demo/contacts/}. It keeps documents in memory.
"""

from __future__ import annotations

import hashlib
import json
from codecs import BOM_UTF8
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request

from gateway.http.answers import MAX_BODY, answerLater
from gateway.pieces import Pieces
from gateway.roster.document import checkUser, readingDocument
from gateway.roster.failures import INTERNAL_ERROR, RefreshFailed

# Users at most, and bytes of all documents together.
_MAX_USERS = 1_000
_MAX_TOTAL_BYTES = 8 * 1024 * 1024


class Contacts(Resource):
    """
    C{GET} shows all documents; each user's document is a child resource.

    @param domain: the users' domain.
    @param pieces: runs long computations.
    """

    def __init__(self, domain: str, pieces: Pieces) -> None:
        super().__init__()
        self._domain = domain
        self._pieces = pieces
        self._documents: dict[str, bytes] = {}

    def getChild(self, path: bytes, request: Request) -> Resource:
        # The address of the list may end in a slash.
        return self if not path else _Document(self._domain, self._documents, path, self._pieces)

    def render_GET(self, request: Request) -> bytes:
        # Each document was validated when it was stored; it is kept as it was sent.
        known = [f"{json.dumps(user)}: {document.decode()}" for user, document in sorted(self._documents.items())]
        return _respond(request, 200, "{" + ",\n ".join(known) + "}")


class _Document(Resource):
    """
    C{PUT} stores a user's document, C{DELETE} removes it, C{GET} is the gateway's request.
    """

    isLeaf = True

    def __init__(self, domain: str, documents: dict[str, bytes], name: bytes, pieces: Pieces) -> None:
        super().__init__()
        self._pieces = pieces
        self._domain = domain
        self._documents = documents
        self._name = name

    def render(self, request: Request) -> Any:
        try:
            self._user = checkUser(self._name.decode())
        except (RefreshFailed, UnicodeDecodeError):
            return _errorAnswer(request, 404, "the user name is invalid")
        return super().render(request)

    def render_GET(self, request: Request) -> Any:
        document = self._documents.get(self._user)
        if document is None:
            return _errorAnswer(request, 404, "there is no document for this user")
        if request.setETag(b'"' + hashlib.sha256(document).hexdigest().encode() + b'"'):
            return b""
        return _respond(request, 200, document.decode())

    def render_PUT(self, request: Request) -> int:
        return answerLater(request, self._put(request), _internalError)

    async def _put(self, request: Request) -> bytes:
        content: Any = request.content
        document: bytes = content.read(MAX_BODY + 1).removeprefix(BOM_UTF8)
        if len(document) > MAX_BODY:
            return _errorAnswer(request, 413, f"the document has more than {MAX_BODY} bytes")
        try:
            found = await self._pieces.run(readingDocument(document, f"{self._user}@{self._domain}"))
        except RefreshFailed as failure:
            return _errorAnswer(request, 400, str(failure))
        if found.skipped:
            reasons = [f"contact {json.dumps(written)}: {reason}" for written, reason in found.skipped.items()]
            return _errorAnswer(request, 400, "; ".join(reasons))
        others = [len(each) for user, each in self._documents.items() if user != self._user]
        if len(others) >= _MAX_USERS or sum(others) + len(document) > _MAX_TOTAL_BYTES:
            return _errorAnswer(request, 507, f"the limit is {_MAX_USERS} users and {_MAX_TOTAL_BYTES} bytes")
        self._documents[self._user] = document
        return _respond(
            request, 200, json.dumps({"next": f"POST /roster_admin/refresh {json.dumps([self._user])}"})
        )

    def render_DELETE(self, request: Request) -> bytes:
        if self._documents.pop(self._user, None) is None:
            return _errorAnswer(request, 404, "there is no document for this user")
        return _respond(request, 200, "{}")


def _errorAnswer(request: Request, code: int, message: str) -> bytes:
    return _respond(request, code, json.dumps({"message": message}))


def _internalError(request: Request) -> bytes:
    return _errorAnswer(request, 500, INTERNAL_ERROR)


def _respond(request: Request, code: int, text: str) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-cache")
    return text.encode() + b"\n"
