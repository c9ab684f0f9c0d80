"""Delegation by a real server, as clients and operators see it."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from contextlib import closing
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.disks import smallDisk
from tests.live.case import ENDED_WELL, SECRET, LiveTests, TogetherTests, scenario
from tests.live.clients import Client, condition, local
from tests.live.delegations import ODD, ODD_GATEWAY, PRIVATE, STORAGE_GATEWAY, UNGRANTED, tables
from tests.live.forwarder import Forwarder
from tests.live.gateway import Gateway
from tests.live.processes import Value, holds
from tests.live.servers import DOMAIN, Ejabberd, Embedded, Prosody

NOTE = "urn:xmpp:test:note"
WANTED = f"<query xmlns='{PRIVATE}'><note xmlns='{NOTE}'/></query>"

STORAGE = tables(STORAGE_GATEWAY, {PRIVATE: {"handler": "private-storage"}})
ODDITIES = tables(ODD_GATEWAY, {ODD: {"handler": "odd"}, UNGRANTED: {"handler": "odd"}})

# The answer to a request, by the handler's behaviour: the content of a result, or an error.
RESULTS = {"element": "", "nothing": None, "deferred": "now", "awaited": "later"}
FAULTS = (
    "raised",
    "raised-later",
    "exit",
    "text",
    "number",
    "unwritable",
    "control",
    "surrogate",
    "much",
    "strange-error",
    "no-such-behaviour",
)

# Seconds: the deadline of a handler, and the time within which a client must have its answer.
TIMEOUT = 25
ANSWERED_WITHIN = 28

CUTS = 20
# After a connection of less than ten seconds a link waits longer each time, which is not tested here.
HASTY = "from gateway.stream.link import Link; Link.steadyAfter = 0.0"
ROUNDS = 50


def note(text: str) -> str:
    """Return private data with this text."""
    return f"<query xmlns='{PRIVATE}'><note xmlns='{NOTE}'>{text}</note></query>"


def noted(reply: Element) -> str | None:
    """Return the text of the private data in a result; None for anything else."""
    found = reply.find(f"{{{PRIVATE}}}query/{{{NOTE}}}note")
    return None if found is None or reply.get("type") != "result" else found.text or ""


def error(reply: Element) -> tuple[str | None, str | None, str | None]:
    """Return type, condition and text of the error in a reply, each None if missing."""
    for each in reply:
        if local(each) == "error":
            texts = [child.text for child in each if local(child) == "text"]
            return each.get("type"), condition(reply), texts[0] if texts else None
    return None, None, None


class DelegationTests(LiveTests):
    """
    A mix-in: the scenarios, for one kind of server.

    @cvar advice: the lines for this server that the log has for a missing delegation.
    """

    advice: tuple[str, ...] = ()

    # Private data.

    @scenario(30)
    async def test_privateData(self) -> None:
        """Two users have separate private data; a gateway that is killed loses nothing of it."""
        await self.expectNesting()
        gateway = await self.startGateway(STORAGE)
        alice, bob = await self.user("alice"), await self.user("bob")
        await self.granted(alice, WANTED)
        for user in (alice, bob):
            stored = await user.request(user.bare, note(f"of {user.bare}"), "set")
            self.assertEqual((stored.get("type"), len(stored)), ("result", 0))
            # A request without a recipient is for the own account.
            read = await user.request(None, WANTED)
            self.assertEqual((noted(read), read.get("to")), (f"of {user.bare}", user.jid))
            self.assertIn(read.get("from"), (None, user.bare))
        last = await alice.request(alice.bare, note("the last"), "set")
        gateway.kill9()
        self.assertEqual(last.get("type"), "result")
        gateway.start()
        await gateway.ready()
        self.assertEqual(noted(await self.granted(alice, WANTED)), "the last")
        self.assertEqual(noted(await self.granted(bob, WANTED)), f"of {bob.bare}")
        await self._refusals(alice, bob)
        self.assertIn(PRIVATE, await self.nested(alice, DOMAIN))

    async def _refusals(self, alice: Client, bob: Client) -> None:
        """Check the storage's own errors, from the address of the request."""
        for to, inner, kind, wanted in (
            (alice.bare, WANTED, "get", ("auth", "forbidden", None)),
            (alice.bare, note("intruded"), "set", ("auth", "forbidden", None)),
            (DOMAIN, WANTED, "get", ("auth", "forbidden", None)),
            (bob.bare, f"<query xmlns='{PRIVATE}'/>", "get", ("modify", "bad-request", None)),
            (
                bob.bare,
                f"<query xmlns='{PRIVATE}'><x xmlns=''/></query>",
                "set",
                ("modify", "not-acceptable", None),
            ),
        ):
            reply = await bob.request(to, inner, kind)
            self.assertEqual((error(reply), reply.get("from")), (wanted, to), inner)
        self.assertEqual(noted(await alice.request(alice.bare, WANTED)), "the last")
        # Servers write this as invalid XML. Either it can be read again, or it is refused at once.
        reply = await bob.request(bob.bare, f"<query xmlns='{PRIVATE}'><xml:q><a/></xml:q></query>", "set")
        if reply.get("type") == "error":
            self.assertEqual((error(reply)[:2], reply.get("from")), (("modify", "bad-request"), bob.bare))
        else:
            self.assertIs(self.serverClass, Embedded)
            reply = await bob.request(bob.bare, f"<query xmlns='{PRIVATE}'><xml:q/></query>")
            self.assertEqual(len(list(reply.iter("{http://www.w3.org/XML/1998/namespace}q"))), 1)
            self.assertEqual(len(reply[0][0]), 1)

    @scenario(60)
    async def test_storageFails(self) -> None:
        """
        While another process holds the file's lock, and while the disk is full, each change gets its error at once
        and is not stored; stored data can be read, the operator is told, and the storage recovers by itself.
        """
        await self.expectNesting()
        gateway = self.newGateway(STORAGE)
        path = gateway.directory / "state" / f"{STORAGE_GATEWAY}.private"
        with smallDisk(path.parent, "512k") as disk:
            gateway.start()
            await gateway.ready()
            alice, bob = await self.user("alice"), await self.user("bob")
            await self.granted(alice, WANTED)
            self.assertEqual((await alice.request(alice.bare, note("before"), "set")).get("type"), "result")
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                await self._refused(gateway, alice, bob, "another process has locked it")
                other.execute("ROLLBACK")
            await gateway.ready(10)
            disk.fill()
            await self._refused(gateway, alice, bob, "the disk is full")
            disk.free()
            await gateway.ready(10)
            self.assertEqual((await bob.request(bob.bare, note("after"), "set")).get("type"), "result")
            log = gateway.output.read_text()
            self.assertEqual(log.count(f"{path} does not work"), 1, log)
            self.assertNotIn("Traceback", log)
            self.assertIn(await gateway.terminate(), ENDED_WELL)

    async def _refused(self, gateway: Gateway, alice: Client, bob: Client, trouble: str) -> None:
        """Send forty large changes at a time, of two users: each is refused, soon, and not stored."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        large = note("x" * 50_000)
        replies = await asyncio.gather(*(user.request(user.bare, large, "set") for user in (alice, bob) * 20))
        self.assertLess(loop.time() - started, 5)
        self.assertEqual({error(reply)[:2] for reply in replies}, {("wait", "resource-constraint")})
        self.assertEqual(noted(await alice.request(alice.bare, WANTED)), "before")
        self.assertEqual(noted(await bob.request(bob.bare, WANTED)), "")
        status, ready = await gateway.get("/readyz")
        self.assertEqual(status, 503)
        self.assertIn(f"{STORAGE_GATEWAY}.private: {trouble}", ready)
        self.assertIn(f"{STORAGE_GATEWAY}.private: {trouble}", (await gateway.get("/status"))[1])

    # Deadlines.

    async def withinTheDeadline(self) -> None:
        """
        If a handler never answers, the client gets an error at the deadline. Until then, other handlers'
        exceptions, users with the same ids, and a link that is cut repeatedly each have their own answers.
        """
        gateway = await self.startOddGateway(ODDITIES)
        alice = await self.user("alice")
        await self.granted(alice, f"<element xmlns='{ODD}'/>")
        silent = asyncio.create_task(self._unanswered(alice))
        await self._odd(alice, gateway)
        await self._storage(await self.user("bob"), await self.user("carol"))
        await self._missingGrants(gateway)
        reply, after = await silent
        self.assertEqual(error(reply)[:2], ("wait", "remote-server-timeout"))
        self.assertTrue(after >= TIMEOUT - 1, f"after {after:.1f} s already")
        await self.granted(alice, f"<element xmlns='{ODD}'/>")
        self.assertEqual(alice.repeated(), {})

    async def _unanswered(self, user: Client) -> tuple[Element, float]:
        """Return the reply to a request that no handler answers, and the seconds that it took."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        reply = await user.request(user.bare, f"<silent xmlns='{ODD}'/>", seconds=ANSWERED_WITHIN)
        return reply, loop.time() - asked

    async def _odd(self, user: Client, gateway: Gateway) -> None:
        """Check the client's answers for each misbehaviour of handlers."""
        for name, text in RESULTS.items():
            reply = await user.request(user.bare, f"<{name} xmlns='{ODD}'/>", "set")
            self.assertEqual(reply.get("type"), "result", name)
            self.assertEqual([each.text or "" for each in reply], [] if text is None else [text], name)
        for name in ("refused", "refused-later"):
            reply = await user.request(user.bare, f"<{name} xmlns='{ODD}'/>")
            self.assertEqual(error(reply), ("modify", "not-acceptable", "not on <Sundays>"))
            self.assertIsNotNone(reply.find(f".//{{{ODD}}}sunday"))
        for name in FAULTS:
            reply = await user.request(user.bare, f"<{name} xmlns='{ODD}'/>")
            self.assertEqual(reply.get("type"), "error", name)
            self.assertNotIn("the handler's own affair", "".join(reply.itertext()), name)
        self.assertIn("the handler's own affair", gateway.log(1000))
        self.assertEqual(gateway.log(10_000).count(f"{ODD_GATEWAY}: connected."), 1)

    async def _storage(self, bob: Client, carol: Client) -> None:
        """Use the same ids, and a connection that is cut twenty times."""
        forwarder = await Forwarder(self.server.componentPort).start()
        self.stack.push_async_callback(forwarder.close)
        server: dict[str, Value] = {
            "endpoint": f"tcp:127.0.0.1:{forwarder.port}",
            "secret": SECRET,
            "domain": DOMAIN,
        }
        gateway = self.newGateway({**STORAGE, "server": server})
        gateway.prelude = HASTY
        gateway.start()
        await gateway.ready()
        await self.granted(bob, WANTED)
        for user in (bob, carol):
            await user.request(user.bare, note(user.jid), "set")
        for number in range(ROUNDS):
            replies = await asyncio.gather(
                *(user.request(user.bare, WANTED, id_=f"same{number}") for user in (bob, carol))
            )
            self.assertEqual([noted(reply) for reply in replies], [bob.jid, carol.jid])

        def granted(times: int) -> bool:
            return gateway.log(10_000).count(f"{STORAGE_GATEWAY}: {DOMAIN} delegates {PRIVATE}") == times

        for number in range(1, CUTS + 1):
            forwarder.cut()
            await holds(functools.partial(granted, 1 + number), 10, f"grant after cut {number}")
            self.assertEqual(noted(await self.granted(bob, WANTED)), bob.jid)
        self.assertEqual(forwarder.accepted, 1 + CUTS)
        for user in (bob, carol):
            self.assertEqual(noted(await user.request(user.bare, WANTED)), user.jid)
            self.assertEqual(set(user.repeated()), set())

    async def _missingGrants(self, gateway: Gateway) -> None:
        """Check that a namespace that is configured but not delegated is logged, with the lines to configure."""
        complaint = f"{ODD_GATEWAY}: {DOMAIN} does not delegate {UNGRANTED}"
        await holds(lambda: complaint in gateway.log(10_000), 12, "the log speaks of the missing grant")
        log = gateway.log(10_000)
        for line in OF_PROSODY + OF_EJABBERD:
            self.assertEqual(line in log, line in self.advice, line)
        self.assertNotIn(f'["{ODD}"]', log)


OF_PROSODY = (
    f'VirtualHost "{DOMAIN}"',
    f'["{UNGRANTED}"] = {{ jid = "{ODD_GATEWAY}" }};',
    f'Component "{ODD_GATEWAY}"',
)
OF_EJABBERD = (f'"{UNGRANTED}": {{access: odd}}',)


class EmbeddedDelegationTests(DelegationTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodyDelegationTests(DelegationTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody
    advice = OF_PROSODY


class EjabberdDelegationTests(DelegationTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
    advice = OF_EJABBERD


class DeadlineTests(TogetherTests, SynchronousTestCase):
    """Tests that take as long as a deadline, on all servers at once."""

    classes = (EmbeddedDelegationTests, ProsodyDelegationTests, EjabberdDelegationTests)

    def test_withinTheDeadline(self) -> None:
        """Each request has one answer in time, for any behaviour of handlers and links."""
        self.together("withinTheDeadline", 60)
