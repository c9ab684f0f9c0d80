"""Base of the live tests: a server, gateways and clients that end with the test, and logs on failure."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from xml.etree.ElementTree import Element

from tests.live.clients import ECHO, Behaviour, Client, Implementation, echo, untilServed
from tests.live.delegations import DELEGATIONS, DISCO_INFO, MANAGING_ENTITIES
from tests.live.gateway import Gateway
from tests.live.processes import Program, Value
from tests.live.servers import DOMAIN, GENERATIONS, PRIVILEGED, Delegations, Server

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Mixin
else:
    _Mixin = object

# asyncio logs a warning for each write to a server that was killed.
logging.getLogger("asyncio").setLevel(logging.ERROR)

SECRET = "s3cret"
PROXY = f"proxy.{DOMAIN}"
PROXY_ALL = f"proxyall.{DOMAIN}"
# The three forms of an address of the component.
ADDRESSES = (PROXY, f"node@{PROXY}", f"{PROXY}/some res")
PING = f"<ping xmlns='{ECHO}'/>"

# Labels of 62 bytes: the longest domain that fits, with node and resource of 1,023 bytes, in a JID of 3,002; and a
# shorter one.
LONG_DOMAINS = [".".join(["x" * 62] * labels + [DOMAIN]) for labels in (15, 3)]

ACCOUNTS = ("alice", "bob", "carol", "mallory", "implementation", "manager")
# Rooms, and a mirror of them for each protocol and mode.
ROOMS = f"rooms.{DOMAIN}"
MIRRORS = {
    f"mirror.{DOMAIN}": ("xep-0289", "replica"),
    f"mirror2.{DOMAIN}": ("xep-0289", "primary"),
    f"mirror3.{DOMAIN}": ("protoxep", "replica"),
    f"mirror4.{DOMAIN}": ("protoxep", "primary"),
}
COMPONENTS = dict.fromkeys((PROXY, PROXY_ALL, *LONG_DOMAINS, *MANAGING_ENTITIES, ROOMS, *MIRRORS), SECRET)
# With these, the server grants privileges to one of the components.
WITH_PRIVILEGED = {**COMPONENTS, PRIVILEGED: SECRET}

# Exit codes: twistd stops in an orderly way and then ends by the signal that it was sent.
ENDED_WELL = (0, -signal.SIGTERM)

AnyClient = TypeVar("AnyClient", bound=Client)
Case = TypeVar("Case", bound="LiveTests")


Scenario = Callable[[Case], Coroutine[Any, Any, None]]


def scenario(seconds: float) -> Callable[[Scenario[Case]], Callable[[Case], None]]:
    """Return a decorator that makes a test of a coroutine function, with a deadline in seconds."""

    def decorate(coroutineFunction: Scenario[Case]) -> Callable[[Case], None]:
        @functools.wraps(coroutineFunction)
        def test(self: Case) -> None:
            self.play(coroutineFunction(self), seconds)

        return test

    return decorate


def proxy(jid: str, **options: Value) -> dict[str, dict[str, Value]]:
    """Return the table of one proxy, by its section's name; the target is the implementing account."""
    return {f'proxy."{jid}"': {"target": f"implementation@{DOMAIN}", **options}}


class LiveTests(_Mixin):
    """
    A mix-in for a SynchronousTestCase: a running server, and scenarios on it.

    If the server has a newer generation, each class has a twin for that one: C{ProsodyProxyTests} has
    C{NewerProsodyProxyTests}.

    @cvar serverClass: the server.
    @cvar accounts: names of the accounts.
    @cvar components: the server's components, and the secret of each.
    @cvar delegations: the server's delegations.
    @cvar newerTodo: tests and scenarios that fail on the newer generation because of the gateway, with the reason.
    @cvar newer: the twin.
    @cvar hasTwin: False for a class without a twin.
    """

    serverClass: ClassVar[type[Server]]
    accounts: ClassVar[Sequence[str]] = ACCOUNTS
    components: ClassVar[Mapping[str, str]] = COMPONENTS
    delegations: ClassVar[Delegations] = DELEGATIONS
    newerTodo: ClassVar[Mapping[str, str]] = {}
    newer: ClassVar[type[LiveTests] | None] = None
    hasTwin: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        newer = GENERATIONS.get(getattr(cls, "serverClass", Server))
        if newer is not None and cls.hasTwin:
            expected = {name: why for name, why in cls.newerTodo.items() if name.startswith("test")}
            todo = {name: _todo(getattr(cls, name), why) for name, why in expected.items()}
            cls.newer = _twin(cls, serverClass=newer, newer=None, **todo)

    def setUp(self) -> None:
        self.server = self.serverClass.shared(self.accounts, self.components, self.delegations)
        self._gateways: list[Gateway] = []

    def programs(self) -> Sequence[Program]:
        """Return the programs, apart from gateways, whose logs are printed after a failure."""
        return [self.server]

    def play(self, coroutine: Awaitable[None], seconds: float) -> None:
        """Run a scenario, with a deadline in seconds."""
        asyncio.run(self.played(coroutine, seconds))

    async def played(self, coroutine: Awaitable[None], seconds: float) -> None:
        """Run a scenario; afterwards end clients and gateways, and after a failure print the logs."""

        async def whole() -> None:
            async with AsyncExitStack() as self.stack:
                await coroutine

        try:
            await asyncio.wait_for(whole(), seconds)
        except BaseException as problem:
            for program in (*self.programs(), *self._gateways):
                sys.stderr.write(f"{program.log()}\n")
            if isinstance(problem, TimeoutError):
                raise self.failureException(f"the scenario took more than {seconds:g} s") from problem
            raise
        finally:
            for gateway in self._gateways:
                gateway.stop()

    def newGateway(
        self,
        tables: dict[str, dict[str, Value]],
        secret: str = SECRET,
        port: int | None = None,
        server: Server | None = None,
    ) -> Gateway:
        """
        Return a gateway with these tables, not started.

        @param port: the port that it connects to, by default the server's.
        @param server: its server, if that is another one.
        """
        server = server or self.server
        gateway = Gateway(self.folder("gateway-"), port or server.componentPort, secret, server.domain, tables)
        self._gateways.append(gateway)
        return gateway

    def folder(self, prefix: str) -> Path:
        """Return a new folder, which is removed with the server's."""
        return Path(tempfile.mkdtemp(prefix=prefix, dir=self.server.directory))

    async def startGateway(self, tables: dict[str, dict[str, Value]]) -> Gateway:
        """Return a gateway with these tables and connected links."""
        gateway = self.newGateway(tables)
        gateway.start()
        await gateway.ready()
        return gateway

    async def startOddGateway(self, tables: dict[str, dict[str, Value]]) -> Gateway:
        """Return the same with misbehaving handlers for delegated namespaces."""
        gateway = self.newGateway(tables)
        gateway.addPlugins(Path(__file__).with_name("handlers.py"))
        gateway.start()
        await gateway.ready()
        return gateway

    async def login(self, client: AnyClient) -> AnyClient:
        """Log a client in until the scenario ends."""
        await client.login()
        self.stack.push_async_callback(client.close)
        return client

    async def expectNesting(self) -> None:
        """
        Make sure that the server nests the disco of the next managing entity; to be called before any client logs
        in.
        """
        if self.server.nestsOnce:
            self.server.kill9()
            self.server.start()
            await self.server.ready()

    async def granted(self, user: Client, inner: str, seconds: float = 10) -> Element:
        """Repeat a request until the server delegates it; return the first result."""
        async with asyncio.timeout(seconds):
            while True:
                reply = await user.request(user.bare, inner)
                if reply.get("type") == "result":
                    return reply
                await asyncio.sleep(0.05)

    async def nested(self, user: Client, to: str) -> set[str]:
        """Return the features in this entity's disco#info."""
        reply = await user.request(to, f"<query xmlns='{DISCO_INFO}'/>")
        return {each.get("var", "") for each in reply.iter(f"{{{DISCO_INFO}}}feature")}

    async def implementing(self, *resources: str, behaviour: Behaviour = echo) -> list[Implementation]:
        """Log in these resources of the implementing client."""
        return [
            await self.login(Implementation(self.server, "implementation", resource, behaviour))
            for resource in resources
        ]

    async def user(self, name: str, resource: str = "home") -> Client:
        """Log in one user."""
        return await self.login(Client(self.server, name, resource))

    async def served(self, user: Client, implementing: list[Implementation]) -> None:
        """Send requests until each of these resources has received one, then forget them."""

        async def all_() -> None:
            while not all(implementation.requests for implementation in implementing):
                await untilServed(user, PROXY)

        await asyncio.wait_for(all_(), 10)
        for implementation in implementing:
            implementation.requests.clear()


class TogetherTests(_Mixin):
    """
    A mix-in for a SynchronousTestCase: scenarios that mostly wait, on several servers at once. It has a twin, too.

    @cvar classes: the classes with the scenarios, one for each server.
    """

    classes: ClassVar[Sequence[type[LiveTests]]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        newer = [each.newer for each in cls.classes if each.newer is not None]
        if newer:
            _twin(cls, classes=newer)

    def together(self, name: str, seconds: float) -> None:
        """Run one scenario, a method that is not a test, of all classes at the same time."""
        cases = [each(name) for each in self.classes]
        for case in cases:
            case.setUp()

        async def all_() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    for case in cases:
                        group.create_task(self._one(case, name, seconds))
            except BaseExceptionGroup as failed:
                # As if it were one failure: a report of an exception group omits the failed parts.
                raise failed.exceptions[0] from None

        asyncio.run(all_())

    async def _one(self, case: LiveTests, name: str, seconds: float) -> None:
        reason = case.newerTodo.get(name) if case.newer is None else None
        try:
            await case.played(getattr(case, name)(), seconds)
        except Exception:
            if reason is None:
                raise
            sys.stderr.write(f"{type(case).__name__}: {name} fails, as expected: {reason}\n")
        else:
            self.assertIsNone(reason, f"{type(case).__name__}: {name} does not fail any more")


def _twin(cls: type[Any], **changed: Any) -> type[Any]:
    """Return a subclass with these attributes, in the same module, where trial finds it."""
    twin = type(f"Newer{cls.__name__}", (cls,), {"__module__": cls.__module__, "__doc__": cls.__doc__, **changed})
    setattr(sys.modules[cls.__module__], twin.__name__, twin)
    return twin


class ExpectedFailure(Exception):
    """A test that is expected to fail has failed."""


def _todo(test: Callable[..., None], reason: str) -> Any:
    """
    Return a copy of a test that is expected to fail; without this, trial would not report an unexpected success as
    a failure.
    """

    @functools.wraps(test)
    def expected(self: LiveTests) -> None:
        try:
            test(self)
        except Exception as problem:
            raise ExpectedFailure(str(problem)) from problem
        self.fail(f"does not fail any more: {reason}")

    copy: Any = expected
    copy.todo = ((ExpectedFailure,), reason)
    return copy
