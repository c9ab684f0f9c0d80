"""Run commands on a reactor in memory, against a whole gateway in memory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import click
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from gateway.cli.command import commands
from gateway.cli.program import CommandFailed, Program
from gateway.cli.web import Answer, Unreachable
from gateway.composition.reader import Config
from gateway.testing import MemoryGateway


class NoGateway:
    """In the place of a gateway that does not run."""

    url = "http://127.0.0.1:5290"

    async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        raise Unreachable("no gateway answers")

    async def isThere(self) -> bool:
        return False


class Reachable(NoGateway):
    """
    In the place of the connection to a running gateway.

    @ivar requests: method and path of each request.
    """

    def __init__(self, gateway: MemoryGateway) -> None:
        self._gateway = gateway
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []

    async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        self.requests.append((method, path))
        self.headers.append(headers)
        found = self._gateway.request(method, path, body, **headers)
        self._gateway.wait(1)
        assert found.status is not None
        return Answer(found.status, found.text, {name.lower(): value for name, value in found.headers.items()})

    async def isThere(self) -> bool:
        return True


def call(
    *arguments: str, gateway: Any = None, reactor: Any = None, text: str | None = None, world: Any = None
) -> Result:
    """
    Run a command to its end.

    @param gateway: the running gateway; C{None} if none runs.
    @param text: standard input.
    @param world: has a reactor, and a method C{serve} that is called as time passes.
    """
    clock = reactor or (world.reactor if world else MemoryReactorClock())

    def run(main: Callable[[Any], Coroutine[Deferred[Any], Any, None]]) -> None:
        found: list[Any] = []
        Deferred.fromCoroutine(main(clock)).addBoth(found.append)
        for _ in range(2_000):
            if found:
                break
            clock.advance(0.1)
            if world:
                world.serve()
        else:
            raise AssertionError("the command does not end")
        error = getattr(found[0], "value", None)
        if isinstance(error, Unreachable):
            error = CommandFailed(str(error))
        if error is not None:
            raise error

    def connect(config: Config, reactor: Any) -> Any:
        return gateway or NoGateway()

    done = CliRunner().invoke(commands, arguments, text, obj=Program(run, connect), prog_name="xmpp-gateway")
    if done.exception is not None and not isinstance(done.exception, SystemExit | click.ClickException):
        raise done.exception
    return done
