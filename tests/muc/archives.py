"""A room with an archive, on a link, over a connection in memory; and the stanzas of XEP-0313."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.trial.unittest import TestCase

from gateway import ns
from gateway.errors import ERRORS, GatewayError
from gateway.fmuc.archiving import Archiving
from gateway.fmuc.commits import Commits
from gateway.fmuc.core import Rooms
from gateway.fmuc.handler import RoomsHandler
from gateway.muc.archive_values import Retention
from gateway.muc.ids import Ids, occupantId
from gateway.muc.room import Bounds
from gateway.testing import MemoryServer, canonical
from gateway.testing.wire import canonicalElement
from tests.fmuc.durable import HeldStore
from tests.fmuc.support import MUC

C = "chat.shakespeare.lit"
ROOM = f"coven@{C}"
CRONE, HAG, WISE = "crone1@shakespeare.lit/desktop", "hag66@shakespeare.lit/pda", "wise@shakespeare.lit/tower"
# 2002-10-13T23:58:37Z, as in the examples.
THEN = 1_034_553_517
SECRET = b"secret"


def form(*fields: tuple[str, str], kind: str = ns.MAM) -> str:
    """Return the form of a query."""
    pairs = (("FORM_TYPE", kind), *fields) if kind else fields
    found = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in pairs)
    return f"<x xmlns='{ns.DATA}' type='submit'>{found}</x>"


def rsm(content: str = "") -> str:
    """Return the element C{set}."""
    return f"<set xmlns='{ns.RSM}'>{content}</set>"


def query(content: str = "", who: str = CRONE, room: str = ROOM, more: str = "") -> str:
    """Return a query."""
    return f"<iq from='{who}' to='{room}' type='set' id='q'><query xmlns='{ns.MAM}'{more}>{content}</query></iq>"


def fin(content: str, isComplete: bool = True, who: str = CRONE, room: str = ROOM) -> str:
    """Return the answer to a query."""
    complete = " complete='true'" if isComplete else ""
    inside = f"<fin xmlns='{ns.MAM}'{complete}>{rsm(content)}</fin>"
    return f"<iq from='{room}' to='{who}' type='result' id='q'>{inside}</iq>"


def refusal(error: type[GatewayError], who: str = CRONE, room: str = ROOM) -> str:
    """Return the error of a query."""
    found = ERRORS[error]
    text = f"<text xmlns='{ns.STANZA_ERRORS}'>{found.text}</text>" if found.text else ""
    condition = f"<{found.condition} xmlns='{ns.STANZA_ERRORS}'/>"
    inside = f"<error type='{found.kind}'>{condition}{text}</error>"
    return f"<iq from='{room}' to='{who}' type='error' id='q'>{inside}</iq>"


def anId(who: str, room: str = ROOM) -> str:
    """Return the occupant id of a user."""
    found = occupantId(Ids(SECRET).salt(room), who.partition("/")[0])
    return f"<occupant-id xmlns='{ns.OCCUPANT_ID}' id='{found}'/>"


class ArchiveCase(TestCase):
    """
    A service with archives, and one room whose owner is the first crone.

    @ivar store: the store of the archives.
    """

    retention = Retention(1_000, 1e6)
    maxDiff = None

    def setUp(self) -> None:
        self.store = HeldStore()
        self.start()
        self.join(CRONE, "crone")

    def start(self, **bounds: Any) -> None:
        """Make a service on the store."""
        made = Bounds(**{"archived": self.retention.messages, **bounds})
        self.rooms = Rooms(C, None, frozenset(("node.example",)), made, Ids(SECRET, Random(1).randbytes))
        self.server = MemoryServer(C)
        self.commits = Commits(self.store, self.rooms.durability, self.later, self.retention)
        self.archiving = Archiving(self.store, self.retention)
        self.utc = float(THEN)
        self.handler = RoomsHandler(self.rooms, lambda: self.utc, self.commits, self.archiving)
        self.handler.setHandlerParent(self.server.link)
        self.addCleanup(self.server.stop)
        self.server.start()

    def later(self, act: Callable[[], object]) -> None:
        """Commit at once; there are no turns of a reactor."""
        act()

    def join(self, who: str, nick: str, room: str = ROOM) -> None:
        self.server.send(f"<presence from='{who}' to='{room}/{nick}'>{MUC}</presence>")
        self.server.taken()

    def say(self, content: str = "<body>x</body>", who: str = CRONE, more: str = "") -> str:
        """Send a message to the room; return its stanza id, or nothing if it has none."""
        self.server.transport.clear()
        self.server.send(f"<message from='{who}' to='{ROOM}' type='groupchat'{more}>{content}</message>")
        found = [each.find(f"{{{ns.SID}}}stanza-id") for each in self.server.received()]
        return next((each.get("id", "") for each in found if each is not None), "")

    def sayMany(self, count: int) -> list[str]:
        """Send messages, one each minute."""
        ids = []
        for number in range(count):
            ids.append(self.say(f"<body>{number}</body>"))
            self.wait(60)
        return ids

    def wait(self, seconds: float) -> None:
        """Let time pass, also on the wall clock."""
        self.utc += seconds
        self.server.clock.advance(seconds)

    def configure(self, **fields: str) -> None:
        """The owner changes the configuration."""
        inside = "".join(
            f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in fields.items()
        )
        x = f"<x xmlns='{ns.DATA}' type='submit'>{inside}</x>"
        self.server.send(
            f"<iq from='{CRONE}' to='{ROOM}' type='set' id='c'><query xmlns='{ns.MUC_OWNER}'>{x}</query></iq>"
        )
        self.server.taken()

    def asked(self, content: str = "", who: str = CRONE) -> tuple[list[str], str]:
        """Send a query; return the ids of the results, in the order in which they came, and the answer."""
        self.server.transport.clear()
        self.server.send(query(content, who))
        *results, answer = self.server.received()
        found = [each.find(f"{{{ns.MAM}}}result") for each in results]
        assert all(each is not None for each in found), found
        return [each.get("id", "") for each in found if each is not None], canonicalElement(answer)

    def assertAnswer(self, answer: str, expected: str) -> None:
        self.assertEqual([answer], canonical(expected))

    def assertSent(self, *expected: str) -> None:
        """Exactly this was written since the last call."""
        self.assertEqual(self.server.taken(), canonical("".join(expected)))
