"""
Fetching of documents from the web application, over HTTP.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from attrs import frozen
from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers

from gateway.config.tables import elided
from gateway.http.agent import Body, HeadTooLong, Unusable, collected, unwrapped
from gateway.roster.failures import RefreshFailed, UserUnknown
from gateway.roster.outage import MAX_WAIT, Outage
from gateway.roster.store import EntityTags
from gateway.stream.backoff import Backoff

# Bytes of an unpacked document.
MAX_BYTES = 8 * 1024 * 1024

# Bytes of an unused body that are read, so that the connection can be used again.
_MAX_DISCARDED = 64 * 1024

# What to do if the application refuses, by its status.
_REMEDIES = dict.fromkeys(
    (401, 403), "let it admit this machine's address, or put a secret into the query of url: no password is sent"
)

# Tries in all; seconds before the second one, and at most.
_TRIES = 3
_FIRST_PAUSE, _MAX_PAUSE = 0.5, 1.0


@frozen
class Fetched:
    """
    The application's answer.

    @ivar document: C{None} if it is unchanged.
    @ivar tag: entity tag of the document, if it has one (RFC 9110 section 8.8.3).
    """

    document: bytes | None
    tag: str | None


class _Retriable(Exception):
    """
    A try has failed, but another one may succeed; the text is the reason.

    @ivar advice: the remedy if no try succeeds.
    @ivar isAnswer: true if the application has answered.
    """

    def __init__(
        self, reason: str = "", advice: str = "see the application's log", isAnswer: bool = False
    ) -> None:
        super().__init__(reason)
        self.advice = advice
        self.isAnswer = isAnswer


class WebApplication:
    """
    One application. During an outage, the documents of different users are tried in turns, one at a time. So a
    request for many users survives a restart of the application, and fails soon if the application stays away.

    @param url: address of a document, with C{%s} in place of the user's name.
    @param timeout: seconds for each try, including the body.
    @param tags: by default they are kept in memory.
    """

    _log = Logger()

    def __init__(
        self, url: str, client: HTTPClient, reactor: Any, timeout: float, tags: EntityTags | None = None
    ) -> None:
        self._url = url
        self._client = client
        self._reactor = reactor
        self._timeout = timeout
        self._tags = tags or EntityTags(reactor)
        self._outage = Outage()
        # During an outage: true if it is somebody's turn, and those who wait for theirs.
        self._isTrying = False
        self._waiting: list[Deferred[None]] = []

    async def fetch(self, name: str, isUnconditional: bool = False) -> Fetched:
        """
        Fetch a user's document.

        @param name: the user's name, without the domain.
        @param isUnconditional: true to fetch the document even if it is unchanged.
        @raise RefreshFailed: if it cannot be fetched.
        """
        if name in (".", ".."):
            # Software that normalises the URL would remove the dots (RFC 3986 section 5.2.4).
            raise RefreshFailed(f"the application cannot be asked for {name!r}: a URL cannot end with this name")
        tag = None if isUnconditional else self._tags.get(name)
        while self._outage.isDown:
            if self._isTrying:
                self._waiting.append(Deferred())
                await self._waiting[-1]
            elif (answer := await self._takeTurn(name, tag)) is not None:
                return answer
        backoff = Backoff(_FIRST_PAUSE, _MAX_PAUSE)
        for left in reversed(range(_TRIES)):
            try:
                return await self._try(name, tag)
            except _Retriable as failure:
                if not left:
                    self._onFailure(name, failure)
                    raise RefreshFailed(f"{failure}; {_TRIES} tries: {failure.advice}") from failure
            await deferLater(self._reactor, backoff.next())
        raise AssertionError

    async def _takeTurn(self, name: str, tag: str | None) -> Fetched | None:
        """Try to fetch a document during an outage; return C{None} if the application has not answered."""
        outage, now = self._outage, self._reactor.seconds()
        pause = outage.untilTry(now)
        isHopeless = pause > 0 and outage.isHopeless(now)
        self._isTrying = True
        try:
            # In no case at once: the next refresh would begin inside the end of this one, and so on.
            await deferLater(self._reactor, 0 if isHopeless else pause)
            if isHopeless:
                raise RefreshFailed(f"the application does not answer for any user: {outage.reason}")
            return await self._try(name, tag)
        except _Retriable as failure:
            self._onFailure(name, failure)
            return None
        finally:
            self._isTrying = False
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def _onFailure(self, name: str, failure: _Retriable) -> None:
        outage, wasDown = self._outage, self._outage.isDown
        outage.onFailure(name, f"{failure}: {failure.advice}", self._reactor.seconds())
        if outage.isDown and not wasDown:
            self._log.warn(
                "The application does not answer for any user. Refreshes wait up to {seconds:g} s for it, and fail "
                "after that: {reason}",
                event="roster.application_down",
                seconds=MAX_WAIT,
                reason=outage.reason,
            )

    def _onAnswer(self) -> None:
        if self._outage.isDown:
            self._log.info(
                "The application answers again, after {seconds:.0f} s.",
                event="roster.application_up",
                seconds=self._outage.seconds(self._reactor.seconds()),
            )
        self._outage.onAnswer()

    def remember(self, name: str, tag: str | None) -> None:
        """
        Remember the tag of a document that was applied completely; without a tag, forget the last one.
        """
        self._tags.remember(name, tag)

    async def forget(self, name: str) -> None:
        """Forget the tag of a user whose roster is about to be changed."""
        await self._tags.forget(name)

    def serverLost(self) -> int:
        """Forget the last tags: see L{EntityTags.serverLost}."""
        return self._tags.serverLost()

    async def _try(self, name: str, tag: str | None) -> Fetched:
        asking: Deferred[Fetched] = ensureDeferred(self._ask(name, tag))
        asking.addTimeout(self._timeout, self._reactor, self._raiseTimeout)
        try:
            answer = await asking
        except (RefreshFailed, _Retriable) as failure:
            if not isinstance(failure, _Retriable) or failure.isAnswer:
                self._onAnswer()
            raise
        except Unusable as error:
            self._onAnswer()
            raise RefreshFailed(f"the document {error}") from error
        except ResponseFailed as error:
            # Another try changes neither a certificate nor the size of a head.
            if broken := [reason for reason in error.reasons if reason.check(HeadTooLong)]:
                raise RefreshFailed(f"the application sends {broken[0].value}") from error
            if any(reason.check(VerificationError) for reason in error.reasons):
                raise RefreshFailed("the application's certificate does not match the host of url") from error
            if broken := [reason for reason in error.reasons if reason.check(TlsError)]:
                raise RefreshFailed(
                    "the application does not speak TLS, or its certificate is not trusted by this machine: "
                    f"{broken[0].value!r}"
                ) from error
            raise _Retriable("the application's answer is incomplete") from error
        except Exception as error:
            # Connection refused or reset, unknown host name: the error has a text.
            reason = elided(str(error)).rstrip(".")
            advice = "is the host and port of url right, and does the application run?"
            raise _Retriable(f"the application cannot be reached: {reason}", advice) from error
        self._onAnswer()
        return answer

    def _raiseTimeout(self, outcome: object, timeout: float) -> Fetched:
        advice = "see the application's log, or raise timeout"
        raise _Retriable(f"the application did not answer within {timeout:g} s", advice)

    async def _ask(self, name: str, tag: str | None) -> Fetched:
        headers = Headers({"accept": ["application/json"]})
        if tag is not None:
            headers.setRawHeaders(b"if-none-match", [tag.encode("latin-1")])
        url = self._url.replace("%s", quote(name, safe=""))
        response: Any = await self._client.get(
            url, headers=headers, allow_redirects=False, unbuffered=True, reactor=self._reactor
        )
        code = response.code
        if code == 200:
            document = await collected(response.original, MAX_BYTES)
            [found] = response.headers.getRawHeaders(b"etag", [None])[:1]
            return Fetched(document, found and found.decode("latin-1"))
        self._discard(response.original)
        if code == 304 and tag is not None:
            return Fetched(None, tag)
        if code >= 500:
            raise _Retriable(f"the application answered with status {code}", isAnswer=True)
        if code == 404:
            advice = "if this is so for all users, correct the path in url"
            raise UserUnknown(f"the application does not know the user: it answered with status 404; {advice}")
        advice = _REMEDIES.get(code, "see the application's log")
        if 300 <= code < 400:
            advice = "redirections are not followed: set url to the final address"
        raise RefreshFailed(f"the application answered with status {code}; {advice}")

    def _discard(self, response: Any) -> None:
        """Read and drop an unused body if it is short, so that the connection can be used again."""
        room = _MAX_DISCARDED

        def take(data: bytes) -> None:
            nonlocal room
            room -= len(data)
            if room < 0:
                raise _Retriable

        body = Body(take)
        unwrapped(response)[0].deliverBody(body)
        body.whole.addTimeout(self._timeout, self._reactor).addErrback(lambda reason: None)
