"""Every example of the ProtoXEP 0.0.1, in its order; stanzas are compared completely."""

from __future__ import annotations

from gateway import ns
from gateway.fmuc.values import Dialect
from tests.fmuc.support import RoomCase, canonical, mirror, rooms

MASTER = "jabberchat@talk.example.com"
SLAVE = r"jabberchat\40talk.example.com@mirror.remote.example.com"
KEV = "kev@remote.example.com/Swift"
CURTIS = "curtis@example.com/Swift"
MUC_X = "<x xmlns='http://jabber.org/protocol/muc'/>"
BODY = "<body>[[Unclassified]] It's getting warm in here.</body>"
NOMIRROR = "<nomirror xmlns='http://isode.com/protocol/fmuc'/>"


def item(affiliation: str, role: str, extra: str = "", jid: str = "") -> str:
    """Return the C{muc#user} element of an occupant."""
    given = f" jid='{jid}'" if jid else ""
    return (
        f"<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='{affiliation}' role='{role}'{given}/>"
        f"{extra}</x>"
    )


# Example 1: User joins MUC through a proxy.
JOIN = f"<presence from='{KEV}' to='{SLAVE}/Kev'>{MUC_X}</presence>"
# Example 2: Proxy service joins the target MUC.
JOIN_UP = (
    f"<presence from='{SLAVE}' to='{MASTER}/Kev'>"
    f"<fmuc xmlns='http://isode.com/protocol/fmuc' from='{KEV}'/></presence>"
)
# Example 3: MUC confirms room join.
CONFIRM = f"<presence from='{MASTER}/Kev' to='{SLAVE}'>{item('none', 'participant')}</presence>"
# XEP-0045 section 7.2.15: the subject follows, even an empty one.
SUBJECT = f"<message from='{MASTER}' to='{SLAVE}' type='groupchat'><subject/></message>"
SUBJECT_DOWN = f"<message from='{SLAVE}' to='{KEV}' type='groupchat'><subject/></message>"
# Example 7: User joins the master MUC directly.
DIRECT = f"<presence from='{CURTIS}' to='{MASTER}/Curtis'>{MUC_X}</presence>"
# Example 10: User leaves the proxy room; 11: Proxy sends part to the MUC.
LEAVE = f"<presence from='{KEV}' to='{SLAVE}/Kev' type='unavailable'/>"
LEAVE_UP = f"<presence from='{SLAVE}' to='{MASTER}/Kev' type='unavailable'/>"
# Example 14: Proxy user sends a message to the room; 15: Proxy sends the message to the MUC.
SAY = f"<message from='{KEV}' to='{SLAVE}' type='groupchat'>{BODY}</message>"
SAY_UP = f"<message from='{SLAVE}/Kev' to='{MASTER}' type='groupchat'>{BODY}</message>"
# Example 17: Proxy sends the message to the proxied users.
SAY_DOWN = f"<message from='{SLAVE}/Kev' to='{KEV}' type='groupchat'>{BODY}</message>"


class SeedCase(RoomCase):
    """The mirror, and the room that it mirrors."""

    replica = True

    def setUp(self) -> None:
        self.mirror = mirror("mirror.remote.example.com", Dialect.PROTOXEP, self.replica)
        self.master = rooms("talk.example.com", "mirror.remote.example.com")

    def makeRoomOfCurtis(self) -> None:
        """The room exists and is owned by Curtis, but it has no occupants."""
        self.master.take(DIRECT)
        self.master.rooms.rooms[MASTER].settings.persistent = True
        self.master.take(f"<presence from='{CURTIS}' to='{MASTER}/Curtis' type='unavailable'/>")

    def joinKev(self) -> None:
        """Kev has joined through the mirror."""
        self.mirror.take(JOIN)
        self.mirror.take(CONFIRM + SUBJECT)

    def joinBoth(self) -> None:
        """Curtis, who is the owner, has joined directly; then Kev through the mirror."""
        self.master.take(DIRECT)
        self.master.take(JOIN_UP)


class JoiningTests(SeedCase):
    """Section "Joining"."""

    def test_example1and2(self) -> None:
        """Example 1 causes example 2, and nothing for the user yet."""
        self.assertSent(self.mirror.take(JOIN), JOIN_UP)

    def test_example3(self) -> None:
        """Example 2 causes example 3, then the subject, as for any occupant (XEP-0045 section 7.2.15)."""
        self.master.take(DIRECT)
        sent = self.master.take(JOIN_UP)
        curtis = f"<presence from='{MASTER}/Curtis' to='{SLAVE}'>{item('owner', 'moderator')}</presence>"
        # A moderator sees real JIDs (XEP-0045 section 7.2.4).
        news = f"<presence from='{MASTER}/Kev' to='{CURTIS}'>{item('none', 'participant', jid=KEV)}</presence>"
        self.assertSent(sent, curtis, CONFIRM, SUBJECT, news)

    def test_example4(self) -> None:
        """
        Example 3 causes example 4; the status codes, which the ProtoXEP omits there, are by XEP-0045, and the
        subject follows.
        """
        self.mirror.take(JOIN)
        self.assertSent(self.mirror.take(CONFIRM))
        self.assertSent(
            self.mirror.take(SUBJECT),
            f"<presence from='{SLAVE}/Kev' to='{KEV}'>{item('none', 'participant', STATUS_110)}</presence>",
            SUBJECT_DOWN,
        )

    def test_example5(self) -> None:
        """A join that the ACL does not allow is answered by example 5, to the full JID."""
        self.makeRoomOfCurtis()
        self.master.take(DIRECT)
        self.master.rooms.rooms[MASTER].settings.membersOnly = True
        self.assertSent(self.master.take(JOIN_UP), REJECT)

    def test_example6(self) -> None:
        """
        Example 5 causes example 6: "The proxy then delivers this to the user". In the example the error comes from
        the room; by XEP-0045 section 7.2.6 it comes from the occupant's address that was written to, which applies
        for users.
        """
        self.mirror.take(JOIN)
        self.assertSent(
            self.mirror.take(REJECT),
            REJECT.replace(MASTER, f"{SLAVE}/Kev").replace(f"to='{SLAVE}/Kev'", f"to='{KEV}'"),
        )

    def test_example7and8(self) -> None:
        """Example 7 causes example 8: one copy to the mirror, as for any occupant."""
        self.makeRoomOfCurtis()
        self.master.take(JOIN_UP)
        self.assertSent(
            self.master.take(DIRECT),
            f"<presence from='{MASTER}/Kev' to='{CURTIS}'>{item('none', 'participant', jid=KEV)}</presence>",
            f"<presence from='{MASTER}/Curtis' to='{CURTIS}'>{item('owner', 'moderator', STATUS_110)}</presence>",
            f"<message from='{MASTER}' to='{CURTIS}' type='groupchat'><subject/></message>",
            # The example shows an admin here, who is an owner in its other two stanzas: a mistake.
            f"<presence from='{MASTER}/Curtis' to='{SLAVE}'>{item('owner', 'moderator')}</presence>",
        )

    def test_example9(self) -> None:
        """Example 8 causes example 9."""
        self.joinKev()
        self.assertSent(
            self.mirror.take(
                f"<presence from='{MASTER}/Curtis' to='{SLAVE}'>{item('owner', 'moderator')}</presence>"
            ),
            f"<presence from='{SLAVE}/Curtis' to='{KEV}'>{item('owner', 'moderator')}</presence>",
        )


STATUS_110 = "<status code='110'/>"
# Example 5: Master rejects joins.
REJECT = (
    f"<presence from='{MASTER}' to='{SLAVE}/Kev' type='error'>{MUC_X}<error type='auth'>"
    f"<registration-required xmlns='{ns.STANZA_ERRORS}'/></error></presence>"
)


class PartingTests(SeedCase):
    """Section "Parting"."""

    def test_example10and11(self) -> None:
        """Example 10 causes example 11, and example 13 at once: a user who leaves need not wait for the link."""
        self.joinKev()
        self.assertSent(self.mirror.take(LEAVE), LEAVE_UP, GONE_DOWN)

    def test_example12(self) -> None:
        """Example 11 causes example 12; a moderator sees the JID of the user."""
        self.joinBoth()
        self.assertSent(
            self.master.take(LEAVE_UP),
            GONE,
            f"<presence from='{MASTER}/Kev' to='{CURTIS}' type='unavailable'>"
            f"{item('none', 'none', jid=KEV)}</presence>",
        )

    def test_example13(self) -> None:
        """After example 13, example 12 is not forwarded; otherwise the user would get it twice."""
        self.joinKev()
        self.mirror.take(LEAVE)
        self.assertSent(self.mirror.take(GONE))

    def test_noTraffic(self) -> None:
        """ "as long as no users of the proxy are in the room, it is causing no traffic on the s2s link"."""
        self.joinBoth()
        self.master.take(LEAVE_UP)
        said = self.master.take(f"<message from='{CURTIS}' to='{MASTER}' type='groupchat'>{BODY}</message>")
        self.assertSent(said, f"<message from='{MASTER}/Curtis' to='{CURTIS}' type='groupchat'>{BODY}</message>")


# Example 12, to the mirror; example 13: Proxy sends part to local users.
GONE = f"<presence from='{MASTER}/Kev' to='{SLAVE}' type='unavailable'>{item('none', 'none')}</presence>"
GONE_DOWN = (
    f"<presence from='{SLAVE}/Kev' to='{KEV}' type='unavailable'>{item('none', 'none', STATUS_110)}</presence>"
)


class NormalUseTests(SeedCase):
    """Section "Sending a Message to All Occupants", "Normal use"."""

    def test_example14and15(self) -> None:
        """Example 14 causes example 15; it "MUST NOT fan out this message to local users" yet."""
        self.joinKev()
        self.assertSent(self.mirror.take(SAY), SAY_UP)

    def test_example16(self) -> None:
        """
        Example 15 causes example 16. In the example both copies come from the room itself, which XEP-0045 section
        7.4 does not know; the section's last example has the occupant's address, as here.
        """
        self.joinBoth()
        self.assertSent(
            self.master.take(SAY_UP),
            f"<message from='{MASTER}/Kev' to='{SLAVE}' type='groupchat'>{BODY}</message>",
            f"<message from='{MASTER}/Kev' to='{CURTIS}' type='groupchat'>{BODY}</message>",
        )

    def test_example17(self) -> None:
        """Example 16 causes example 17."""
        self.joinKev()
        self.mirror.take(SAY)
        copy = f"<message from='{MASTER}/Kev' to='{SLAVE}' type='groupchat'>{BODY}</message>"
        self.assertSent(self.mirror.take(copy), SAY_DOWN)


class FireAndForgetTests(SeedCase):
    """Section "Fire and Forget"."""

    replica = False

    def test_example18to20(self) -> None:
        """Example 18, which equals 14, causes example 19, with nomirror, and example 20 at once."""
        self.joinKev()
        up = SAY_UP.replace("</message>", f"{NOMIRROR}</message>")
        self.assertSent(self.mirror.take(SAY), up, SAY_DOWN)

    def test_example21(self) -> None:
        """Example 19 causes example 21: the others get it, and nothing is sent "back to the proxy"."""
        self.joinBoth()
        self.assertSent(
            self.master.take(SAY_UP.replace("</message>", f"{NOMIRROR}</message>")),
            f"<message from='{MASTER}/Kev' to='{CURTIS}' type='groupchat'>{BODY}</message>",
        )


class BusinessRulesTests(SeedCase):
    """Section "Business Rules"."""

    def test_nickIsNotModified(self) -> None:
        """ "the MUC MUST NOT modify the nick [...] the join must instead fail"."""
        self.makeRoomOfCurtis()
        self.master.take(DIRECT)
        [sent] = canonical(self.master.take(JOIN_UP.replace("/Kev'", "/Curtis'")))
        self.assertIn('type="error"', sent)
        self.assertIn("conflict", sent)
        self.assertIn(f'to="{SLAVE}/Curtis"', sent)

    def test_nickIsNotChanged(self) -> None:
        """ "If a user attempts to change their nick, the proxy MUST return a <not-acceptable/> error"."""
        self.joinKev()
        sent = canonical(self.mirror.take(f"<presence from='{KEV}' to='{SLAVE}/Kevin' id='n'/>"))
        self.assertEqual(len(sent), 1)
        self.assertIn("not-acceptable", sent[0])
        self.assertIn(f'to="{KEV}"', sent[0])
