"""The gateway is stopped, or killed, with Openfire as the joined or the joining node. Recorded traffic."""

from __future__ import annotations

import shutil
from xml.etree.ElementTree import Element, tostring

from twisted.trial.unittest import TestCase

from gateway import ns
from gateway.testing import MemoryGateway
from tests.fmuc.openfire import MUC, Openfire
from tests.fmuc.test_openfire_joined import BOB, BODY, CAROL, HERE, NICKS
from tests.fmuc.test_openfire_joined import ROOM as UPPER
from tests.fmuc.test_openfire_joining import ANN, ROOM, THEIRS, THERE, TOM

MIRROR = '[mirror."mirror.localhost"]\nallow = ["conference.localhost"]\nusers = ["localhost"]\n'
ROOMS = '[rooms."rooms.localhost"]\npeers = ["conference.localhost"]\ncreate = ["localhost"]\n'


def texts(found: list[Element], to: str) -> list[str]:
    """Return presence and messages to a user, or to a room and its occupants."""
    bare = to.partition("/")[0]
    given = (each for each in found if each.get("to", "").partition("/")[0] == bare)
    return [tostring(each, encoding="unicode") for each in given if not each.tag.endswith("}iq")]


class RestartCase(TestCase):
    """
    A gateway with a store.

    @ivar component: that is tested.
    """

    component = tables = ""

    def setUp(self) -> None:
        self.begin(self.mktemp())

    def begin(self, folder: str) -> None:
        self.gateway = MemoryGateway(folder, self.tables)
        self.addCleanup(self.gateway.stop)
        self.server = self.gateway.server(self.component)

    def restart(self, isKilled: bool) -> tuple[list[Element], list[Element]]:
        """Start another process; return what the earlier one has sent at its end, and this one at its start."""
        before = self.gateway.folder
        if isKilled:
            folder = self.mktemp()
            shutil.copytree(before, folder)
            last: list[Element] = []
        else:
            folder = str(before)
            self.gateway.stop()
            last = self.server.received()
        self.begin(folder)
        self.gateway.wait(1)
        return last, self.server.received()


class JoinedTests(RestartCase):
    """A mirror of an Openfire room. Openfire counts the users as occupants, and answers none of their joins."""

    component, tables = "mirror.localhost", MIRROR

    def setUp(self) -> None:
        super().setUp()
        self.openfire = Openfire(UPPER, HERE, False, dict(NICKS))
        for who in (BOB, CAROL):
            self.server.ask(f"<presence from='{who}' to='{HERE}/{who.split('@')[0]}'>{MUC}</presence>")
        found = self.server.ask(self.openfire.answer(["ann"]))
        [fence] = [each.get("id") for each in found if (each.get("id") or "").startswith("join-")]
        self.server.ask(f"<iq type='result' id='{fence}' from='{UPPER}' to='{HERE}/carol'/>")

    def test_restarted(self) -> None:
        """
        After a stop or a kill, the mirror takes its users out of Openfire's room, and joins anew: they stay in the
        mirror, notice nothing, and talk.
        """
        for isKilled in (False, True):
            with self.subTest(isKilled=isKilled):
                self.setUp()
                last, first = self.restart(isKilled)
                self.assertEqual(texts(last, BOB) + texts(first, BOB), [])
                self.assertEqual(texts(last, UPPER), [])
                up = [(each.get("type"), each.get("to")) for each in first if each.get("to", "").startswith(UPPER)]
                gone = [("unavailable", f"{UPPER}/bob"), ("unavailable", f"{UPPER}/carol")]
                self.assertEqual(up, [*gone, (None, f"{UPPER}/bob")])
                found = self.server.ask(self.openfire.confirmsLeft() + self.openfire.answer(["ann"]))
                # Carol joins anew, too; nobody here sees anything of it.
                self.assertEqual(len([each for each in found if each.get("to") == f"{UPPER}/carol"]), 1)
                self.assertEqual(texts(found, BOB), [])
                said = self.openfire.said("ann", "m", BODY % "there again")
                self.assertEqual(len(texts(self.server.ask(said), BOB)), 1)
                said = f"<message from='{BOB}' to='{HERE}' type='groupchat' id='n'>{BODY % 'yes'}</message>"
                self.assertEqual(len(texts(self.server.ask(said), UPPER)), 1)

    def test_rejoins(self) -> None:
        """A user's client joins once more after a kill: it is let in at once."""
        self.restart(isKilled=True)
        self.server.ask(self.openfire.confirmsLeft() + self.openfire.answer(["ann"]))
        found = self.server.ask(f"<presence from='{BOB}' to='{HERE}/bob'>{MUC}</presence>")
        self.assertIn('code="110"', "".join(texts(found, BOB)))


class JoiningTests(RestartCase):
    """An Openfire room that has joined a room of the gateway."""

    component, tables = "rooms.localhost", ROOMS

    def setUp(self) -> None:
        super().setUp()
        self.openfire = Openfire(THERE, ROOM, True, dict(THEIRS))
        self.server.ask(f"<presence from='{ANN}' to='{ROOM}/ann'>{MUC}</presence>")
        form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'/></query>"
        self.server.ask(f"<iq from='{ANN}' to='{ROOM}' type='set' id='c'>{form}</iq>")
        self.server.ask(f"<presence from='{TOM}' to='{ROOM}/tom'>{MUC}</presence>")
        self.server.ask(self.openfire.joined("bob") + self.openfire.joined("carol"))

    def test_restarted(self) -> None:
        """
        After a stop or a kill, Openfire's room is told nothing, and has to do nothing: its users are still
        occupants. The gateway still knows that it is Openfire: a banned user is refused in the right form.
        """
        for isKilled in (False, True):
            with self.subTest(isKilled=isKilled):
                self.setUp()
                last, first = self.restart(isKilled)
                self.assertEqual(texts(last, THERE) + texts(first, THERE), [])
                found = self.server.ask(self.openfire.said("bob", "g5", BODY % "anybody up there"))
                self.assertEqual((len(texts(found, ANN)), texts(found, THERE)), (1, []))
                ban = f"<query xmlns='{ns.MUC_ADMIN}'><item jid='dave@localhost' affiliation='outcast'/></query>"
                self.server.ask(f"<iq from='{ANN}' to='{ROOM}' type='set' id='b'>{ban}</iq>")
                [refusal] = self.server.ask(self.openfire.announced("dave"))
                self.assertEqual((refusal.get("type"), refusal.get("from")), ("unavailable", f"{ROOM}/dave"))
                # A user leaves and joins again.
                found = self.server.ask(self.openfire.left("bob") + self.openfire.joined("bob"))
                self.assertEqual(texts(found, THERE), [])
                found = self.server.ask(self.openfire.said("bob", "g6", BODY % "here again"))
                self.assertEqual(len(texts(found, ANN)), 1)
