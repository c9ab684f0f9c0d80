"""
Asking others over HTTP, and the gateway itself.
"""

from __future__ import annotations

from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from gateway.listener import Listener, ListenerEndpoint


class ConnectionPool(HTTPConnectionPool):
    """
    Connections to web servers; the log says nothing of them.

    @param most: how many to one server are kept.
    """

    def __init__(self, reactor: Any, most: int) -> None:
        super().__init__(reactor, persistent=most > 0)
        self.maxPersistentPerHost = most
        makeFactory = self._factory

        def makeQuietFactory(*arguments: Any) -> Any:
            factory = makeFactory(*arguments)
            factory.noisy = False
            return factory

        self._factory = makeQuietFactory  # type: ignore[assignment]  # a function makes them as well as the class


class Body(Protocol):
    """
    Takes the body of a response, to which it is delivered. A connection of which nobody wants the rest is ended:
    else it would be there for as long as the other side likes.

    @ivar whole: fires when all of it has come; fails when it breaks off, or with what C{take} raises. To cancel it
        is to want no more.
    @param take: is given each piece.
    """

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self.whole: Deferred[None] = Deferred(lambda _: self._end())

    def dataReceived(self, data: bytes) -> None:
        if self.whole.called:
            return
        try:
            self._take(data)
        except Exception:
            self.whole.errback(Failure())
            self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.whole.called:
            # The second: nobody has said how long it is.
            isWhole = reason.check(ResponseDone, PotentialDataLoss)
            self.whole.callback(None) if isWhole else self.whole.errback(reason)

    def _end(self) -> None:
        # Not loseConnection: over TLS that waits until the other side has taken leave, too.
        producer: Any = self.transport
        if producer is not None:
            producer.stopProducing()


def makeClient(agent: IAgent) -> HTTPClient:
    """A client that keeps no cookies: they would tie together what is asked for different users, without bound."""
    # Not every treq has the class that the latest one is typed with.
    jar: Any = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return HTTPClient(agent, jar)


@implementer(IAgent)
class OwnAgent:
    """Asks what this process serves, whatever host a URL names, and shows the token."""

    def __init__(self, http: Listener, token: str | None, reactor: Any) -> None:
        self._http = http
        self._token = token
        self._reactor = reactor
        self._agent = Agent.usingEndpointFactory(reactor, self, ConnectionPool(reactor, 0))

    def endpointForURI(self, uri: object) -> ListenerEndpoint:
        """As C{IAgentEndpointFactory} has it."""
        return ListenerEndpoint(self._http, self._reactor)

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        headers = Headers() if headers is None else headers.copy()
        if self._token is not None:
            headers.setRawHeaders("authorization", [f"Bearer {self._token}"])
        answer: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return answer
