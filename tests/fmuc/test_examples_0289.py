"""
Every example of XEP-0289 (0.2.1), in its order; stanzas are compared completely.

The rooms of the examples are non-anonymous: each item has the real JID. Their delays are C{<x/>} elements without
hyphens and zone. XEP-0203 demands C{<delay/>} and XEP-0082 the other format, so the gateway writes that and reads
both.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway import ns
from gateway.fmuc.values import Dialect
from gateway.muc.values import Delay, Payload, RoomMessage
from tests.fmuc.support import RoomCase, Service, mirror, rooms

# The joining node: a mirror can have no other name for rabbithole. XEP-0289 section 3: "It is possible, although
# not required, [...] to use XEP-0106".
ELSINORE = r"rabbithole\40rooms.wonderland.lit@talk.denmark.lit"
RABBITHOLE = "rabbithole@rooms.wonderland.lit"
HAMLET = "hamlet@denmark.lit/priam-ubuntu-vm"
ALICE = "alice@wonderland.lit/priam-ubuntu-vm"
HATTER = "hatter@wonderland.lit/priam-ubuntu-vm"
MUC_X = "<x xmlns='http://jabber.org/protocol/muc'/>"
STATUS_110 = "<status code='110'/>"
STATUS_100 = "<status code='100'/>"


def fmuc(real: str) -> str:
    """Return the C{fmuc} element."""
    return f"<fmuc xmlns='http://isode.com/protocol/fmuc' from='{real}'/>"


def item(affiliation: str, role: str, jid: str, extra: str = "") -> str:
    """Return the C{muc#user} element of an occupant."""
    return (
        "<x xmlns='http://jabber.org/protocol/muc#user'>"
        f"<item affiliation='{affiliation}' role='{role}' jid='{jid}'/>{extra}</x>"
    )


def delayed(stamp: str) -> str:
    """Return a delay by XEP-0203."""
    return f"<delay xmlns='urn:xmpp:delay' from='{RABBITHOLE}' stamp='{stamp}'/>"


def asInTheXep(stamp: str) -> str:
    """Return a delay as in the examples."""
    return f"<x xmlns='urn:xmpp:delay' from='{RABBITHOLE}' stamp='{stamp}'/>"


# Example 1: User joins FMUC node.
JOIN = f"<presence from='{HAMLET}' to='{ELSINORE}/Hamlet'>{MUC_X}</presence>"
# Example 2: FMUC Node initiates federation.
FEDERATE = (
    f"<presence from='{ELSINORE}/Hamlet' to='{RABBITHOLE}/Hamlet'>{fmuc(HAMLET)}{MUC_X}"
    f"{item('none', 'participant', HAMLET)}</presence>"
)
# Example 3: Second FMUC Node rejects federation.
REJECT = (
    f"<presence from='{RABBITHOLE}' to='{ELSINORE}'><fmuc xmlns='http://isode.com/protocol/fmuc'>"
    "<reject>No cross-domain federation.</reject></fmuc></presence>"
)
# Example 4: Second FMUC Node accepts federation and sends occupants and history.
ALICE_UP = (
    f"<presence from='{RABBITHOLE}/Alice' to='{ELSINORE}'>{fmuc(ALICE)}"
    f"{item('owner', 'moderator', ALICE)}</presence>"
)
HAMLET_UP = (
    f"<presence from='{RABBITHOLE}/Hamlet' to='{ELSINORE}'>{fmuc(HAMLET)}"
    f"{item('none', 'participant', HAMLET)}</presence>"
)


def context(delay: Callable[[str], str]) -> list[str]:
    """
    Its history and subject.

    In the example, the subject's sender is Alice with the hatter's JID, and the hatter in example 5. By the text, a
    subject comes from the user who set it, so it is the hatter.
    """
    said = (
        ("Alice", ALICE, "<body>This is an old message from the history</body>"),
        ("Hatter", HATTER, "<body>This is another old message from the history</body>"),
        ("Hatter", HATTER, "<subject>This is the subject</subject>"),
    )
    return [
        f"<message from='{RABBITHOLE}/{nick}' to='{ELSINORE}' type='groupchat'>{fmuc(real)}{words}"
        f"{delay(stamp)}</message>"
        for (nick, real, words), stamp in zip(said, STAMPS, strict=True)
    ]


STAMPS = ["2012-04-19T16:00:44Z", "2012-05-01T10:03:24Z", "2012-05-28T14:39:34Z"]
ODD_STAMPS = ["20120419T16:00:44", "20120501T10:03:24", "20120528T14:39:34"]
ACCEPTED = ALICE_UP + HAMLET_UP + "".join(context(delayed))
ACCEPTED_AS_IN_THE_XEP = ALICE_UP + HAMLET_UP
for _message, _stamp, _odd in zip(context(asInTheXep), STAMPS, ODD_STAMPS, strict=True):
    ACCEPTED_AS_IN_THE_XEP += _message.replace(_stamp, _odd)


class XepCase(RoomCase):
    """The two rooms, in primary-primary mode."""

    def setUp(self) -> None:
        self.elsinore = mirror("talk.denmark.lit", Dialect.XEP_0289, replica=False)
        self.rabbithole = rooms("rooms.wonderland.lit", "talk.denmark.lit")

    def wonderland(self) -> Service:
        """Return Alice's room; the hatter has left a message and the subject."""
        self.rabbithole.take(f"<presence from='{ALICE}' to='{RABBITHOLE}/Alice'>{MUC_X}</presence>")
        room = self.rabbithole.rooms.rooms[RABBITHOLE]
        room.settings.nonAnonymous = room.occupants["Alice"].nonAnonymous = True
        for nick, real, words, stamp in (
            ("Alice", ALICE, "<body>This is an old message from the history</body>", 1334851244.0),
            ("Hatter", HATTER, "<body>This is another old message from the history</body>", 1335866604.0),
        ):
            delay = Delay(RABBITHOLE, stamp)
            room.history.add(RoomMessage(nick=nick, realJid=real, payload=Payload(words.encode()), delay=delay))
        room.subject = RoomMessage(
            nick="Hatter",
            realJid=HATTER,
            payload=Payload(b"<subject>This is the subject</subject>"),
            subject=True,
            delay=Delay(RABBITHOLE, 1338215974.0),
        )
        return self.rabbithole

    def federated(self) -> None:
        """Bring both rooms into the state after example 5."""
        self.elsinore.take(JOIN)
        self.elsinore.take(ACCEPTED)
        self.wonderland().take(FEDERATE)


class InitialFederationTests(XepCase):
    """Section 6.1."""

    def test_example1and2(self) -> None:
        """Example 1 causes example 2."""
        self.assertSent(self.elsinore.take(JOIN), FEDERATE)

    def test_example3(self) -> None:
        """A node that may not federate gets example 3, with our text."""
        closed = rooms("rooms.wonderland.lit")
        words = "The room does not federate with this mirror of it."
        self.assertSent(closed.take(FEDERATE), REJECT.replace("No cross-domain federation.", words))

    def test_rejected(self) -> None:
        """The user gets the explanation of example 3, in an error by XEP-0045."""
        self.elsinore.take(JOIN)
        self.assertSent(
            self.elsinore.take(REJECT),
            f"<presence from='{ELSINORE}/Hamlet' to='{HAMLET}' type='error'>{MUC_X}<error type='cancel'>"
            f"<not-allowed xmlns='{ns.STANZA_ERRORS}'/><text xmlns='{ns.STANZA_ERRORS}'>No cross-domain federation."
            "</text></error></presence>",
        )

    def test_example4(self) -> None:
        """Example 2 causes example 4: occupants including the joiner, history, subject."""
        sent = self.wonderland().take(FEDERATE)
        news = f"<presence from='{RABBITHOLE}/Hamlet' to='{ALICE}'>{item('none', 'participant', HAMLET)}</presence>"
        self.assertSent(sent, ALICE_UP, HAMLET_UP, *context(delayed), news)

    def test_example5(self) -> None:
        """
        Example 4 causes example 5: no fmuc payload, and codes 100 and 110 in the own presence, as in example 9. The
        example's delays are by rabbithole; XEP-0045 demands "the JID of the room itself", which is elsinore for
        Hamlet.
        """
        for accepted in (ACCEPTED, ACCEPTED_AS_IN_THE_XEP):
            self.setUp()
            self.elsinore.take(JOIN)
            own = item("none", "participant", HAMLET, STATUS_100 + STATUS_110)
            alice = item("owner", "moderator", ALICE)
            expected = [
                message.replace(f"to='{ELSINORE}'", f"to='{HAMLET}'").replace(
                    f"from='{RABBITHOLE}", f"from='{ELSINORE}"
                )
                for message in context(delayed)
            ]
            self.assertSent(
                self.elsinore.take(accepted),
                f"<presence from='{ELSINORE}/Alice' to='{HAMLET}'>{alice}</presence>",
                f"<presence from='{ELSINORE}/Hamlet' to='{HAMLET}'>{own}</presence>",
                *(each.replace(fmuc(ALICE), "").replace(fmuc(HATTER), "") for each in expected),
            )


class SendingMessagesTests(XepCase):
    """Section 6.2."""

    def test_example6(self) -> None:
        """One message to the own node, one to the other node, which "does not echo the message back"."""
        self.federated()
        body = "<body>Hi Alice</body>"
        up = f"<message from='{ELSINORE}/Hamlet' to='{RABBITHOLE}' type='groupchat'>{body}{fmuc(HAMLET)}</message>"
        self.assertSent(
            self.elsinore.take(f"<message from='{HAMLET}' to='{ELSINORE}' type='groupchat'>{body}</message>"),
            f"<message from='{ELSINORE}/Hamlet' to='{HAMLET}' type='groupchat'>{body}</message>",
            up,
        )
        self.assertSent(
            self.rabbithole.take(up),
            f"<message from='{RABBITHOLE}/Hamlet' to='{ALICE}' type='groupchat'>{body}</message>",
        )

    def test_example7(self) -> None:
        """The reply, "causing a similar distribution"."""
        self.federated()
        body = "<body>Hi Hamlet</body>"
        down = f"<message from='{RABBITHOLE}/Alice' to='{ELSINORE}' type='groupchat'>{body}{fmuc(ALICE)}</message>"
        self.assertSent(
            self.rabbithole.take(f"<message from='{ALICE}' to='{RABBITHOLE}' type='groupchat'>{body}</message>"),
            f"<message from='{RABBITHOLE}/Alice' to='{ALICE}' type='groupchat'>{body}</message>",
            down,
        )
        self.assertSent(
            self.elsinore.take(down),
            f"<message from='{ELSINORE}/Alice' to='{HAMLET}' type='groupchat'>{body}</message>",
        )


class SubsequentActivityTests(XepCase):
    """Sections 6.3 and 6.4."""

    hatterUp = (
        f"<presence from='{RABBITHOLE}/Hatter' to='{ELSINORE}'>{fmuc(HATTER)}"
        f"{item('none', 'participant', HATTER)}</presence>"
    )
    hatterGone = (
        f"<presence from='{RABBITHOLE}/Hatter' to='{ELSINORE}' type='unavailable'>{item('none', 'none', HATTER)}"
        f"{fmuc(HATTER)}</presence>"
    )

    def enter(self) -> bytes:
        return self.rabbithole.take(f"<presence from='{HATTER}' to='{RABBITHOLE}/Hatter'>{MUC_X}</presence>")

    def test_example8(self) -> None:
        """
        Another user joins, without history, as in the example.

        The example writes to elsinore/Hatter, which does not exist there; elsewhere a node is written to "from its
        bare JID to the bare JID". Both are read.
        """
        self.federated()
        self.rabbithole.rooms.rooms[RABBITHOLE].history.clear()
        hatter = item("none", "participant", HATTER)
        subject = f"<subject>This is the subject</subject>{delayed(STAMPS[2])}"
        self.assertSent(
            self.enter(),
            f"<presence from='{RABBITHOLE}/Hatter' to='{ALICE}'>{hatter}</presence>",
            f"<presence from='{RABBITHOLE}/Alice' to='{HATTER}'>{item('owner', 'moderator', ALICE)}</presence>",
            f"<presence from='{RABBITHOLE}/Hamlet' to='{HATTER}'>{item('none', 'participant', HAMLET)}</presence>",
            f"<presence from='{RABBITHOLE}/Hatter' to='{HATTER}'>"
            f"{item('none', 'participant', HATTER, STATUS_100 + STATUS_110)}</presence>",
            f"<message from='{RABBITHOLE}/Hatter' to='{HATTER}' type='groupchat'>{subject}</message>",
            self.hatterUp,
        )

    def test_example8here(self) -> None:
        """The same at the joining node."""
        for recipient in (ELSINORE, f"{ELSINORE}/Hatter"):
            self.setUp()
            self.federated()
            hatter = item("none", "participant", HATTER)
            self.assertSent(
                self.elsinore.take(self.hatterUp.replace(f"to='{ELSINORE}'", f"to='{recipient}'")),
                f"<presence from='{ELSINORE}/Hatter' to='{HAMLET}'>{hatter}</presence>",
            )

    def test_example9(self) -> None:
        """A user leaves; the example writes to elsinore/Hamlet, who is not concerned."""
        self.federated()
        self.enter()
        gone = item("none", "none", HATTER)
        self.assertSent(
            self.rabbithole.take(f"<presence from='{HATTER}' type='unavailable' to='{RABBITHOLE}/Hatter'/>"),
            f"<presence from='{RABBITHOLE}/Hatter' type='unavailable' to='{HATTER}'>"
            f"{item('none', 'none', HATTER, STATUS_110)}</presence>",
            f"<presence from='{RABBITHOLE}/Hatter' type='unavailable' to='{ALICE}'>{gone}</presence>",
            self.hatterGone,
        )
        for recipient in (ELSINORE, f"{ELSINORE}/Hamlet"):
            self.setUp()
            self.federated()
            self.elsinore.take(self.hatterUp)
            self.assertSent(
                self.elsinore.take(self.hatterGone.replace(f"to='{ELSINORE}'", f"to='{recipient}'")),
                f"<presence from='{ELSINORE}/Hatter' type='unavailable' to='{HAMLET}'>{gone}</presence>",
            )

    def test_example10(self) -> None:
        """ "The joined room confirms that the joining room has left the set", and sends nothing more."""
        self.federated()
        left = (
            f"<presence from='{RABBITHOLE}' to='{ELSINORE}'><fmuc xmlns='http://isode.com/protocol/fmuc'><left/></fmuc>"
            "</presence>"
        )
        leave = (
            f"<presence from='{ELSINORE}/Hamlet' to='{RABBITHOLE}/Hamlet' type='unavailable'>{fmuc(HAMLET)}"
            f"{item('none', 'none', HAMLET)}</presence>"
        )
        self.assertSent(
            self.elsinore.take(f"<presence from='{HAMLET}' to='{ELSINORE}/Hamlet' type='unavailable'/>"),
            f"<presence from='{ELSINORE}/Hamlet' to='{HAMLET}' type='unavailable'>"
            f"{item('none', 'none', HAMLET, STATUS_110)}</presence>",
            leave,
        )
        gone = item("none", "none", HAMLET)
        self.assertSent(
            self.rabbithole.take(leave),
            f"<presence from='{RABBITHOLE}/Hamlet' to='{ALICE}' type='unavailable'>{gone}</presence>",
            left,
        )
        self.assertSent(self.elsinore.take(left))
        body = "<body>Nobody there?</body>"
        self.assertSent(
            self.rabbithole.take(f"<message from='{ALICE}' to='{RABBITHOLE}' type='groupchat'>{body}</message>"),
            f"<message from='{RABBITHOLE}/Alice' to='{ALICE}' type='groupchat'>{body}</message>",
        )
        self.assertEqual(self.elsinore.rooms.rooms, {})


class PrivateMessagesTests(XepCase):
    """Section 6.6."""

    def test_example11(self) -> None:
        """
        "each node that receives it is responsible for routing it". The user's resource is the same in all stanzas;
        the example spells it in two ways. XEP-0045 section 7.5 adds the C{<x/>}.
        """
        self.federated()
        body = "<body>Hi, I want to say something in private</body>"
        up = f"<message to='{RABBITHOLE}/Alice' from='{ELSINORE}/Hamlet' type='chat'>{fmuc(HAMLET)}{body}</message>"
        mark = f"<x xmlns='{ns.MUC_USER}'/>"
        self.assertSent(
            self.elsinore.take(f"<message to='{ELSINORE}/Alice' from='{HAMLET}' type='chat'>{body}</message>"), up
        )
        self.assertSent(
            self.rabbithole.take(up),
            f"<message to='{ALICE}' from='{RABBITHOLE}/Hamlet' type='chat'>{body}{mark}</message>",
        )
