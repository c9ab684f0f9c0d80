"""
The small web application of the embedded default: C{/demo/contacts/}, which knows what it was told a moment ago.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request

from gateway.roster.core import RefreshFailed, checkUser, readDocument

# Users that it knows at most, and bytes that it takes of each.
_MOST_USERS = 1_000
_MOST_BYTES = 1024 * 1024


class Contacts(Resource):
    """
    C{GET} shows what is known of everybody; below it each user has a document.

    @param domain: whose users they are.
    """

    def __init__(self, domain: str) -> None:
        super().__init__()
        self._domain = domain
        self._documents: dict[str, bytes] = {}

    def getChild(self, path: bytes, request: Request) -> Resource:
        # The address that lists everybody ends in a slash, too.
        return self if not path else _Document(self._domain, self._documents, path)

    def render_GET(self, request: Request) -> bytes:
        known = {user: json.loads(document) for user, document in sorted(self._documents.items())}
        return _answered(request, 200, json.dumps(known, indent=1))


class _Document(Resource):
    """
    C{PUT} decides about a user's contacts, C{DELETE} forgets them, C{GET} is what the gateway asks.
    """

    isLeaf = True

    def __init__(self, domain: str, documents: dict[str, bytes], name: bytes) -> None:
        super().__init__()
        self._domain = domain
        self._documents = documents
        self._name = name

    def render(self, request: Request) -> Any:
        try:
            self._user = checkUser(self._name.decode())
        except (RefreshFailed, UnicodeDecodeError):
            return _refused(request, 404, "that is no user name")
        return super().render(request)

    def render_GET(self, request: Request) -> Any:
        document = self._documents.get(self._user)
        if document is None:
            return _refused(request, 404, "nothing is known of this user")
        if request.setETag(b'"' + hashlib.sha256(document).hexdigest().encode() + b'"'):
            return b""
        return _answered(request, 200, document.decode())

    def render_PUT(self, request: Request) -> bytes:
        content: Any = request.content
        document: bytes = content.read(_MOST_BYTES + 1)
        if len(document) > _MOST_BYTES:
            return _refused(request, 413, f"a document has at most {_MOST_BYTES} bytes")
        if self._user not in self._documents and len(self._documents) >= _MOST_USERS:
            return _refused(request, 507, f"at most {_MOST_USERS} users are known")
        try:
            readDocument(document, f"{self._user}@{self._domain}")
        except RefreshFailed as failure:
            return _refused(request, 400, str(failure))
        self._documents[self._user] = document
        return _answered(
            request, 200, json.dumps({"next": f"POST /roster_admin/refresh {json.dumps([self._user])}"})
        )

    def render_DELETE(self, request: Request) -> bytes:
        if self._documents.pop(self._user, None) is None:
            return _refused(request, 404, "nothing is known of this user")
        return _answered(request, 200, "{}")


def _refused(request: Request, code: int, message: str) -> bytes:
    return _answered(request, code, json.dumps({"message": message}))


def _answered(request: Request, code: int, text: str) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-cache")
    return text.encode() + b"\n"
