"""
The content of the status page at one moment. It is made in pieces, and shared by everyone who looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from gateway.http import sections
from gateway.http.html import flat
from gateway.http.reports import Reported, Stored, reportOf
from gateway.metrics.samples import Samples
from gateway.pieces import Pieces
from gateway.reports import StatusItem

# Seconds for which content is used again, so that many requests at once do not each make it.
_FRESH = 1.0


@frozen
class Content:
    """
    The content of the page.

    @ivar title: the title.
    @ivar verdict: the state of everything in one sentence.
    @ivar sections: the HTML of each section by its identifier, in their order.
    """

    title: str
    verdict: str
    sections: Mapping[str, bytes]


class View:
    """
    Makes the content, one piece for each section.

    @param kinds: returns the kinds of services by component.
    @param own: items about the gateway as a whole.
    """

    def __init__(
        self,
        links: Sequence[Reported],
        files: Sequence[Stored],
        samples: Samples,
        kinds: Callable[[], Mapping[str, str]],
        pieces: Pieces,
        clock: IReactorTime,
        own: Sequence[StatusItem] = (),
    ) -> None:
        self._links = links
        self._files = files
        self._samples = samples
        self._kinds = kinds
        self._pieces = pieces
        self._clock = clock
        self._own = own
        self._content: Content | None = None
        self._madeAt = 0.0
        self._waiting: list[Deferred[Content]] = []

    def content(self) -> Deferred[Content]:
        """Return the content. If it was made more than a second ago, make it again."""
        found: Deferred[Content] = Deferred()
        if self._content is not None and 0 <= self._clock.seconds() - self._madeAt < _FRESH:
            found.callback(self._content)
            return found
        self._waiting.append(found)
        if len(self._waiting) == 1:
            self._pieces.run(self._make()).addCallbacks(self._made, self._failed)
        return found

    def _made(self, content: Content) -> None:
        self._content, self._madeAt = content, self._clock.seconds()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(content)

    def _failed(self, failure: Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(failure)

    def _make(self) -> Generator[None, None, Content]:
        kinds, now = self._kinds(), self._clock.seconds()
        reports = []
        # Services may change between two pieces.
        for link in tuple(self._links):
            reports.append(reportOf(link))
            yield
        files, own = sections.fileItems(self._files), list(self._own)
        found = {"summary": flat(sections.contents(reports, kinds))}
        if own:
            found["configuration"] = flat(sections.listed("configuration", "Configuration", own))
        outages = sections.outages(reports)
        for each in reports:
            kind = kinds.get(each.component, "")
            history = self._samples.history(each.component)
            section = sections.component(each, kind, history, now, each.state in outages)
            found[sections.idOf(each.component)] = flat(section)
            yield
        if files:
            found["files"] = flat(sections.listed("files", "Files", files))
        items = [*own, *files]
        return Content(sections.title(reports, items), sections.verdict(reports, items), found)
