"""Random stanzas to rooms that are restarted again and again, beside rooms that never are."""

from __future__ import annotations

from itertools import count
from random import Random

from gateway import ns
from gateway.muc.room import Bounds
from tests.fmuc.durable import ROOM, DurableCase, served, stateOf
from tests.fmuc.support import MUC
from tests.fmuc.test_configured import submitted
from tests.fmuc.test_restart import administered, asked, join, left, mirrored, said

USERS = [f"{name}@a.example/{resource}" for name in ("ann", "ben", "col", "dan") for resource in ("1", "2")]
NICKS = ["ann", "ben", "col", "dan", "été"]
# Of what happens in the run, so that the test covers it.
SIGNS = ("104", "110", "172", "201", "301", "303", "307", "322", "333", "destroy", "node.example")
AFFILIATIONS = ["owner", "admin", "member", "none", "outcast"]


def anything(random: Random) -> str:
    """Return a stanza."""
    user, nick = random.choice(USERS), random.choice(NICKS)
    bare = user.partition("/")[0]
    number = random.randrange(1_000_000)
    away = f"<show>{random.choice(['away', 'dnd'])}</show><status>{number} &lt; &#xe9;</status>"
    option = random.choice(["moderatedroom", "membersonly", "persistentroom", "changesubject"])
    register = f"<query xmlns='{ns.REGISTER}'><remove/></query>"
    form = f"<field var='FORM_TYPE'><value>{ns.MUC_REGISTER}</value></field>"
    form += f"<field var='muc#register_roomnick'><value>{nick}</value></field>"
    asks = f"<query xmlns='{ns.REGISTER}'><x xmlns='jabber:x:data' type='submit'>{form}</x></query>"
    card = f"<vCard xmlns='{ns.VCARD}'><FN>{number}</FN></vCard>"
    whois = submitted(whois=random.choice(["anyone", "moderators"]))
    affiliation, role = random.choice(AFFILIATIONS), random.choice(["none", "visitor", "participant", "moderator"])
    gone = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
    invite = f"<x xmlns='{ns.MUC_USER}'><invite to='{random.choice(USERS)}'/></x>"
    # Of whom most requests are granted.
    chief = random.choice([USERS[0], USERS[0], user])
    # The user's own nick, more often than another one.
    own = bare.partition("@")[0]
    choices = [
        *(join(user, own, MUC + away), join(user, own), join(user, own), join(user, own), join(user, nick)),
        *(said(user, f"t{number} &amp; é", number), said(user, "x", number), said(user, "y" * 50, number)),
        f"<message type='groupchat' from='{user}' to='{ROOM}'><subject>{number}</subject></message>",
        left(user, nick),
        f"<presence from='{user}' to='{ROOM}/{own}'>{away}</presence>",
        f"<presence from='{user}' to='{ROOM}/{nick}'/>",
        *(asked(user, payload) for payload in (asks, register)),
        *(asked(chief, payload) for payload in (card, whois)),
        asked(chief, submitted(**{option: random.choice(["0", "1"])})),
        asked(chief, administered(f"<item nick='{nick}' role='{role}'/>")),
        asked(chief, administered(f"<item jid='{random.choice(USERS[2:])}' affiliation='{affiliation}'/>")),
        asked(chief, administered(f"<item jid='{bare}' nick='{nick}' affiliation='member'/>")),
        f"<message type='error' from='{user}' to='{ROOM}'>{gone}</message>",
        f"<message from='{user}' to='{ROOM}'>{invite}</message>",
        *(mirrored(act, own) for act in ("join", "join", "message", "leave")),
    ]
    if not random.randrange(150):
        choices = [asked(chief, f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>")]
    return random.choice(choices)


class RandomTests(DurableCase):
    """Restarts change nothing."""

    bounds = Bounds(messages=7, bytes=600)
    archived = Bounds(messages=7, bytes=600, archived=20)

    def test_random(self) -> None:
        """The output and the state are those of rooms that were not restarted."""
        met: set[str] = set()
        for seed in range(8):
            random = Random(seed)
            self.bounds = (RandomTests.bounds, self.archived)[seed % 2]
            self.setUp()
            twin, other = served(None, self.bounds, count())
            self.addCleanup(other.stop)
            for step in range(250):
                stanza = anything(random)
                with self.subTest(seed=seed, step=step, stanza=stanza):
                    other.send(stanza)
                    sent = self.take(stanza)
                    self.assertEqual(sorted(sent), sorted(other.taken()))
                    met.update(found for found in SIGNS if found in "".join(sent))
                    if not random.randrange(5):
                        self.kill()
                        self.assertEqual(stateOf(self.rooms), stateOf(twin))
        self.assertEqual(set(SIGNS), met)

    def test_killed(self) -> None:
        """
        The process is killed before a commit, or between it and the output: nothing was sent of a change that is
        not stored, and the rooms are those before the stanza, or after it.
        """
        held = 0
        for seed in range(4):
            random = Random(seed)
            self.bounds = (RandomTests.bounds, self.archived)[seed % 2]
            self.setUp()
            for step in range(150):
                stanza = anything(random)
                if random.randrange(3):
                    self.take(stanza)
                    continue
                with self.subTest(seed=seed, step=step, stanza=stanza):
                    before = stateOf(self.rooms)
                    self.store.isHeld = True
                    sent, after = self.take(stanza), stateOf(self.rooms)
                    if after != before:
                        self.assertEqual(sent, [])
                        held += 1
                    isCommitted = random.randrange(2)
                    if isCommitted:
                        self.store.commit(isTold=False)
                    self.kill()
                    self.assertEqual(stateOf(self.rooms), after if isCommitted else before)
        self.assertGreater(held, 30)
