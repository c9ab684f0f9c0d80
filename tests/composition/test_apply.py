"""Services are added, replaced and removed while others run, on a reactor in memory."""

from __future__ import annotations

import gc
import json
import sys
import threading
import weakref
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from attrs import frozen
from twisted.application.service import IService, MultiService, Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred, FirstError, fail, inlineCallbacks
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import ns
from gateway.composition.changes import Changes
from gateway.composition.reader import Config, load
from gateway.composition.reader import Service as ConfiguredService
from gateway.composition.service import findPlugins, makeService, read
from gateway.config import ComponentTable, ConfigError
from gateway.errors import Stopping, StoreBroken
from gateway.interfaces import IServiceBuilder, IServicePlugin
from gateway.testing import ComponentSide, Response
from tests.effects.connections import SERVER
from tests.effects.delegation import forward
from tests.effects.proxy import ask
from tests.effects.world import USER, Gateway, told
from tests.embedded.support import Component, said
from tests.metrics import RecordingMetrics
from tests.state.support import closeAll

LOGGER = "gateway.composition.service"
COMPONENT = "c.example.com"
BYSTANDER = "by.example.com"
BASE = f'{SERVER}[proxy."{BYSTANDER}"]\ntarget = "by@example.com"\ntimeout = 3600\n'


class Silent(XMPPHandler):
    """An ordinary handler that takes a request and never answers it."""

    def connectionInitialized(self) -> None:
        self.xmlstream.addObserver("/iq[@type='get']", self._take)

    def _take(self, iq: Any) -> None:
        iq.handled = True


class Slow(Resource):
    """Answers when the test lets it."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    def render_GET(self, request: Request) -> int:
        self.requests.append(request)
        return NOT_DONE_YET


class Stuck:
    """A database that cannot be closed."""

    def closeLater(self) -> Deferred[None]:
        raise OSError("oops")


@frozen(kw_only=True)
class OtherTable(ComponentTable):
    """The table of the plugin of other software."""

    word: str = ""


@implementer(IServicePlugin)
class OtherPlugin:
    """
    A plugin of other software: its service has a child service, a handler, and pages.

    @ivar fault: raised instead of making the service.
    @ivar made: the composition of each service that was made.
    """

    kind = "other"
    table = OtherTable

    def __init__(self) -> None:
        self.fault: BaseException | None = None
        self.slow = Slow()
        self.made: list[IServiceBuilder] = []

    def makeService(self, jid: str, table: OtherTable, composition: IServiceBuilder) -> IService:
        link = composition.link(jid, table)
        if self.fault is not None and table.word == "faulty":
            raise self.fault
        Silent().setHandlerParent(link)
        composition.serve("other").putChild(b"slow", self.slow)
        composition.serve("other").putChild(jid.encode(), Resource())
        self.made.append(composition)
        service = MultiService()
        link.setServiceParent(service)
        return service


@frozen
class Kind:
    """
    One kind of service.

    @ivar table: its table.
    @ivar other: its table with another value.
    @ivar begin: begins an exchange that stays open, or the nearest to that.
    @ivar answer: description of the one stanza that ends the exchange when the service is removed; empty if none.
    """

    table: str
    other: str
    begin: Callable[[ComponentSide], list[Element]]
    answer: str


def _request(server: ComponentSide) -> list[Element]:
    online_ = server.ask(f"<presence from='target@example.com/a' to='{COMPONENT}'/>")
    assert all(each.get("type") != "error" for each in online_)
    return ask(server)


def _forwarded(server: ComponentSide) -> list[Element]:
    # The other managing entity answers for itself, and does not answer the request.
    for each in server.received():
        if each.get("to") == "m.example.com":
            answer = f"<iq from='m.example.com' to='{COMPONENT}' id='{each.get('id')}' type='result'>"
            server.send(f"{answer}<query xmlns='{ns.DISCO_INFO}'/></iq>")
    return forward(server, "<x xmlns='urn:x'/>")


def _login(server: ComponentSide) -> list[Element]:
    return []


def _joined(server: ComponentSide) -> list[Element]:
    return server.ask(f"<presence from='{USER}' to='room@{COMPONENT}/nick'><x xmlns='{ns.MUC}'/></presence>")


def _joining(server: ComponentSide) -> list[Element]:
    room = f"room\\40rooms.example@{COMPONENT}"
    return server.ask(f"<presence from='{USER}' to='{room}/nick'><x xmlns='{ns.MUC}'/></presence>")


HEAD = f'."{COMPONENT}"]\n'
STORAGE = f'[delegation."{COMPONENT}".namespaces]\n"{ns.PRIVATE}" = {{ handler = "private-storage" }}\n'
STORAGE += '"urn:x" = { jid = "m.example.com" }\n'
KINDS = {
    "proxy": Kind(
        f'[proxy{HEAD}target = "target@example.com"\n',
        f'[proxy{HEAD}target = "target@example.com"\ntimeout = 7\n',
        _request,
        f"iq error 1 {COMPONENT} > {USER} service-unavailable",
    ),
    "delegation": Kind(
        f'[delegation{HEAD}servers = ["example.com"]\nlend_privileges = ["m.example.com"]\n{STORAGE}',
        f'[delegation{HEAD}servers = ["example.com", "example.net"]\n{STORAGE}',
        _forwarded,
        f"iq result d {COMPONENT} > example.com service-unavailable",
    ),
    "roster": Kind(
        f'[roster{HEAD}domain = "example.com"\nurl = "http://127.0.0.1:8000/%s"\n',
        f'[roster{HEAD}domain = "example.com"\nurl = "http://127.0.0.1:8001/%s"\n',
        _login,
        "",
    ),
    "rooms": Kind(
        f"[rooms{HEAD}",
        f'[rooms{HEAD}peers = ["peer.example"]\n',
        _joined,
        f"presence unavailable room@{COMPONENT}/nick > {USER}",
    ),
    "mirror": Kind(
        f'[mirror{HEAD}allow = ["rooms.example"]\nusers = ["example.net"]\n',
        f'[mirror{HEAD}allow = ["rooms.example"]\nusers = ["example.net"]\nmode = "primary"\n',
        _joining,
        f"presence error room\\40rooms.example@{COMPONENT}/nick > {USER} service-unavailable",
    ),
    "other": Kind(
        f"[other{HEAD}",
        f'[other{HEAD}word = "new"\n',
        ask,
        f"iq error 1 {COMPONENT} > {USER} service-unavailable",
    ),
}


class Changing(Gateway):
    """A gateway whose configuration is changed."""

    plugin: OtherPlugin

    @property
    def root(self) -> Any:
        return self.service

    def config(self, text: str) -> Config:
        path = self.folder / "gateway.toml"
        path.write_text(text)
        return load(path, [*findPlugins(), self.plugin], self.reactor)

    def begin(self, text: str, isAccepted: bool = True) -> Deferred[Any]:
        """Begin to change to this text, by default after all connections of before are accepted."""
        if isAccepted:
            self._connect()
        changing: Deferred[Any] = self.root.apply(self.config(text))
        return changing

    def page(self, path: str) -> Response:
        return self.request("GET", path)


class ChangeCase(SynchronousTestCase):
    """A gateway with one service, which has an open exchange that no change affects."""

    text = BASE

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.gateway = Changing(folder, self.text)
        self.gateway.plugin = self.plugin = OtherPlugin()
        self.addCleanup(self.gateway.stop)
        self.bystander = self.gateway.server(BYSTANDER)
        self.bystander.ask(f"<presence from='by@example.com/a' to='{BYSTANDER}'/>")
        request = f"<iq from='{USER}' to='{BYSTANDER}' id='b' type='get'><q xmlns='urn:q'/></iq>"
        [relayed] = self.bystander.ask(request)
        self.relayed = relayed.get("from")

    def change(self, text: str) -> Any:
        """Change to this text."""
        changing = self.gateway.begin(text)
        self.gateway.wait(8)
        return self.successResultOf(changing)

    def refused(self, changing: Deferred[Any]) -> list[str]:
        """Return the problems of a change that fails."""
        self.gateway.wait(8)
        problems: list[str] = self.failureResultOf(changing, ConfigError).value.problems
        return problems

    def assertUndisturbed(self) -> None:
        """The first service has been connected all the time, and its exchange is answered once."""
        self.assertEqual([each for each in self.bystander.received() if each.get("to") != BYSTANDER], [])
        self.assertIs(self.gateway.server(BYSTANDER), self.bystander)
        answered = told(self.bystander, f"<iq from='by@example.com/a' to='{self.relayed}' id='b' type='result'/>")
        self.assertEqual(answered, [f"iq result b {BYSTANDER} > {USER}"])

    def statusOf(self, jid: str) -> int:
        """Return the number of lines of /status that begin with this JID."""
        return sum(line.startswith(f"{jid}: ") for line in self.gateway.page("/status").text.splitlines())

    def names(self) -> list[str]:
        return [each.name for each in self.gateway.root if ":" in each.name]


class KindTests(ChangeCase):
    """Each kind of service."""

    def each(self, test: Callable[[Kind], None]) -> None:
        for name, kind in KINDS.items():
            try:
                test(kind)
            except BaseException as error:
                error.add_note(name)
                raise
            self.change(BASE)
        self.assertUndisturbed()

    def test_added(self) -> None:
        """A service that is added connects, and is reported."""

        def added(kind: Kind) -> None:
            changes = self.change(BASE + kind.table)
            self.assertEqual([each.jid for each in changes.added], [COMPONENT])
            server = self.gateway.server(COMPONENT)
            kind.begin(server)
            self.assertEqual((self.statusOf(COMPONENT), self.statusOf(BYSTANDER)), (1, 1))
            self.assertEqual(self.gateway.page("/readyz").status, 200)

        self.each(added)

    def test_removed(self) -> None:
        """A service that is removed answers what is open, once, and disconnects; it is not reported any longer."""

        def removed(kind: Kind) -> None:
            self.change(BASE + kind.table)
            server = self.gateway.server(COMPONENT)
            kind.begin(server)
            server.received()
            changing = self.gateway.begin(BASE)
            self.assertEqual((self.statusOf(COMPONENT), self.statusOf(BYSTANDER)), (0, 1))
            self.assertEqual(self.gateway.page("/readyz").status, 200)
            self.gateway.wait(8)
            self.assertEqual(self.successResultOf(changing).removed, (COMPONENT,))
            heard = [said(each) for each in server.received() if each.get("to") in (USER, "example.com")]
            self.assertEqual(heard, [kind.answer] if kind.answer else [])
            self.assertTrue(server.isGone)
            self.assertEqual(self.names(), [f"proxy:{BYSTANDER}"])

        self.each(removed)

    def test_addedAgain(self) -> None:
        """A service of the same JID can be added at once; it connects when the old one has disconnected."""

        def addedAgain(kind: Kind) -> None:
            self.change(BASE + kind.table)
            server = self.gateway.server(COMPONENT)
            kind.begin(server)
            removing, adding = self.gateway.begin(BASE), self.gateway.begin(BASE + kind.table)
            self.gateway.wait(8)
            self.successResultOf(removing)
            self.successResultOf(adding)
            self.assertTrue(server.isGone)
            self.assertFalse(self.gateway.server(COMPONENT).isGone)
            self.assertEqual(self.statusOf(COMPONENT), 1)

        self.each(addedAgain)

    def test_replaced(self) -> None:
        """A service whose table has changed connects anew; one whose table has not keeps its connection."""

        def replaced(kind: Kind) -> None:
            self.change(BASE + kind.table)
            server = self.gateway.server(COMPONENT)
            self.assertEqual(self.change(BASE + "\n" + kind.table), Changes())
            self.assertIs(self.gateway.server(COMPONENT), server)
            changes = self.change(BASE + kind.other)
            self.assertEqual([each.jid for each in changes.replaced], [COMPONENT])
            self.assertTrue(server.isGone)
            self.assertFalse(self.gateway.server(COMPONENT).isGone)

        self.each(replaced)

    def test_released(self) -> None:
        """Nothing of a removed service stays in memory, and no call is scheduled."""
        self.gateway.wait(5)
        scheduled = len(self.gateway.reactor.getDelayedCalls())

        def released(kind: Kind) -> None:
            self.change(BASE + kind.table)
            server = self.gateway.server(COMPONENT)
            kind.begin(server)
            # As after the start.
            gc.freeze()
            [link] = [each for each in self.gateway.root.links if each.jid == COMPONENT]
            handlers = [weakref.ref(each) for each in (link, link.budget, *link)]
            del link, server
            self.change(BASE)
            # The reactor in memory and the test's world keep all connections.
            self.gateway.forget(COMPONENT)
            self.plugin.made.clear()
            self.gateway.wait(300)
            gc.collect()
            self.assertEqual([each() for each in handlers if each() is not None], [])
            self.assertEqual(len(self.gateway.reactor.getDelayedCalls()), scheduled)

        self.addCleanup(gc.unfreeze)
        self.each(released)

    def test_down(self) -> None:
        """A service whose server does not answer, or refuses, is removed at once."""
        reactor = self.gateway.reactor
        for isRefused in (False, True):
            scheduled = len(reactor.getDelayedCalls())
            self.successResultOf(self.gateway.begin(BASE + KINDS["rooms"].table))
            reactor.connectors.pop()
            factory = reactor.tcpClients.pop()[2]
            if isRefused:
                factory.clientConnectionFailed(None, Failure(ConnectError()))
            changing = self.gateway.begin(BASE)
            # The store is closed.
            reactor.advance(0)
            self.successResultOf(changing)
            self.assertEqual(len(reactor.getDelayedCalls()), scheduled)
        self.assertUndisturbed()


class HttpTests(ChangeCase):
    """The HTTP resources of services."""

    other = f"[other{HEAD}"

    def test_withdrawn(self) -> None:
        """The pages of a removed service are 404 at once; a request under way is answered."""
        self.change(BASE + self.other)
        response = self.gateway.page("/other/slow")
        self.assertIs(response.status, None)
        changing = self.gateway.begin(BASE)
        self.assertEqual(self.gateway.page("/other/slow").status, 404)
        self.assertEqual(self.gateway.page("/other").status, 404)
        [request] = self.plugin.slow.requests
        request.write(b"done")
        request.finish()
        self.assertEqual(response.status, 200)
        self.assertEqual(response.text, "done")
        self.gateway.wait(8)
        self.successResultOf(changing)
        self.change(BASE + self.other)
        self.assertIs(self.gateway.page("/other/slow").status, None)

    def test_withdraw(self) -> None:
        """A service can withdraw its pages itself, and serve others."""
        self.change(BASE + self.other)
        served = self.plugin.made[-1].serve("other")
        served.withdraw()
        self.assertEqual(self.gateway.page("/other/slow").status, 404)
        served.putChild(b"slow", self.plugin.slow)
        self.assertIs(self.gateway.page("/other/slow").status, None)

    def test_shared(self) -> None:
        """Of two services at one path the first one's page is served; if that is removed, the second one's."""
        second = self.other.replace("c.", "d.")
        self.change(BASE + self.other + second)
        first = self.plugin.slow
        self.plugin.made[-1].serve("other").putChild(b"slow", later := Slow())
        self.gateway.page("/other/slow")
        self.assertEqual((len(first.requests), len(later.requests)), (1, 0))
        for jid in (COMPONENT, "d.example.com"):
            self.assertEqual(self.gateway.page(f"/other/{jid}").status, 405)
        self.change(BASE + second)
        self.gateway.page("/other/slow")
        self.assertEqual((len(first.requests), len(later.requests)), (1, 1))
        self.assertEqual(self.gateway.page(f"/other/{COMPONENT}").status, 404)

    def test_order(self) -> None:
        """A service that is replaced keeps its place."""
        second = self.other.replace("c.", "d.")
        self.change(BASE + self.other + second)
        self.change(BASE + self.other + 'word = "new"\n' + second)
        first, last = self.plugin.made[-1], self.plugin.made[1]
        self.assertEqual([each.jid for each in self.gateway.root.links], [BYSTANDER, COMPONENT, "d.example.com"])
        first.serve("other").putChild(b"slow", its := Slow())
        last.serve("other").putChild(b"slow", Slow())
        self.gateway.page("/other/slow")
        self.assertEqual(len(its.requests), 1)

    def test_pages(self) -> None:
        """No service can take the place of the gateway's own pages, one of which needs no token."""
        self.change(BASE + self.other)
        for name in ("healthz", "status"):
            self.plugin.made[-1].serve(name).putChild(b"", self.plugin.slow)
            self.assertEqual(self.gateway.page(f"/{name}").status, 200)

    def test_roster(self) -> None:
        """A refresh under way is answered when its service is removed; the next domain has the short address."""
        second = KINDS["roster"].table.replace("c.", "d.").replace('"example.com"', '"example.net"')
        self.change(BASE + KINDS["roster"].table + second)
        response = self.gateway.request("POST", "/roster_admin/refresh", b'["alice"]')
        [call] = self.gateway.calls()
        self.change(BASE + second)
        self.assertIs(response.status, None)
        call.reply({"carol@example.org": {}})
        self.gateway.wait(2)
        self.assertEqual((response.status, list(response.body["failed"])), (500, ["alice"]))
        self.assertIn("there is no connection to the server: stopped", response.body["failed"]["alice"])
        self.assertEqual(self.gateway.request("POST", "/roster_admin/example.com/refresh", b'["a"]').status, 404)
        self.gateway.request("POST", "/roster_admin/refresh", b'["bob"]')
        self.assertEqual([each.path for each in self.gateway.calls()], ["/bob"])


class TokenTests(ChangeCase):
    """Pages behind a token."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "token").write_text("s3cret\n")
        self.gateway = Changing(folder, BASE + '[http]\ntoken_file = "token"\n')
        self.gateway.plugin = OtherPlugin()
        self.addCleanup(self.gateway.stop)

    def test_token(self) -> None:
        """A page that is added needs the token, and so does the answer that it is withdrawn."""
        text = BASE + '[http]\ntoken_file = "token"\n'
        for change in (text + f"[other{HEAD}", text):
            self.change(change)
            self.assertEqual(self.gateway.page("/other/slow").status, 401)
        found = self.gateway.request("GET", "/other/slow", Authorization="Bearer s3cret")
        self.assertEqual(found.status, 404)


class RefusedTests(ChangeCase):
    """Changes that are refused, or that fail."""

    other = f"[other{HEAD}"

    def test_problems(self) -> None:
        """If a plugin finds a problem in one table, nothing is changed."""
        self.change(BASE + self.other)
        bad = '[roster."r.example.com"]\ndomain = "example.com"\napply = "ejabberd-api"\nurl = "http://a/%s"\n'
        problems = self.refused(self.gateway.begin(BASE + bad))
        [problem] = problems
        self.assertIn('roster."r.example.com".api: found nothing; required with apply = "ejabberd-api"', problem)
        self.assertEqual(self.names(), [f"proxy:{BYSTANDER}", f"other:{COMPONENT}"])
        self.assertUndisturbed()

    def test_rosterTwice(self) -> None:
        """A second service of one domain is refused."""
        table = KINDS["roster"].table
        self.change(BASE + table)
        problems = self.refused(self.gateway.begin(BASE + table + table.replace("c.", "d.")))
        allowed = 'one [roster] for each; remove this one or [roster."c.example.com"]'
        found = f'found "example.com" a second time; allowed: {allowed}'
        self.assertEqual(problems, [f'roster."d.example.com".domain: {found}'])
        self.change(BASE + table + "timeout = 5\n")

    def test_restart(self) -> None:
        """A change that needs a restart is refused as a whole."""
        text = BASE + self.other + '[http]\nlisten = "tcp:1:interface=127.0.0.1"\n'
        self.assertEqual(self.refused(self.gateway.begin(text)), ["http: has changed, which requires a restart"])
        self.assertEqual(self.names(), [f"proxy:{BYSTANDER}"])

    def test_faulty(self) -> None:
        """A service that cannot be made leaves nothing; others are added. Its predecessor is made again."""
        faulty = self.other + 'word = "faulty"\n'
        for fault, text in (
            (ConfigError(["key: wrong"]), f'other."{COMPONENT}".key: wrong'),
            (RuntimeError("oops"), f'other."{COMPONENT}": RuntimeError: oops; see the log'),
            (SystemExit("oops"), f'other."{COMPONENT}": SystemExit: oops; see the log'),
        ):
            self.plugin.fault = fault
            rooms = '[rooms."rooms.example.com"]\n'
            self.assertEqual(self.refused(self.gateway.begin(BASE + faulty + rooms)), [text])
            self.assertEqual(self.names(), [f"proxy:{BYSTANDER}", "rooms:rooms.example.com"])
            there = [each.jid for each in self.gateway.root.config.services]
            self.assertEqual(there, [BYSTANDER, "rooms.example.com"])
            self.assertEqual(self.statusOf(COMPONENT), 0)
            self.change(BASE + self.other)
            self.assertEqual(self.refused(self.gateway.begin(BASE + faulty)), [text])
            self.assertEqual(self.gateway.root.config.services[-1].table, OtherTable())
            self.assertEqual([said(each) for each in ask(self.gateway.server(COMPONENT))], [])
            self.change(BASE)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError, SystemExit)), 4)
        self.assertUndisturbed()

    def test_neverStops(self) -> None:
        """A service that does not stop in time, or fails to, is removed all the same."""
        for stopping in (Deferred[None](), RuntimeError("oops")):

            class Odd(Service):
                def stopService(self, stopping: Any = stopping) -> Any:
                    if isinstance(stopping, Exception):
                        raise stopping
                    return stopping

            self.patch(self.plugin, "makeService", lambda jid, table, composition: Odd())
            self.change(BASE + self.other)
            changing = self.gateway.begin(BASE)
            self.gateway.wait(21)
            self.successResultOf(changing)
            self.assertEqual(self.names(), [f"proxy:{BYSTANDER}"])
        self.assertEqual(len(self.flushLoggedErrors()), 2)

    def test_neverReleased(self) -> None:
        """A database that cannot be closed does not prevent the change."""
        self.change(BASE + self.other)
        [composition] = self.plugin.made
        composition.databases.append(Stuck())  # type: ignore[attr-defined]  # of the builder
        self.change(BASE + self.other + 'word = "new"\n')
        self.assertEqual(self.statusOf(COMPONENT), 1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_linkFails(self) -> None:
        """The databases of a service are closed even if one of its links fails to stop."""
        self.change(BASE + self.other)
        [composition] = self.plugin.made
        kept = composition.store("kept", ())
        link = composition.link("more.example.com", OtherTable())
        self.patch(link, "stopService", lambda: fail(RuntimeError("oops")))
        self.change(BASE)
        self.failureResultOf(kept.read(lambda cursor: None), StoreBroken)
        self.assertEqual(len(self.flushLoggedErrors(FirstError)), 1)

    def test_stopped(self) -> None:
        """A change that is not complete when the gateway stops fails; the stop waits for services that end."""
        self.change(BASE + self.other)
        # So that the stop need not wait for this one.
        self.assertUndisturbed()
        ask(self.gateway.server(COMPONENT))
        changing, later = self.gateway.begin(BASE + self.other + 'word = "new"\n'), self.gateway.begin(BASE)
        stopping = self.gateway.root.stopService()
        self.gateway.wait(4)
        self.assertNoResult(stopping)
        self.gateway.wait(8)
        self.successResultOf(stopping)
        self.failureResultOf(changing, Stopping)
        self.failureResultOf(later, Stopping)
        self.assertEqual(len(self.plugin.made), 1)


class ServiceTests(ChangeCase):
    """Single services."""

    def put(self, table: Any) -> ConfiguredService:
        return ConfiguredService(kind="other", jid=COMPONENT, table=table, plugin=self.plugin)

    def done(self, changing: Deferred[Any]) -> Any:
        self.gateway.wait(8)
        result = self.successResultOf(changing)
        self.assertFalse(self.gateway.server(BYSTANDER).isGone)
        return result

    def test_put(self) -> None:
        """A service is added, replaced, and removed; a service that does not exist need not be removed."""
        first, second = self.put(OtherTable()), self.put(OtherTable(word="new"))
        root = self.gateway.root
        self.assertEqual(self.done(root.put(first)), Changes(added=(first,)))
        self.assertEqual(self.done(root.put(first)), Changes())
        self.assertEqual(self.done(root.put(second)), Changes(replaced=(second,)))
        self.assertEqual(root.config.services[1:], (second,))
        self.assertEqual(self.done(root.remove(COMPONENT)), Changes(removed=(COMPONENT,)))
        self.assertEqual(self.done(root.remove(COMPONENT)), Changes())
        self.assertUndisturbed()

    def test_warnings(self) -> None:
        """Warnings about a service are logged once, when it is added."""
        table = KINDS["proxy"].table.rstrip()
        broken = self.gateway.folder / "state" / f"{COMPONENT}.exchanges"
        broken.write_text("[")
        broken.chmod(0o600)
        with capturedLogs() as logged:
            self.change(BASE + table + "\ntimeout = 5\n")
            broken.write_text("[")
            self.change(BASE + table + "\ntimeout = 6\n")
        lines = [formatEvent(each) for each in logged if each["log_namespace"].startswith(LOGGER)]
        self.assertEqual(lines, [f'proxy."{COMPONENT}": {broken} is not a file of open exchanges: they are lost'])
        self.flushLoggedErrors()

    def test_exchange(self) -> None:
        """A proxy that is replaced still answers its open requests."""
        self.change(BASE + KINDS["proxy"].table)
        [relayed] = _request(self.gateway.server(COMPONENT))
        self.change(BASE + KINDS["proxy"].other)
        server = self.gateway.server(COMPONENT)
        answer = f"<iq from='target@example.com/a' to='{relayed.get('from')}' id='1' type='result'/>"
        self.assertEqual(told(server, answer), [f"iq result 1 {COMPONENT} > {USER}"])

    def test_late(self) -> None:
        """
        A request that the server has passed on when the stream had ended is answered by the successor, once.
        """
        self.change(BASE + KINDS["proxy"].table)
        server = self.gateway.server(COMPONENT)
        changing = self.gateway.begin(BASE + KINDS["proxy"].other, isAccepted=False)
        self.assertTrue(server.transport.value().endswith(b"</stream:stream>"))
        for inner in ("<iq id='5' type='get'", "<iq id='6' type='set'", "<iq id='7' type='result'", "<message"):
            server.send(f"{inner} from='{USER}' to='{COMPONENT}'/>")
        server.send("</stream:stream>")
        self.gateway.wait(1)
        self.successResultOf(changing)
        self.assertTrue(server.isGone)
        later = self.gateway.server(COMPONENT)
        self.gateway.wait(5)
        errors = [said(each) for each in later.received() if each.get("to") == USER]
        self.assertEqual(errors, [f"iq error {n} {COMPONENT} > {USER} service-unavailable" for n in (5, 6)])

    def test_otherKind(self) -> None:
        """A proxy that is replaced by a service of another kind answers its open requests itself."""
        self.change(BASE + KINDS["proxy"].table)
        server = self.gateway.server(COMPONENT)
        _request(server)
        server.received()
        changes = self.change(BASE + KINDS["rooms"].table)
        self.assertEqual([each.kind for each in changes.replaced], ["rooms"])
        heard = [said(each) for each in server.received() if each.get("to") == USER]
        self.assertEqual(heard, [KINDS["proxy"].answer])
        self.assertTrue(server.isGone)

    def test_removedWhileDown(self) -> None:
        """
        The open requests of a proxy that is removed while its link is down are kept: their errors could not be
        sent. A later proxy of this JID ends them.
        """
        table = KINDS["proxy"].table
        self.change(BASE + table)
        server = self.gateway.server(COMPONENT)
        _request(server)
        server.lose()
        changing = self.gateway.begin(BASE, isAccepted=False)
        self.gateway.wait(8)
        self.successResultOf(changing)
        self.change(BASE + table)
        later = self.gateway.server(COMPONENT)
        self.gateway.wait(35)
        errors = [said(each) for each in later.received() if each.get("to") == USER]
        self.assertEqual(errors, [f"iq error 1 {COMPONENT} > {USER} remote-server-timeout"])

    def test_metrics(self) -> None:
        """The metrics of a removed service are forgotten, of its link and of its files; those of others stay."""
        metrics = RecordingMetrics()
        config = self.gateway.config(BASE + KINDS["delegation"].table)
        root = makeService(config, self.gateway.reactor, None, metrics)

        def recorded() -> set[str]:
            return {labels[0] for each in metrics.families.values() for labels in each.functions if labels}

        self.assertLessEqual({BYSTANDER, COMPONENT, f"{COMPONENT}.private"}, recorded())
        removed = root.remove(COMPONENT)
        self.gateway.reactor.advance(0)
        self.successResultOf(removed)
        self.assertIn(BYSTANDER, recorded())
        self.assertEqual([each for each in recorded() if each.startswith(COMPONENT)], [])

    def test_link(self) -> None:
        """A service may remove a link of its own: it is stopped, and not reported any longer."""
        self.change(BASE + f"[other{HEAD}")
        [composition] = self.plugin.made
        service = self.gateway.root.getServiceNamed(f"other:{COMPONENT}")
        link = composition.link("more.example.com", OtherTable())
        link.setServiceParent(service)
        self.assertEqual(self.statusOf("more.example.com"), 1)
        server = self.gateway.server("more.example.com")
        removing = composition.removeLink(link)
        self.assertEqual(self.statusOf("more.example.com"), 0)
        self.gateway.wait(8)
        self.successResultOf(removing)
        self.assertTrue(server.isGone)
        # Its handlers end what is open: no later link does.
        self.assertTrue(link.isFinal)
        self.assertEqual([each.jid for each in service], [COMPONENT])

    def test_looseLink(self) -> None:
        """A link that is no part of the plugin's service is stopped with it."""
        self.change(BASE + f"[other{HEAD}")
        [composition] = self.plugin.made
        composition.link("more.example.com", OtherTable()).startService()
        server = self.gateway.server("more.example.com")
        self.change(BASE)
        self.assertTrue(server.isGone)


class EmbeddedTests(SynchronousTestCase):
    """Services on the embedded host."""

    text = '[embedded]\ndomain = "h.example"\n[embedded.accounts]\nalice = "x"\n[rooms."rooms.h.example"]\n'
    mirror = '[mirror."m.h.example"]\nallow = ["rooms.h.example"]\nusers = ["h.example"]\n'

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.info = folder / "state" / "embedded.json"
        self.patch(sys, "stdout", StringIO())
        self.gateway = Changing(folder, self.text)
        self.gateway.plugin = OtherPlugin()
        self.addCleanup(self.gateway.stop)

    def change(self, text: str) -> Any:
        changing = self.gateway.begin(text)
        self.gateway.wait(8)
        return self.successResultOf(changing)

    def services(self) -> Any:
        return json.loads(self.info.read_text())["services"]

    def test_changed(self) -> None:
        """The host admits the component of an added service, and does not admit that of a removed one."""
        host = self.gateway.root.getServiceNamed("embedded")
        self.change(self.text + self.mirror)
        self.assertEqual(self.services(), {"rooms": ["rooms.h.example"], "mirror": ["m.h.example"]})
        self.assertEqual(set(host.secrets), {"rooms.h.example", "m.h.example"})
        secret = host.secrets["m.h.example"]
        self.change(self.text)
        self.assertEqual(self.services(), {"rooms": ["rooms.h.example"]})
        self.assertEqual(set(host.secrets), {"rooms.h.example"})
        self.assertEqual(set(host._router.components), {"rooms.h.example"})
        component = Component(self.gateway.reactor, self.gateway.accepted(5347))
        self.assertEqual(component.logIn("m.h.example", secret), ["error host-unknown"])

    def test_removedMeanwhile(self) -> None:
        """A component that is removed between its header and its handshake is refused."""
        host = self.gateway.root.getServiceNamed("embedded")
        host.admit("c.h.example", "secret")
        component = Component(self.gateway.reactor, self.gateway.accepted(5347))
        component.header("c.h.example")
        host.dismiss("c.h.example")
        self.assertIn("error host-unknown", component.send("<handshake>x</handshake>"))

    def test_lateEnd(self) -> None:
        """A connection of a removed component that ends late does not disconnect the next one."""
        host = self.gateway.root.getServiceNamed("embedded")
        components = []
        for _ in range(2):
            host.admit("c.h.example", "secret")
            components.append(Component(self.gateway.reactor, self.gateway.accepted(5347)))
            components[-1].logIn("c.h.example", "secret")
            later = host._router.components["c.h.example"]
            self.assertIs(later, components[-1].protocol)
            if len(components) == 1:
                host.dismiss("c.h.example")
                self.assertNotIn("c.h.example", host._router.components)
        components[0].send("</stream:stream>")
        self.assertIs(host._router.components["c.h.example"], later)


class ThreadTests(TestCase):
    """A gateway on the real reactor, with its embedded host."""

    @inlineCallbacks
    def test_databases(self) -> Any:
        """The thread of a removed service's database ends; a service that is added again uses the same file."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / "gateway.toml"
        ports = "".join(f'{key} = "tcp:0:interface=127.0.0.1"\n' for key in ("c2s", "component"))
        text = f'[http]\nlisten = "tcp:0:interface=127.0.0.1"\n[embedded]\n{ports}'
        table = f"""
            [delegation."delegate.localhost"]
            servers = ["localhost"]
            namespaces = {{ "{ns.PRIVATE}" = {{ handler = "private-storage" }} }}
        """
        rooms = '[rooms."rooms.localhost"]\n'
        self.patch(sys, "stdout", StringIO())
        closeAll(self)

        def config(text: str) -> Config:
            path.write_text(text)
            return read(path, reactor)

        gateway = makeService(config(text + rooms), reactor)
        gateway.startService()
        self.addCleanup(gateway.stopService)
        [other] = gateway.databases
        yield other.read(lambda cursor: None)
        before = threading.active_count()
        for _ in range(2):
            yield gateway.apply(config(text + rooms + table))
            [database] = [each for each in gateway.databases if each is not other]
            yield database.read(lambda cursor: None)
            while not gateway.links[1].ready:
                yield deferLater(reactor, 0.02)
            self.assertEqual(threading.active_count(), before + 1)
            self.assertTrue((folder / "state" / "delegate.localhost.private").exists())
            yield gateway.apply(config(text + rooms))
            self.assertEqual(gateway.databases, [other])
            self.assertEqual((len(gateway.links), threading.active_count()), (1, before))
