"""Several gateways that serve one proxy, and share its open exchanges; each stanza is given to one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from gateway import ns
from gateway.errors import GatewayError, StoreBroken, StoreBusy
from gateway.proxy.addresses import Sealer
from gateway.proxy.common_core import CommonTranslator
from gateway.proxy.common_store import MIGRATIONS
from gateway.proxy.common_tables import CommonTables
from gateway.proxy.core import Rules
from gateway.proxy.members import WAITS_FOR
from gateway.proxy.pool import Pool
from gateway.proxy.settings import Gateway
from gateway.proxy.sharing import SharingHandler
from gateway.reports import StatusItem
from gateway.state.memory import MemoryStore
from gateway.testing import MemoryServer
from tests.profiles import thorough

C = "proxy.domain.example"
T = "some-user@some-domain.example"
U = "user@some-domain.example/abc"
TIMEOUT = 30.0
T_ = TypeVar("T_")
# Steps of random histories that end a gateway, for a while or for ever.
ENDS = ("halt", "kill", "resume")


class SlowStore(MemoryStore):
    """
    A store that can delay changes.

    @ivar isSlow: set it, and changes wait for L{release}.
    @ivar failures: errors for the next changes of exchanges.
    """

    isSlow = False
    failures: list[GatewayError] = []  # replaced, never changed here

    def writeAtOnce(self, interaction: Callable[..., T_], *arguments: object) -> Deferred[T_]:
        if self.failures:
            self.failures, error = self.failures[1:], self.failures[0]
            return fail(error)
        return super().writeAtOnce(interaction, *arguments)

    def write(self, interaction: Callable[..., T_], *arguments: object) -> Deferred[T_]:
        if not self.isSlow:
            return super().write(interaction, *arguments)
        done: Deferred[Any] = Deferred()
        self.__dict__.setdefault("_late", []).append((done, interaction, arguments))
        return done

    def releaseOne(self) -> None:
        """Make the first change that waits."""
        done, interaction, arguments = self.__dict__["_late"].pop(0)
        super().write(interaction, *arguments).chainDeferred(done)

    def failAll(self) -> None:
        """Fail the changes that wait."""
        for done, _, _ in self.__dict__.pop("_late", []):
            done.errback(StoreBroken("a test"))

    def release(self) -> None:
        """Make the changes that wait."""
        self.isSlow = False
        late = self.__dict__.pop("_late", [])
        for done, interaction, arguments in late:
            self.write(interaction, *arguments).chainDeferred(done)


class Site:
    """
    One gateway, and the server's connection to it.

    @ivar isHalted: true if its time does not pass.
    """

    def __init__(
        self, store: MemoryStore, numbers: Iterator[int], balance: str, host: str, **decisions: object
    ) -> None:
        self.server = MemoryServer(C)
        self.sealer = Sealer(C, b"k" * 32)
        self.tables = CommonTables(store, self.server.clock, Gateway(host))
        rules = Rules(**decisions)  # type: ignore[arg-type]  # keywords of any kind
        pool = Pool(T, "*", balance, lambda: 0.0)
        self.translator = CommonTranslator(self.sealer, pool, rules, self.tables.members, numbers)
        # All machines have the same wall clock.
        self.handler = SharingHandler(self.translator, self.tables, self.server.clock.seconds)
        self.handler.setHandlerParent(self.server.link)
        self.isHalted = False


class SharingCase(TestCase):
    """Three gateways; target T's resource a is online, which one of them was told."""

    size = 3

    def setUp(self) -> None:
        self.make()

    def make(self, balance: str = "round-robin", **decisions: object) -> None:
        self.store = SlowStore(MIGRATIONS)
        self.sites = [
            Site(self.store, count(1000 * n), balance, f"gw{n}", **decisions) for n in range(1, self.size + 1)
        ]
        for site in self.sites:
            site.server.start()
            self.addCleanup(site.server.stop)
        self.wait(0.1)
        self.say(0, f"<presence from='{T}/a' to='{C}'/>")
        self.wait(1.1)
        self.assertEqual([site.translator.resources.load for site in self.sites], [{f"{T}/a": 0}] * self.size)
        self.sent()

    def wait(self, seconds: float) -> None:
        """Let time pass, everywhere at the same rate."""
        for _ in range(round(seconds * 10)):
            for site in self.sites:
                if not site.isHalted:
                    site.server.clock.advance(0.1)

    def settle(self) -> None:
        """Let the turns of the reactors pass."""
        for _ in range(4):
            for site in self.sites:
                if not site.isHalted:
                    site.server.clock.advance(0)

    def say(self, site: int, xml: str) -> None:
        """Send a stanza to one of the gateways."""
        self.sites[site].server.send(xml)
        self.settle()

    def sent(self) -> list[str]:
        """Return the iqs that all gateways have sent since the last call: kind, id, recipient."""
        return [found for site in range(self.size) for found in self.sentBy(site)]

    def sentBy(self, site: int) -> list[str]:
        """Return the same of one of them."""
        found = []
        for each in self.sites[site].server.received():
            if each.tag.endswith("}iq") or each.tag == "iq":
                conditions = [child.tag for child in each.iter() if ns.STANZA_ERRORS in child.tag]
                error = [conditions[0].partition("}")[2]] if conditions else []
                found.append(" ".join([each.get("type", ""), each.get("id", ""), each.get("to", ""), *error]))
        return found

    def ask(self, site: int, identifier: str = "1", kind: str = "get", sender: str = U) -> None:
        self.say(site, f"<iq type='{kind}' from='{sender}' to='{C}' id='{identifier}'><q xmlns='urn:x'/></iq>")

    def answer(self, site: int, identifier: str = "1", resource: str = "a", requester: str = U) -> None:
        alias = f"{C}/{self.sites[0].sealer.seal(requester, C)}"
        self.say(site, f"<iq type='result' from='{T}/{resource}' to='{alias}' id='{identifier}'/>")

    def kill(self, site: int) -> None:
        """End a gateway: its time does not pass any longer, and it is given nothing."""
        self.sites[site].isHalted = True

    def rows(self, table: str = "exchanges") -> int:
        """Return the number of rows of a table."""
        return self.store.atStart(lambda cursor: len(cursor.execute(f"SELECT * FROM {table}").fetchall()))  # noqa: S608  # a constant

    @property
    def pending(self) -> list[int]:
        """The open exchanges of each gateway."""
        return [site.translator.pending for site in self.sites]


class SharingTests(SharingCase):
    """Each request has one answer, whichever gateways get the stanzas."""

    def test_own(self) -> None:
        """The gateway that has forwarded a request delivers its answer at once, without the database."""
        self.ask(1)
        self.assertEqual(self.sent(), [f"get 1 {T}/a"])
        self.assertEqual((self.rows(), self.pending), (1, [0, 1, 0]))
        self.store.fault = StoreBroken("away")
        self.answer(1)
        self.assertEqual(self.sent(), [f"result 1 {U}"])
        self.store.fault = None
        self.wait(1.1)
        self.assertEqual((self.rows(), self.pending), (0, [0, 0, 0]))

    def test_other(self) -> None:
        """Another gateway delivers an answer once, and the first one forgets the exchange within a second."""
        self.ask(0)
        self.sent()
        self.answer(2)
        self.assertEqual(self.sent(), [f"result 1 {U}"])
        self.answer(1)
        self.answer(2)
        self.assertEqual(self.sent(), [])
        self.wait(1.1)
        self.assertEqual((self.rows(), self.pending), (0, [0, 0, 0]))
        self.wait(TIMEOUT + WAITS_FOR)
        self.assertEqual(self.sent(), [])

    def test_early(self) -> None:
        """If the answer comes before the request was sent, there is no second one."""
        alias = f"{C}/{self.sites[0].sealer.seal(U, C)}"
        request = f"<iq type='get' from='{U}' to='{C}' id='1'><q xmlns='urn:x'/></iq>"
        self.say(0, f"{request}<iq type='result' from='{T}/a' to='{alias}' id='1'/>")
        self.assertEqual(self.sent(), [f"get 1 {T}/a", f"result 1 {U}"])
        self.answer(0)
        self.wait(TIMEOUT + 1)
        self.assertEqual((self.sent(), self.rows(), self.pending), ([], 0, [0, 0, 0]))

    def test_otherSenders(self) -> None:
        """An answer of another account, of another resource, or with another id is not delivered."""
        self.ask(0)
        self.sent()
        self.answer(1, identifier="2")
        self.answer(1, resource="b")
        self.answer(1, requester="other@domain.example/x")
        self.say(1, f"<iq type='result' from='x@y.example/z' to='{C}/{self.sites[0].sealer.seal(U, C)}' id='1'/>")
        self.assertEqual(self.sent(), [])
        dropped = {"no such request": 3, "an answer from another account": 1}
        self.assertEqual(dict(self.sites[1].translator.dropped), dropped)
        self.answer(1)
        self.assertEqual(self.sent(), [f"result 1 {U}"])

    def test_deadline(self) -> None:
        """The gateway that has forwarded the request ends it at the deadline; a late answer is dropped."""
        self.ask(1)
        self.sent()
        self.wait(TIMEOUT - 1)
        self.assertEqual(self.sent(), [])
        self.wait(2)
        self.assertEqual(self.sentBy(1), [f"error 1 {U} remote-server-timeout"])
        self.answer(1)
        self.answer(2)
        self.wait(TIMEOUT)
        self.assertEqual((self.sent(), self.rows()), ([], 0))

    def test_killed(self) -> None:
        """If the gateway that has forwarded requests is killed, the others deliver answers, and keep deadlines."""
        self.ask(0, "1")
        self.ask(0, "2")
        self.ask(0, "3")
        self.sent()
        self.kill(0)
        self.answer(1, "1")
        self.assertEqual(self.sent(), [f"result 1 {U}"])
        self.wait(WAITS_FOR + 2)
        self.assertEqual(sorted(self.pending[1:]), [0, 2])
        self.answer(2, "2")
        self.assertEqual(self.sent(), [f"result 2 {U}"])
        self.wait(TIMEOUT - WAITS_FOR - 2)
        self.wait(1.1)
        self.assertEqual(self.sent(), [f"error 3 {U} remote-server-timeout"])
        self.wait(1.1)
        self.assertEqual((self.rows(), self.rows("gateways")), (0, 2))

    def test_halted(self) -> None:
        """A gateway that was halted answers nothing that others have taken over; then it serves again."""
        self.ask(0, "1")
        self.ask(0, "2")
        self.sent()
        self.kill(0)
        self.wait(WAITS_FOR + 2)
        self.answer(1, "1")
        self.assertEqual(self.sent(), [f"result 1 {U}"])
        self.sites[0].isHalted = False
        # Its clock has gone on, too.
        self.sites[0].server.clock.rightNow += WAITS_FOR + 2
        self.answer(0, "1")
        self.answer(0, "2")
        self.assertEqual(self.sent(), [f"result 2 {U}"])
        self.ask(0, "3")
        self.answer(0, "3")
        self.assertEqual(self.sent(), [f"get 3 {T}/a", f"result 3 {U}"])
        self.wait(TIMEOUT)
        self.assertEqual((self.sent(), self.rows(), self.rows("gateways")), ([], 0, 3))

    def test_stopped(self) -> None:
        """A gateway that stops leaves its exchanges to the others at once."""
        self.ask(0)
        self.sent()
        self.sites[0].server.stop()
        self.wait(1.1)
        self.assertEqual(sorted(self.pending), [0, 0, 1])
        self.answer(1)
        self.assertEqual(self.sent(), [f"result 1 {U}"])

    def test_stopping(self) -> None:
        """
        A gateway stops while the database is slow: requests that are not stored get an error, and an answer that it
        cannot deliver any more is not taken for delivered.
        """
        self.ask(1)
        self.sent()
        self.store.isSlow = True
        self.answer(0, "1")
        server = self.sites[0].server
        server.link.stopService()
        self.ask(0, "2")
        # It waits for its requests, and for the server's end of the stream.
        server.wait(8)
        self.assertEqual((self.sent(), server.link.trouble), ([f"error 2 {U} service-unavailable"], "stopped"))
        self.store.release()
        self.settle()
        self.assertEqual(self.sent(), [])
        self.wait(TIMEOUT + 2)
        self.assertEqual((self.sent(), self.rows()), ([f"error 1 {U} remote-server-timeout"], 0))

    def test_lostAnswer(self) -> None:
        """
        The same if the gateway that has forwarded the request has been told meanwhile that it was answered: a
        gateway ends it at its deadline.
        """
        self.ask(1)
        self.sent()
        self.store.isSlow = True
        self.answer(0, "1")
        server = self.sites[0].server
        server.link.stopService()
        server.wait(8)
        self.wait(1.1)
        self.store.releaseOne()
        self.settle()
        self.store.release()
        self.wait(TIMEOUT + 8)
        self.assertEqual((self.sent(), self.rows()), ([f"error 1 {U} remote-server-timeout"], 0))
        self.assertEqual(self.rows("gateways"), 2)

    def test_reconnected(self) -> None:
        """
        A gateway that others have taken over while it had no connection forwards requests as soon as it has one
        again.
        """
        self.ask(0)
        server = self.sites[0].server
        server.endpoint.mode = "refuse"
        server.lose()
        self.wait(9)
        self.assertEqual(self.pending[0] + sum(self.pending[1:]), 2)
        self.sent()
        server.restore()
        self.say(0, f"<presence from='{T}/a' to='{C}'/>")
        self.ask(0, "2")
        self.assertEqual(self.sentBy(0), [f"get 2 {T}/a"])
        self.answer(1)
        self.answer(1, "2")
        self.assertEqual(self.sent(), [f"result 1 {U}", f"result 2 {U}"])
        self.wait(2.2)
        self.assertEqual((self.pending, self.rows(), self.rows("gateways")), ([0, 0, 0], 0, 3))

    def test_restarted(self) -> None:
        """If all gateways have ended, the next process takes over what they have left."""
        self.ask(0)
        self.sent()
        for site in self.sites:
            site.server.stop()
        self.sites[2].server.start()
        self.wait(2.2)
        self.assertEqual(self.pending[2], 1)
        self.answer(2)
        self.assertEqual(self.sent(), [f"result 1 {U}"])

    def test_removed(self) -> None:
        """If the component is removed from the last gateway, its exchanges get an error."""
        for site in (1, 2):
            self.sites[site].server.stop()
        self.wait(1.1)
        self.ask(0)
        self.sent()
        self.sites[0].server.link.isFinal = True
        self.sites[0].server.stop()
        self.assertEqual((self.sent(), self.rows()), ([f"error 1 {U} service-unavailable"], 0))

    def test_sameId(self) -> None:
        """Two requests with one id have two answers, through whichever gateways; a third answer is dropped."""
        for first, second, third in ((0, 1, 2), (0, 0, 1), (1, 0, 0), (2, 2, 2)):
            self.ask(0)
            self.ask(1)
            self.sent()
            self.answer(first)
            self.answer(second)
            self.assertEqual(self.sent(), [f"result 1 {U}"] * 2)
            self.wait(1.1)
            self.settle()
            self.answer(third)
            self.wait(TIMEOUT + 1)
            self.assertEqual((self.sent(), self.rows(), self.pending), ([], 0, [0, 0, 0]), (first, second, third))

    def test_longAddress(self) -> None:
        """An answer to a requester whose address does not fit into a token is delivered by any gateway."""
        user = f"{'u' * 900}@domain.example/{'r' * 900}"
        self.ask(0, sender=user)
        self.sent()
        self.answer(2, requester=user)
        self.assertEqual(self.sent(), [f"result 1 {user}"])


class ResourceTests(SharingCase):
    """The presence of the target, of which each gateway is told a part."""

    def setUp(self) -> None:
        super().setUp()
        self.say(2, f"<presence from='{T}/b' to='{C}'/>")
        self.wait(1.1)

    def test_offline(self) -> None:
        """A resource is offline, which another gateway is told: a get is sent once more, a set gets an error."""
        self.ask(0, "1")
        self.ask(0, "2", "set")
        self.ask(0, "3", "set")
        asked = self.sent()
        self.assertEqual(sorted(asked), [f"get 1 {T}/b", f"set 2 {T}/a", f"set 3 {T}/b"])
        self.say(1, f"<presence from='{T}/b' to='{C}' type='unavailable'/>")
        self.wait(1.1)
        self.settle()
        self.assertEqual(sorted(self.sent()), [f"error 3 {U} service-unavailable", f"get 1 {T}/a"])
        self.answer(2, "1", "b")
        self.assertEqual(self.sent(), [])
        self.answer(2, "1", "a")
        self.answer(2, "2", "a")
        self.assertEqual(self.sent(), [f"result 1 {U}", f"result 2 {U}"])
        self.wait(TIMEOUT + 1)
        self.assertEqual((self.sent(), self.rows()), ([], 0))

    def test_answeredBefore(self) -> None:
        """If another gateway has delivered the answer, nothing is sent a second time."""
        self.ask(0, "1")
        self.ask(0, "2", "set")
        self.sent()
        self.answer(1, "1", "b")
        self.answer(1, "2", "a")
        self.assertEqual(len(self.sent()), 2)
        for name in "ab":
            self.say(0, f"<presence from='{T}/{name}' to='{C}' type='unavailable'/>")
        self.wait(TIMEOUT + 1)
        self.assertEqual((self.sent(), self.rows(), self.pending), ([], 0, [0, 0, 0]))

    def test_adopted(self) -> None:
        """A resource goes offline after its gateway was killed: its requests get an error at the takeover."""
        self.ask(0, "1")
        self.ask(0, "2")
        self.sent()
        self.kill(0)
        self.say(1, f"<presence from='{T}/b' to='{C}' type='unavailable'/>")
        self.wait(WAITS_FOR + 2)
        self.settle()
        self.assertEqual(self.sent(), [f"error 1 {U} service-unavailable"])
        self.answer(1, "2", "a")
        self.assertEqual(self.sent(), [f"result 2 {U}"])

    def test_probed(self) -> None:
        """After an offline presence the target is probed: two gateways may have been told in another order."""
        self.say(1, f"<presence from='{T}/b' to='{C}' type='unavailable'/>")
        self.sites[1].server.received()
        self.wait(3)
        probes = [each for each in self.sites[1].server.received() if each.get("type") == "probe"]
        self.assertEqual([each.get("to") for each in probes], [T])

    def test_notOnline(self) -> None:
        """After a new connection, a resource that does not answer the probe is offline."""
        self.sites[0].server.lose()
        self.sites[0].server.restore()
        self.settle()
        self.say(1, f"<presence from='{T}/b' to='{C}'/>")
        self.wait(12)
        for site in self.sites:
            self.assertEqual(set(site.translator.resources.load), {f"{T}/b"})

    def test_leastPending(self) -> None:
        """Each gateway balances the requests that it forwards."""
        self.make("least-pending")
        self.say(2, f"<presence from='{T}/b' to='{C}'/>")
        self.wait(1.1)
        for number in range(6):
            self.ask(number % 3, str(number))
        asked = self.sent()
        self.assertEqual(sorted(re.sub(r".*/", "", each) for each in asked), list("aaabbb"))


class OutboundTests(SharingCase):
    """Requests of the implementing client."""

    def setUp(self) -> None:
        self.make(outbound=True)

    def start(self, site: int, resource: str = "a", identifier: str = "1") -> None:
        """Let a resource of the target send a request to the user."""
        alias = f"{C}/{self.sites[0].sealer.seal(U, C)}"
        self.say(site, f"<iq type='get' from='{T}/{resource}' to='{alias}' id='{identifier}'><q xmlns='x'/></iq>")

    def reply(self, site: int, identifier: str = "1") -> None:
        """Let the user answer."""
        self.say(site, f"<iq type='result' from='{U}' to='{C}' id='{identifier}'/>")

    def test_answers(self) -> None:
        """The answer is delivered once, by any gateway."""
        for site in (0, 1):
            self.start(0)
            self.assertEqual(self.sent(), [f"get 1 {U}"])
            self.reply(site)
            self.assertEqual(self.sent(), [f"result 1 {T}/a"])
            self.reply(1 - site)
            self.reply(2)
            self.assertEqual(self.sent(), [])
            self.wait(1.1)
        self.wait(TIMEOUT + 1)
        self.assertEqual((self.sent(), self.rows(), self.pending), ([], 0, [0, 0, 0]))

    def test_conflict(self) -> None:
        """A second request with the same id is refused, by any gateway; after the answer, it is not."""
        self.start(0)
        self.sent()
        for site in (0, 1):
            self.start(site, "b")
            self.assertEqual(self.sent(), [f"error 1 {T}/b conflict"])
        self.reply(2)
        self.assertEqual(self.sent(), [f"result 1 {T}/a"])
        self.start(1, "b")
        self.assertEqual(self.sent(), [f"get 1 {U}"])

    def test_killed(self) -> None:
        """Another gateway keeps the deadline of one that was killed."""
        self.start(0)
        self.sent()
        self.kill(0)
        self.wait(TIMEOUT - 1)
        self.assertEqual(self.sent(), [])
        self.wait(2.2)
        self.assertEqual(self.sent(), [f"error 1 {T}/a remote-server-timeout"])


class ReportTests(SharingCase):
    """The report about the gateways."""

    def gateways(self, site: int) -> list[StatusItem]:
        """Return the items about gateways."""
        names = ("proxy.gateways", "proxy.other_settings")
        return [each for each in self.sites[site].handler.report() if each.name in names]

    def test_number(self) -> None:
        """Each gateway reports the others that run, until it does not know them."""
        [item] = self.gateways(0)
        self.assertEqual(str(item), "gateways that serve this component: 3; the others are gw2, gw3")
        self.assertEqual(item.values, {"gateways": 3, "others": ("gw2", "gw3")})
        self.kill(1)
        self.wait(WAITS_FOR + 2)
        self.sites[2].server.stop()
        self.wait(1.1)
        [item] = self.gateways(0)
        self.assertEqual(str(item), "gateways that serve this component: 1")
        self.assertEqual(self.sites[0].handler.gateways, 1)
        self.store.isSlow = True
        self.wait(WAITS_FOR)
        self.assertEqual((self.gateways(0), self.sites[0].handler.gateways), ([], 0))

    def test_settings(self) -> None:
        """A gateway with other settings is reported by all, and what it knows of another target is not used."""
        lines: list[str] = []
        globalLogPublisher.addObserver(observer := lambda event: lines.append(event.get("event", "")))
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        tables = self.sites[1].tables
        tables.own = Gateway("gw2", {"timeout": "10", "key_file": "b", "target": "t@example.com"})
        for site in (0, 2):
            self.sites[site].tables.own = Gateway(f"gw{site + 1}", {"timeout": "30", "key_file": "a"})
        for each in self.sites:
            each.tables.leave(StoreBusy("a test"))
        self.wait(2.2)
        found = [[str(item) for item in self.gateways(site)[1:]] for site in range(3)]
        text = "{} has other settings for this component: key_file (another content), timeout ({}; here {})."
        self.assertEqual([len(each) for each in found], [1, 2, 1])
        self.assertTrue(found[0][0].startswith(text.format("gw2", 10, 30)), found)
        self.assertTrue(found[1][1].startswith(text.format("gw3", 30, 10)), found)
        self.assertEqual(lines.count("proxy.other_settings"), 4)
        tables.setOnline("t@example.com/x", True)
        self.wait(2.2)
        self.assertEqual(self.sites[0].translator.resources.load, {f"{T}/a": 0})


class FaultTests(SharingCase):
    """The database does not work."""

    def test_requests(self) -> None:
        """A request gets an error, and is not forwarded."""
        self.store.fault = StoreBroken("away")
        self.ask(0)
        self.assertEqual(self.sent(), [f"error 1 {U} internal-server-error"])
        self.assertEqual(self.pending, [0, 0, 0])
        self.store.fault = None
        self.wait(TIMEOUT + 1)
        self.assertEqual((self.sent(), self.rows()), ([], 0))

    def test_deadline(self) -> None:
        """The deadline of a request passes: it gets its error when the database is back, and no gateway is lost."""
        self.ask(0)
        self.ask(0, "2")
        self.sent()
        self.store.fault = StoreBroken("away")
        self.answer(0, "2")
        self.assertEqual(self.sent(), [f"result 2 {U}"])
        self.answer(1, "1")
        self.wait(TIMEOUT + 10)
        self.assertEqual(self.sent(), [])
        self.store.fault = None
        self.wait(1.1)
        self.assertEqual(self.sent(), [f"error 1 {U} remote-server-timeout"])
        self.wait(TIMEOUT)
        self.assertEqual((self.sent(), self.rows()), ([], 0))
        self.assertEqual(self.rows("gateways"), 3)

    def test_outage(self) -> None:
        """
        The database is away for longer than requests wait: each request gets that error, and when it is back, the
        next one is forwarded.
        """
        self.store.isSlow = True
        self.wait(9)
        self.ask(0, "1")
        self.store.failAll()
        self.ask(0, "2")
        self.wait(2)
        self.store.failAll()
        self.wait(2)
        self.store.failAll()
        expected = [f"error {each} {U} internal-server-error" for each in "12"]
        self.assertEqual(self.sent(), expected)
        self.store.isSlow = False
        self.ask(0, "3")
        self.answer(1, "3")
        self.assertEqual(self.sent(), [f"get 3 {T}/a", f"result 3 {U}"])
        self.wait(TIMEOUT)
        self.assertEqual((self.sent(), self.rows(), self.rows("gateways")), ([], 0, 3))

    def test_busy(self) -> None:
        """While other gateways hold the lock, answers wait, for some time; requests get an error."""
        for fails, outcome in ((4, [f"result 1 {U}"]), (5, [])):
            self.ask(0)
            self.sent()
            self.store.failures = [StoreBusy("locked")] * fails
            self.answer(1)
            self.wait(0.5)
            self.assertEqual((self.sent(), self.store.failures), (outcome, []))
            self.answer(1)
            self.assertEqual(self.sent(), [] if outcome else [f"result 1 {U}"])
            self.wait(1.1)
        self.store.failures = [StoreBusy("locked")]
        self.ask(0)
        self.assertEqual(self.sent(), [f"error 1 {U} resource-constraint"])

    def test_slow(self) -> None:
        """A request that cannot be stored before its deadline gets its error then, and is not forwarded."""
        self.store.isSlow = True
        self.ask(0)
        self.wait(TIMEOUT - 1)
        self.assertEqual(self.sent(), [])
        self.wait(2)
        self.assertEqual(self.sent(), [f"error 1 {U} remote-server-timeout"])
        self.store.release()
        self.settle()
        self.assertEqual((self.sent(), self.rows(), self.pending), ([], 0, [0, 0, 0]))

    def test_older(self) -> None:
        """Presence that comes while the tables are read is newer than what is read."""
        self.store.isSlow = True
        self.wait(1)
        self.say(0, f"<presence from='{T}/b' to='{C}'/>")
        self.store.release()
        self.assertEqual(set(self.sites[0].translator.resources.load), {f"{T}/a", f"{T}/b"})
        self.wait(1.1)
        self.assertEqual(set(self.sites[1].translator.resources.load), {f"{T}/a", f"{T}/b"})

    def test_resources(self) -> None:
        """Presence that came meanwhile is stored when the database is back."""
        self.store.fault = StoreBroken("away")
        self.say(1, f"<presence from='{T}/b' to='{C}'/>")
        self.wait(2)
        self.store.fault = None
        self.wait(2.2)
        self.assertEqual(set(self.sites[0].translator.resources.load), {f"{T}/a", f"{T}/b"})


class RandomTests(SharingCase):
    """Random histories."""

    def start(self) -> None:
        """Begin with one resource, a."""
        self.make()
        self.killed: set[int] = set()
        self.online = {"a"}
        # The requests that resources have got and not answered, and the number of answers that the user has got.
        self.owed: list[tuple[str, str]] = []
        self.answers = 0

    def collect(self) -> None:
        """Let resources and the user take what the gateways have sent."""
        for each in self.sent():
            kind, identifier, recipient = each.split()[:3]
            if kind in ("get", "set"):
                name = recipient.rpartition("/")[2]
                if name in self.online:
                    self.owed.append((identifier, name))
            else:
                self.assertEqual(recipient, U)
                self.answers += 1

    def resume(self, site: int) -> None:
        """Let a gateway that was halted go on. Its clock has gone on as well."""
        if site not in self.killed:
            times = [each.server.clock.seconds() for each in self.sites]
            self.sites[site].server.clock.rightNow = max(times)
            self.sites[site].isHalted = False
            self.settle()

    def do(self, step: str, chosen: int, number: int) -> int:
        """Do one step; return the number of requests that it has sent."""
        running = [site for site, each in enumerate(self.sites) if not each.isHalted]
        site = running[chosen % len(running)]
        name = "ab"[number % 2]
        if step == "ask":
            self.ask(site, str(number % 3), ("get", "set")[number % 2])
            return 1
        if step == "answer" and self.owed:
            self.answer(site, *self.owed.pop(number % len(self.owed)))
        elif step == "wait":
            self.wait((0.1, 0.5, 2.0, 4.0, 9.0)[number % 5])
        elif step == "online":
            self.online.add(name)
            self.say(site, f"<presence from='{T}/{name}' to='{C}'/>")
        elif step == "offline" and name in self.online:
            self.online.discard(name)
            self.owed = [each for each in self.owed if each[1] != name]
            self.say(site, f"<presence from='{T}/{name}' to='{C}' type='unavailable'/>")
        elif step in ("halt", "kill") and len(running) > 1:
            self.kill(site)
            if step == "kill":
                self.killed.add(site)
        elif step == "resume":
            self.resume(chosen)
        return 0

    @thorough
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("ask", "ask", "answer", "answer", "wait", "online", "offline", *ENDS)),
                st.integers(0, 2),
                st.integers(0, 9),
            ),
            max_size=60,
        )
    )
    def test_histories(self, steps: list[tuple[str, int, int]]) -> None:
        """
        Gateways are killed or halted, and resources go offline. Requests with few ids are answered through any
        gateway, or not at all. Each request has exactly one answer, and nothing is left.
        """
        self.start()
        asked = 0
        for step in steps:
            asked += self.do(*step)
            self.collect()
        for site in range(self.size):
            self.resume(site)
        for _ in range(60):
            self.wait(1)
            self.collect()
        self.assertEqual((self.answers, self.rows()), (asked, 0))
        for site, each in enumerate(self.sites):
            self.assertTrue(site in self.killed or not each.translator.pending)
