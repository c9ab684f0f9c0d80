"""Two gateways with the same components on one PostgreSQL database, each on a reactor in memory."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.composition import service
from gateway.config.tables import ConfigError
from gateway.errors import StoreBroken, StoreTaken
from gateway.fmuc.plugin import RoomsPlugin
from gateway.standby.core import LOADS_FOR, SERVES_FOR, WAITS_FOR
from gateway.state.postgresql_session import connect
from gateway.testing import MemoryGateway
from gateway.testing.gateway import ComponentSide
from tests.cli.support import call
from tests.fmuc.test_configured import submitted
from tests.fmuc.test_restart import ANN, BEN, asked, join, said
from tests.state.cluster import cluster

C = "chat.example"
TABLES = f"""
[http]
[rooms."{C}"]
standby = true
create = ["*"]
"""
TYPING = said(ANN, "").replace("<body></body>", "<composing xmlns='http://jabber.org/protocol/chatstates'/>")


class TakeoverCase(SynchronousTestCase):
    """Gateways whose clocks run together."""

    def setUp(self) -> None:
        self.url = cluster().url(cluster().database())
        self.running: list[MemoryGateway] = []
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, object]) -> None:
        self.assertNotIn("log_failure", event)
        self.lines.append(f"{event.get('event')} {formatEvent(event)}")

    def logged(self, event: str) -> list[str]:
        """Return the lines of an event."""
        return [each.partition(" ")[2] for each in self.lines if each.startswith(f"{event} ")]

    def start(self, tables: str = TABLES) -> MemoryGateway:
        """Start a gateway."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        gateway = MemoryGateway(folder, f'[state]\nurl = "{self.url}"\n{tables}')
        self.addCleanup(gateway.stop)
        self.running.append(gateway)
        return gateway

    def kill(self, gateway: MemoryGateway) -> None:
        """Let no more time pass for a gateway: it was killed, or halted."""
        self.running.remove(gateway)

    def wait(self, seconds: float) -> None:
        """Let time pass for all gateways that run."""
        for _ in range(round(seconds * 2)):
            for each in self.running:
                each.wait(0.5)

    def until(self, gateway: MemoryGateway, atMost: float = 30.0) -> float:
        """Let time pass until a gateway serves the component; return the seconds."""
        halves = 0
        while not any(link.ready for link in gateway.service.links if link.jid == C):
            self.assertLess(halves / 2, atMost, gateway.request("GET", "/status").text)
            self.wait(0.5)
            halves += 1
        return halves / 2

    def shown(self, gateway: MemoryGateway, xml: str) -> list[str]:
        """Return the bodies, or the conditions of errors, that stanzas cause."""
        found = []
        for each in gateway.server(C).ask(xml):
            conditions = [str(one.tag).rpartition("}")[2] for one in each.iterfind("{*}error/*")]
            found += [each.findtext("{*}body") or "".join(conditions[:1])]
        return [each for each in found if each]

    def fromRooms(self, server: ComponentSide) -> list[str]:
        """Return the senders of what rooms have sent to a server."""
        return [each.get("from", "") for each in server.received() if "@" in each.get("from", "")]

    def enter(self, gateway: MemoryGateway) -> None:
        """Ann and Ben enter a persistent room."""
        server = gateway.server(C)
        server.ask(join(ANN, "ann"))
        server.ask(asked(ANN, submitted(persistentroom="1")))
        server.ask(join(BEN, "ben"))
        self.assertEqual(self.shown(gateway, said(ANN, "before")), ["before", "before"])
        # It has loaded its rooms.
        self.wait(1)


class TakeoverTests(TakeoverCase):
    """Rooms with C{standby}."""

    def test_waits(self) -> None:
        """The first gateway serves the rooms; the second one has no link, and tells who serves them."""
        first, second = self.start(), self.start()
        self.assertLess(self.until(first), 2)
        self.wait(20)
        self.assertEqual(second.service.links, [])
        status = second.request("GET", "/status").text
        self.assertRegex(status, rf"^{C}: standby: .*, {first.folder}/gateway.toml serves it\n")
        self.assertIn("standby: works", status)
        self.assertEqual(second.request("GET", "/readyz").text, "ok\n")
        document = json.loads(second.request("GET", "/status", Accept="application/json").text)
        [link] = document["links"]
        self.assertEqual((link["connected"], link["problem"], link["kind"]), (False, False, "rooms"))
        page = second.request("GET", "/").text
        self.assertIn("0 of 1 components are connected, 1 on standby. No problems.", page)
        self.assertEqual(len(self.logged("standby.waits")), 1)
        self.assertEqual(self.logged("standby.taken"), [f"{C}: this gateway serves it now (no other one did)."])

    def test_gateways(self) -> None:
        """Both report how many gateways have the component and which one serves it: as text, values and metrics."""
        first, second = self.start(), self.start()
        self.until(first)
        alone = "no other gateway has this component: if this one fails, none takes it over\n"
        self.wait(12)
        names = [f"{each.folder}/gateway.toml" for each in (first, second)]
        for each in (first, second):
            self.assertIn(
                "gateways that have this component: 2; it is served by ", each.request("GET", "/status").text
            )
            document = json.loads(each.request("GET", "/status", Accept="application/json").text)
            [item] = [one for one in document["links"][0]["items"] if one["name"] == "standby.gateways"]
            values = item["values"]
            self.assertEqual((values["gateways"], item["problem"]), (2, False))
            self.assertTrue(values["server"].endswith(names[0]), values)
            self.assertEqual([one.endswith(names[1]) for one in values["waiting"]], [True])
            self.assertIn("gateways that have this component: 2", each.request("GET", "/").text)
            metrics = each.request("GET", "/metrics").text
            self.assertIn(f'xmpp_gateway_standby_gateways{{component="{C}"}} 2.0\n', metrics)
            serves = 1.0 if each is first else 0.0
            self.assertIn(f'xmpp_gateway_standby_serves{{component="{C}"}} {serves}\n', metrics)
        self.kill(first)
        self.until(second, 8)
        self.wait(20)
        self.assertIn(alone, second.request("GET", "/status").text)
        self.assertIn(f'gateways{{component="{C}"}} 1.0\n', second.request("GET", "/metrics").text)
        third = self.start()
        self.wait(6)
        self.assertIn("this component: 2;", second.request("GET", "/status").text)
        self.kill(third)
        third.stop()
        self.wait(6)
        self.assertIn(alone, second.request("GET", "/status").text)

    def test_roster(self) -> None:
        """
        A refresh is made once: the gateway that serves the component asks the application. At the other one, the
        path does not exist, until it has taken the component over.
        """
        tables = f'[http]\n[roster."{C}"]\nstandby = true\ndomain = "a.example"\nurl = "http://app.example/%s"\n'
        first, second = self.start(tables), self.start(tables)
        self.until(first)
        serves = f"/readyz?serves={C}"
        for _ in range(2):
            refused = second.request("POST", "/roster_admin/refresh", b'["ann"]')
            found = [each.request("GET", serves).status for each in (first, second)]
            self.assertEqual((refused.status, second.calls(), found), (404, [], [200, 503]))
            first.request("POST", "/roster_admin/refresh", b'["ann"]')
            self.wait(1)
            self.assertEqual([(each.method, each.path) for each in first.calls()], [("GET", "/ann")])
            self.kill(first)
            self.until(second, 40)
            former, first, second = first, second, self.start(tables)
            self.wait(1)
        # The first of all goes on after a halt, and finds out with the first turn of its reactor.
        former.reactor.advance(60)
        self.assertEqual(former.request("POST", "/roster_admin/refresh", b'["ann"]').status, 404)

    def test_killed(self) -> None:
        """The second one takes the rooms over with their occupants; nothing that was shown is lost."""
        first, second = self.start(), self.start()
        self.until(first)
        self.enter(first)
        self.kill(first)
        self.assertLess(self.until(second), WAITS_FOR + 1.5)
        self.assertEqual(self.shown(second, said(BEN, "after")), ["after", "after"])
        self.assertEqual(self.shown(second, join("eve@example.com/1", "eve")), ["before", "after"])
        self.assertIn(f"{first.folder}/gateway.toml", self.logged("standby.taken")[-1])

    def test_killedSoon(self) -> None:
        """A gateway that fails as soon as it serves the rooms is waited for no longer than others."""
        first, second, third = self.start(), self.start(), self.start()
        self.until(first)
        self.enter(first)
        self.kill(first)
        taker = self.taker(second, third)
        self.kill(taker)
        last = third if taker is second else second
        self.assertLess(self.until(last), WAITS_FOR + 1.5)
        self.assertEqual(self.shown(last, said(BEN, "after")), ["after", "after"])

    def taker(self, *gateways: MemoryGateway) -> MemoryGateway:
        """Let time pass until one of the gateways serves the component."""
        for _ in range(60):
            for each in gateways:
                if any(link.ready for link in each.service.links):
                    return each
            self.wait(0.5)
        raise AssertionError("none serves it")

    def test_halted(self) -> None:
        """A gateway that was halted handles nothing of what has come meanwhile, disconnects, and waits."""
        first, second = self.start(), self.start()
        self.until(first)
        self.enter(first)
        self.kill(first)
        self.until(second)
        former = first.server(C)
        former.received()
        # The clock goes on, but no timer fires before the input is handled.
        first.reactor.rightNow += 30
        former.send(TYPING + said(ANN, "x"))
        self.assertEqual(self.fromRooms(former), [])
        self.assertTrue(former.transport.disconnecting)
        self.assertEqual(len(self.logged("standby.lost")), 1)
        self.running.append(first)
        self.wait(20)
        self.assertEqual(first.service.links, [])
        self.assertIn(f"{second.folder}/gateway.toml serves it", first.request("GET", "/status").text)
        self.assertEqual(self.shown(second, said(BEN, "y")), ["y", "y"])
        # It takes the rooms back if the second one ends.
        self.kill(second)
        self.until(first)
        self.assertEqual(self.shown(first, said(BEN, "z")), ["z", "z"])

    def test_late(self) -> None:
        """
        A gateway that was halted, and does not know it yet, stores nothing and sends nothing: neither the change
        that its thread had begun, nor the answer to it.
        """
        first, second = self.start(), self.start()
        self.until(first)
        self.enter(first)
        self.kill(first)
        self.until(second)
        first.server(C).received()
        first.reactor.rightNow += 60
        [link], [store] = first.service.links, [each for each in first.service.databases if C in each.name]
        self.assertTrue(link.ready)
        failed: list[Any] = []
        store.writeAtOnce(lambda cursor: cursor.execute("DELETE FROM records")).addErrback(failed.append)
        deadline = time.monotonic() + 10
        while not failed and time.monotonic() < deadline:
            first.reactor.advance(0)
        self.assertIsInstance(failed[0].value, StoreTaken)
        self.assertTrue(link.sendRaw(f"<message from='{C}' to='{ANN}'/>".encode()))
        self.assertEqual(first.server(C).received(), [])
        self.assertEqual(self.shown(second, said(BEN, "after")), ["after", "after"])

    def test_itself(self) -> None:
        """A gateway that was killed and starts again waits until its own lease has ended, and tells so."""
        first = self.start()
        self.until(first)
        self.wait(1)
        self.kill(first)
        again = MemoryGateway(first.folder, (first.folder / "gateway.toml").read_text())
        self.addCleanup(again.stop)
        self.running.append(again)
        self.wait(1)
        self.assertEqual(again.request("GET", "/readyz").text, f"{C}: no gateway serves it at the moment\n")
        self.assertIn("an earlier process of this gateway", self.logged("standby.waits")[-1])
        self.assertLess(self.until(again), WAITS_FOR + 1)

    def test_timers(self) -> None:
        """Without input, the timers of a gateway that was halted end its service before anything else."""
        first, second = self.start(), self.start()
        self.until(first)
        self.enter(first)
        self.kill(first)
        self.until(second)
        former = first.server(C)
        former.received()
        first.reactor.advance(30)
        self.assertEqual(self.fromRooms(former), [])
        self.assertTrue(former.transport.disconnecting)

    def test_stopped(self) -> None:
        """A gateway that stops leaves the rooms to the other one at once, and does not close them."""
        first, second = self.start(), self.start()
        self.until(first)
        self.enter(first)
        former = first.server(C)
        former.received()
        self.kill(first)
        first.stop()
        self.assertEqual(self.fromRooms(former), [])
        self.assertLessEqual(self.until(second), 1)
        self.assertEqual(self.shown(second, said(BEN, "after")), ["after", "after"])

    def test_database(self) -> None:
        """
        If the database fails for longer than a lease, nobody serves the rooms; afterwards one of the gateways does.
        """
        first, second = self.start(), self.start()
        self.until(first)
        self.enter(first)
        with mock.patch("gateway.state.postgresql.transact", side_effect=StoreBroken("away")):
            self.wait(SERVES_FOR + 0.5)
            self.assertEqual(first.service.links, [])
            self.assertEqual(self.logged("standby.lost")[0].partition(":")[0], C)
            unknown = "standby: it is not known whether another gateway serves it: the store standby does not work"
            self.assertIn(unknown, first.request("GET", "/status").text)
            self.assertEqual(first.request("GET", "/readyz").status, 503)
            self.wait(20)
        self.wait(10)
        [serving] = [each for each in (first, second) if each.service.links]
        self.assertEqual(self.shown(serving, said(BEN, "after")), ["after", "after"])

    def test_interrupted(self) -> None:
        """
        If the database fails in the middle of a takeover, the gateway leaves the component to others. When it is
        back, one of them serves it, with its occupants.
        """
        first, second = self.start(), self.start()
        self.until(first)
        self.enter(first)
        self.kill(first)
        make = RoomsPlugin.makeService
        faults = ExitStack()
        self.addCleanup(faults.close)

        def lose(*arguments: Any) -> Any:
            # From now on, not before.
            faults.enter_context(mock.patch("gateway.state.postgresql.transact", side_effect=StoreBroken("away")))
            return make(*arguments)

        with mock.patch.object(RoomsPlugin, "makeService", lose):
            self.wait(WAITS_FOR + 3)
        [line] = self.logged("standby.not_served")
        self.assertIn("away", line)
        self.assertEqual(second.service.links, [])
        self.assertEqual(second.request("GET", "/readyz").status, 503)
        faults.close()
        self.until(second, 60)
        self.assertEqual(self.shown(second, said(BEN, "after")), ["after", "after"])

    def test_stolen(self) -> None:
        """
        A gateway that is halted after it has taken a component, and before it makes the service, for longer than
        others wait, does not take the rooms from the gateway that serves them by then.
        """
        first, second = self.start(), self.start()
        self.until(first)
        self.enter(first)
        self.kill(first)
        make = RoomsPlugin.makeService
        halted: list[bool] = []

        def halt(*arguments: Any) -> Any:
            self.kill(second)
            third = self.start()
            halted.append(True)
            with mock.patch.object(RoomsPlugin, "makeService", make):
                self.until(third, LOADS_FOR + 10)
            second.reactor.rightNow += LOADS_FOR + 10
            return make(*arguments)

        with mock.patch.object(RoomsPlugin, "makeService", halt):
            while not halted:
                self.wait(0.5)
        third = self.running[-1]
        self.running.append(second)
        self.wait(5)
        self.assertEqual(second.service.links, [])
        self.assertEqual(self.shown(third, said(BEN, "after")), ["after", "after"])
        self.assertEqual(self.logged("rooms.store_taken"), [])

    def test_kept(self) -> None:
        """A session that keeps the lease of a gateway that has ended is reported until it ends."""
        first, second = self.start(), self.start()
        self.until(first)
        self.kill(first)
        with connect(self.url, "another one") as session:
            session.execute(b'BEGIN; SELECT 1 FROM "gateway:standby".leases FOR KEY SHARE')
            self.wait(LOADS_FOR + 5)
            self.assertIn(f"{C}: standby: its last gateway has ended, but a", second.request("GET", "/status").text)
            self.assertEqual(second.request("GET", "/readyz").status, 503)
            session.execute(b"COMMIT")
        self.until(second, 3)
        self.assertEqual(second.request("GET", "/readyz").text, "ok\n")
        [line] = self.logged("standby.kept")
        self.assertIn(f"{first.folder}/gateway.toml: its last gateway has ended, but a session in", line)

    def test_reload(self) -> None:
        """
        A change of the table replaces the service here; its removal leaves the rooms to the other gateway, with
        their occupants.
        """
        first, second = self.start(), self.start()
        self.until(first)
        self.enter(first)

        def apply(text: str) -> None:
            path = first.folder / "gateway.toml"
            path.write_text(f"{path.read_text().partition('[http]')[0]}[http]\n{text}")
            first.service.apply(service.read(path, first.reactor))

        server = '[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "s"\ndomain = "example.com"\n'
        proxy = '[proxy."proxy.example"]\ntarget = "a@example.com"\n'
        apply(f'{server}{proxy}[rooms."{C}"]\nstandby = true\nlock_timeout = 3600\n')
        self.wait(10)
        self.assertEqual(len(first.service.links), 2)
        self.assertEqual(self.shown(first, said(BEN, "still")), ["still", "still"])
        self.assertEqual(second.service.links, [])
        former = first.server(C)
        former.received()
        apply(f"{server}{proxy}")
        self.wait(1)
        self.assertEqual(self.fromRooms(former), [])
        self.wait(10)
        self.assertEqual([each.jid for each in first.service.links], ["proxy.example"])
        self.assertEqual(self.shown(second, said(BEN, "after")), ["after", "after"])

    def test_added(self) -> None:
        """A service that gets C{standby} while the gateway runs takes part from then on."""
        plain = TABLES.replace("standby = true\n", "")
        first = self.start(plain)
        self.until(first)
        second = self.start()
        path = first.folder / "gateway.toml"
        path.write_text(path.read_text().replace(plain, TABLES))
        self.until(second)
        first.service.apply(service.read(path, first.reactor))
        self.wait(10)
        self.assertEqual(first.service.links, [])
        self.assertIn(f"{second.folder}/gateway.toml serves it", first.request("GET", "/status").text)

    def test_notServed(self) -> None:
        """A gateway whose service cannot be made leaves the component to others, and tries again later."""
        make = RoomsPlugin.makeService

        def fail(plugin: object, jid: str, table: object, composition: object) -> None:
            raise ConfigError(["create: it is wrong"])

        with mock.patch.object(RoomsPlugin, "makeService", fail):
            first = self.start()
            self.wait(2)
        [line] = self.logged("standby.not_served")
        self.assertIn(f'rooms."{C}".create: it is wrong', line)
        second = self.start()
        self.assertLess(self.until(second), 3)
        self.assertIs(RoomsPlugin.makeService, make)
        self.kill(second)
        second.stop()
        self.until(first, 60)

    def test_check(self) -> None:
        """The command that tries a configuration does not connect a component that another gateway serves."""
        first, second = self.start(), self.start()
        self.until(first)
        path = second.folder / "gateway.toml"
        for each in (first, second):
            self.kill(each)

        class World:
            """The time passes for the first gateway as well."""

            reactor = type(first.reactor)()

            def serve(self) -> None:
                """Let the time of the command pass."""
                first.reactor.advance(0.1)

        done = call("check", "--config", str(path), world=World())
        serving = f"{first.folder}/gateway.toml serves it; it is not tried here"
        self.assertRegex(done.output, f"{C} \\(rooms\\)\n  ok: standby: .*, {serving}\n")
        self.assertEqual((done.exit_code, World.reactor.tcpClients), (0, []))

    def test_checkOlder(self) -> None:
        """The same command does not change the table of gateways of an older release."""
        first = self.start()
        self.until(first)
        self.kill(first)
        name = self.url.rpartition("/")[2].partition("?")[0]
        cluster().sql('DROP TABLE "gateway:standby".gateways', name)
        cluster().sql('UPDATE "gateway:standby".gateway_store SET version = 1', name)
        path = first.folder / "gateway.toml"

        class World:
            """The time passes for nobody else."""

            reactor = type(first.reactor)()

            def serve(self) -> None:
                """The command has just begun to look."""

        done = call("check", "--config", str(path), world=World())
        self.assertIn(f"{C} (rooms)\n  PROBLEM: not connected", done.output)
        self.assertEqual(cluster().sql('SELECT version FROM "gateway:standby".gateway_store', name), [(1,)])

    def test_refused(self) -> None:
        """The key needs a database that all gateways use, and a server."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / "gateway.toml"
        for text, found in (
            (TABLES, "true without state.url"),
            (f'[state]\nurl = "{self.url}"\n{TABLES}', "true on the embedded host"),
        ):
            path.write_text(text)
            error = self.assertRaises(ConfigError, service.read, path, MemoryReactorClock())
            self.assertIn(f'rooms."{C}".standby: found {found}; allowed: true with', str(error))

    def test_server(self) -> None:
        """The key of [server] holds for all components that have none of their own."""
        host = '[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "s"\nstandby = true\n'
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / "gateway.toml"
        own = '[rooms."a.example"]\n[rooms."b.example"]\nstandby = false\n'
        path.write_text(f'[state]\nurl = "{self.url}"\n{host}{own}')
        found = service.read(path, MemoryReactorClock()).services
        self.assertEqual([each.table.standby for each in found], [True, False])
