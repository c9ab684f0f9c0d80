"""Errors for messages that a channel has delivered, and for private messages, cross by the channel as well."""

from __future__ import annotations

from gateway import ns
from gateway.errors import StoreFull
from gateway.fmuc.values import Mode
from tests.fmuc.linked import ANN, DOWN, HERE, OWN, ROOM, TOP
from tests.fmuc.support import canonical
from tests.fmuc.test_linked import EPOCH, LinkedCase

_ERROR = (
    "<error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
    "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>{}</text></error>"
)


class RefusalTests(LinkedCase):
    """Rule 3 of docs/fmuc-resync.md."""

    def refuse(self) -> None:
        """The room cannot store a message of the mirror, and refuses it."""
        store = self.link.top.store
        store.isHeld = True
        self.link.say(ANN, HERE, "x")
        store.fault = StoreFull()
        self.link.crossed.clear()
        self.link.wait(15)
        store.fault, store.isHeld = None, False
        store.commit()

    def test_lost(self) -> None:
        """A refusal that is lost is sent again."""
        self.link.isLost = lambda sender, text: sender == TOP and "error" in text
        self.refuse()
        self.link.wait(5)
        self.assertEqual(self.link.errors(ANN), [])
        self.link.mend()
        self.link.wait(60)
        self.assertEqual(self.link.errors(ANN), ["resource-constraint"])
        self.link.say(OWN, ROOM, "y")
        self.assertEqual(self.link.heard(OWN), ["y"])
        self.assertEqual(self.link.heard(ANN)[-1], "y")

    def test_killed(self) -> None:
        """A refusal is kept until it is acknowledged, also by a process that is killed."""
        self.link.isLost = lambda sender, text: sender == TOP
        self.refuse()
        self.link.wait(5)
        self.link.mend()
        self.link.kill(self.link.top)
        self.link.wait(60)
        self.assertEqual(self.link.errors(ANN), ["resource-constraint"])

    def test_header(self) -> None:
        """The header of an error has a name of its own: servers return that of what they cannot deliver."""
        self.refuse()
        self.link.wait(5)
        [error] = [text for _, text in self.link.crossed if "resource-constraint" in text]
        header = f"<f xmlns='{ns.CHANNEL}' n='{EPOCH} {self.number()} {self.received()}'/>"
        words = "The storage is busy; try again later."
        inside = _ERROR.format(words) + header
        expected = f"<message type='error' id='x' from='{ROOM}' to='{HERE}/ann'>{inside}</message>"
        self.assertEqual(canonical(error), canonical(expected))

    def number(self) -> int:
        """Return the number of the last stanza that the room has sent."""
        return self.link.channel(TOP)._outbox.assigned

    def received(self) -> int:
        """Return the number of the last stanza that the room has received."""
        return self.link.channel(TOP)._storedReceived

    def test_private(self) -> None:
        """XEP-0045 section 7.5: the error of a private message reaches its sender; what follows crosses, too."""
        for sender, there, user, room in ((OWN, ROOM, ANN, HERE), (ANN, HERE, OWN, ROOM)):
            to, back = sender.partition("@")[0], user.partition("@")[0]
            message = f"<message type='chat' id='p' from='{sender}' to='{there}/{back}'><body>p</body></message>"
            self.link.send(there.rpartition("@")[2], message)
            self.assertEqual(self.link.heard(user)[-1], "p")
            error = f"<error type='modify'><policy-violation xmlns='{ns.STANZA_ERRORS}'/></error>"
            message = f"<message type='error' id='p' from='{user}' to='{room}/{to}'>{error}</message>"
            self.link.send(room.rpartition("@")[2], message)
            self.assertEqual(self.link.errors(sender), ["policy-violation"])
            self.link.say(user, room, f"after {user}")
            self.link.wait(5)
            self.assertEqual(self.link.heard(sender)[-1], f"after {user}")
            for domain in (TOP, DOWN):
                self.assertEqual(len(self.link.channel(domain)), 0)


class RefusalReplicaTests(RefusalTests):
    """The same in replica mode."""

    mode = Mode.REPLICA


del LinkedCase
