"""
The HTTP server of a gateway that runs with a configuration.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import Agent, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from gateway.composition.reader import Config, readSecret
from gateway.config.tables import HttpTable
from gateway.config.values import addressOf
from gateway.http.agent import ConnectionPool, Unusable, collected, makeClient
from gateway.requirements import Address

# Seconds for a whole answer, and its bytes: the answer to a refresh of 100,000 users has a line for each failure.
TIMEOUT = 30.0
_MAX_ANSWER = 64 * 1024 * 1024

# Listening addresses of all interfaces, with the address at which this machine reaches them.
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # only compared with


class Unreachable(Exception):
    """No gateway answers; the text says why, and what to do."""


@frozen
class Answer:
    """
    The answer to one request.

    @ivar headers: by name in lower case.
    """

    status: int
    text: str
    headers: Mapping[str, str] = field(factory=dict)

    @property
    def document(self) -> Any:
        """The value of a body in JSON; C{None} if it is something else."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


def reasonOf(error: BaseException) -> str:
    """Return the reason of a failure in a few words: that of the system, without Twisted's."""
    number = getattr(error, "osError", None)
    text = os.strerror(number) if isinstance(number, int) else str(error)
    return text.rstrip(".") or type(error).__name__


class RunningGateway:
    """
    Sends requests to the gateway that runs with a configuration, with the token of C{[http]}.

    @ivar url: base URL, for people.
    """

    def __init__(self, config: Config, reactor: Any) -> None:
        table = config.http or HttpTable()
        address = addressOf(table.listen)
        self._reactor = reactor
        self._token = None if table.token_file is None else readSecret(table.token_file)
        self._port = address.port
        host = _EVERYWHERE.get(address.host, address.host)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"unix:{address.socket}" if address.socket else f"http://{shown}:{address.port}"
        # A UNIX socket has no host name, so the gateway accepts any in the request.
        self._base = "http://localhost" if address.socket else self.url
        endpoint = _endpoint(host, address, reactor)
        self._client = makeClient(
            Agent.usingEndpointFactory(reactor, _One(endpoint), ConnectionPool(reactor, 0))
        )

    async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """
        Send a request.

        @param headers: with C{_} in place of C{-}.
        @raise Unreachable: if there is no answer, or if the gateway requires another token.
        """
        if self._port == 0:
            raise Unreachable("http.listen has port 0, so the port of the running gateway is not known: choose one")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._token is not None:
            sent["authorization"] = f"Bearer {self._token}"
        try:
            answer = await Deferred.fromCoroutine(self._send(method, path, body, sent)).addTimeout(
                TIMEOUT, self._reactor
            )
        except ConnectError as error:
            start = "Start it with twistd -n gateway, or name its configuration file with --config."
            raise Unreachable(f"no gateway answers at {self.url}: {reasonOf(error)}. {start}") from error
        except (TimedOut, CancelledError) as error:
            raise Unreachable(f"{self.url} does not answer within {TIMEOUT:g} s: see the gateway's log") from error
        except (ResponseFailed, ConnectionClosed, Unusable) as error:
            raise Unreachable(f"{self.url} does not send a whole answer ({error}): is it a gateway?") from error
        if answer.status in (401, 421):
            raise Unreachable(f"{self.url} refuses this command: {answer.text.strip()[:500]}")
        return answer

    async def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        sent = Headers({name: [value] for name, value in headers.items()})
        url = self._base + path
        response: Any = await self._client.request(method, url, data=body or None, headers=sent, unbuffered=True)
        found = {
            name.decode("latin-1").lower(): values[0].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        text = (await collected(response, _MAX_ANSWER)).decode("utf-8", "replace")
        return Answer(response.code, text, found)

    async def isThere(self) -> bool:
        """True if a gateway answers."""
        try:
            return (await self.request("GET", "/healthz")).status == 200
        except Unreachable:
            return False


@implementer(IAgentEndpointFactory)
class _One:
    """Connects to one endpoint, whatever a URL names."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        return self._endpoint


def _endpoint(host: str, address: Address, reactor: Any) -> IStreamClientEndpoint:
    if address.socket:
        return UNIXClientEndpoint(reactor, address.socket)
    kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
    return kind(reactor, host, address.port or 0)
