"""
C{/status}: the state of each link and the reports of its handlers, as text for operators or as JSON for programs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Request

from gateway import __version__
from gateway.http.health import text
from gateway.http.reports import Report, Reported, Stored, asDocument, reportOf
from gateway.log.printable import printable
from gateway.reports import StatusItem

_JSON, _TEXT = "application/json", "text/plain"


class Status(Resource):
    """
    Shows a line for each link, with the reports of the link and its handlers, then a line for each file.

    @param kinds: returns the kinds of services by component, for JSON.
    @param own: items about the gateway as a whole.
    """

    def __init__(
        self,
        links: Sequence[Reported],
        files: Sequence[Stored] = (),
        kinds: Callable[[], Mapping[str, str]] = dict,
        own: Sequence[StatusItem] = (),
    ) -> None:
        super().__init__()
        self._links = links
        self._files = files
        self._kinds = kinds
        self._own = own

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"vary", b"accept")
        reports = list(map(reportOf, self._links))
        if prefersJson(request.requestHeaders):
            document = asDocument(__version__, reports, self._files, self._kinds(), self._own)
            body = text(request, 200, json.dumps(document, indent=1) + "\n")
            request.setHeader(b"content-type", _JSON.encode())
            return body
        parts = list(map(_described, reports)) or ["There are no links.\n"]
        if self._files:
            parts.append("".join(f"{printable(str(file.report()))}\n" for file in self._files))
        if self._own:
            parts.append("".join(f"{printable(line)}\n" for each in self._own for line in str(each).split("\n")))
        return text(request, 200, "\n".join(parts))


def _described(report: Report) -> str:
    lines = [line for item in report.items for line in str(item).split("\n")]
    return "".join(
        [f"{report.component}: {printable(report.state)}\n", *(f"  {printable(line)}\n" for line in lines)]
    )


def prefersJson(headers: Headers) -> bool:
    """True if a caller names JSON, and prefers it to text or likes both equally (RFC 9110 section 12.5.1)."""
    accepted: dict[str, float] = {}
    for each in ",".join(headers.getRawHeaders("accept") or ()).lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            accepted.setdefault(name, float(quality))
        except ValueError:
            accepted.setdefault(name, 0.0)
    asText = accepted.get(_TEXT, accepted.get("text/*", accepted.get("*/*", 0.0)))
    return accepted.get(_JSON, 0.0) > 0 and accepted[_JSON] >= asText
