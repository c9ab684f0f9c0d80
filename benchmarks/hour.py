"""
A busy hour of a room: who does what when, the same for each seed; and what the users' clients send for it.

20 users are at the site of the room, others at a remote site. Half of the clients write as Gajim does, half as
Conversations does.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

SECONDS = 3_600.0
NEAR, FAR = "near.example", "far.example"
LOCALS = 20
# Before the hour: the local users join, and say this many messages, which are the history.
BEFORE = 20

MESSAGES = 300
_PRIVATE = 16
_CAPS = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{node}' ver='{ver}'/>"
_PHOTO = "<x xmlns='vcard-temp:x:update'><photo>{photo}</photo></x>"
_MUC = "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='20'/></x>"
_STATE = "<{state} xmlns='http://jabber.org/protocol/chatstates'/>"
_ORIGIN = "<origin-id xmlns='urn:xmpp:sid:0' id='{id}'/>"
_MARKABLE = "<markable xmlns='urn:xmpp:chat-markers:0'/>"
_NO_STORE = "<no-store xmlns='urn:xmpp:hints'/>"
_NAMES = ("anna", "bertil", "chen", "dolores", "ewa", "farid", "gus", "hana")
# By frequency, for bodies that compress about as texts do.
_TEXT = """
the of and to a in is it you that was for on are with as they be at one have this from or had by but not all
were we when your can there use an each which do if will up other about out many then them these so some would
make like into time has look two more write go see number no way could people than first water been call now
find long down day did get come made may part over new sound take only little work know place year live me back
give most very after thing our just name good sentence man think say great where help through much before line
right too mean old any same tell boy follow came want show also around form three small set put end does another
well large must big even such because turn here why ask went men read need land different home us move try kind
hand picture again change off play spell air away animal house point page letter answer found study engine
pressure harbour crane vessel tide fuel weather forecast radio schedule position course signal spare pump
tomorrow yesterday confirm delayed departure arrival pilot message channel watch relief engineer manifest ok
"""
_WORDS = _TEXT.split()


@dataclass(frozen=True)
class User:
    """A user, and the habits of the user's client."""

    nick: str
    jid: str
    isGajim: bool
    caps: str
    photo: str

    @property
    def presence(self) -> str:
        """The payload of each presence."""
        return self.caps + self.photo


@dataclass(frozen=True)
class Event:
    """
    One thing that a user does.

    @ivar kind: C{join}, C{leave}, C{presence}, C{message}, C{state}, C{subject} or C{private}.
    @ivar text: the text, or the payload; of a private message the other nick comes first, after it a space.
    """

    at: float
    user: User
    kind: str
    id: str = ""
    text: str = ""

    def stanza(self, room: str) -> str:
        """
        Return what the client sends, as its server passes it on.

        @param room: the address of the room, or of its mirror.
        """
        who, nick = self.user, self.user.nick
        if self.kind == "leave":
            return f"<presence from='{who.jid}' to='{room}/{nick}' type='unavailable'/>"
        if self.kind in ("join", "presence"):
            inside = _MUC * (self.kind == "join") + self.text + who.presence
            return f"<presence from='{who.jid}' to='{room}/{nick}' id='{self.id}'>{inside}</presence>"
        head = f"<message from='{who.jid}' id='{self.id}'"
        if self.kind == "private":
            other, _, text = self.text.partition(" ")
            mark = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
            return f"{head} to='{room}/{other}' type='chat'><body>{text}</body>{self._marks()}{mark}</message>"
        head = f"{head} to='{room}' type='groupchat'>"
        if self.kind == "subject":
            return f"{head}<subject>{self.text}</subject></message>"
        if self.kind == "state":
            return f"{head}{self.text}{_NO_STORE * (not who.isGajim)}</message>"
        return f"{head}<body>{self.text}</body>{self._marks()}</message>"

    def _marks(self) -> str:
        state, origin = _STATE.format(state="active"), _ORIGIN.format(id=self.id)
        return state + origin + ("" if self.user.isGajim else _MARKABLE)


class Hour:
    """
    The script.

    @ivar users: by the domain of their site.
    @ivar before: events before the hour, to be carried out at once.
    @ivar events: those of the hour, by time.
    """

    def __init__(self, remote: int, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self.locals = [self._user(number, NEAR) for number in range(LOCALS)]
        self.remotes = [self._user(number, FAR) for number in range(LOCALS, LOCALS + remote)]
        self.users = {NEAR: self.locals, FAR: self.remotes}
        self.before = [Event(0, user, "join", self._id()) for user in self.locals]
        self.before += [self._message(0, self._random.choice(self.locals)) for _ in range(BEFORE)]
        self.events = sorted(self._hour(), key=lambda event: event.at)

    def _hour(self) -> Iterator[Event]:
        chance, everybody = self._random, [*self.locals, *self.remotes]
        # When somebody is in the room; remote users come in the first ten minutes.
        stays: dict[User, list[tuple[float, float]]] = {}
        for user in everybody:
            comes = chance.uniform(0, 600) if user in self.remotes else 0.0
            stays[user] = [(comes, SECONDS)]
            if comes:
                yield Event(comes, user, "join", self._id())
            # The owner stays.
            if user is not self.locals[0] and chance.random() < 0.5:
                leaves = chance.uniform(1_200, 2_700)
                returns = leaves + chance.uniform(120, 900)
                stays[user] = [(comes, leaves), (returns, SECONDS)]
                yield Event(leaves, user, "leave")
                yield Event(returns, user, "join", self._id())
        for user in everybody:
            for began, ended in stays[user]:
                yield from self._awayAndBack(user, began, ended)

        def present(at: float, among: list[User]) -> list[User]:
            # A join takes its time.
            return [user for user in among if any(began + 60 <= at < ended for began, ended in stays[user])]

        for _ in range(MESSAGES):
            at = chance.uniform(60, SECONDS)
            user = chance.choice(present(at, everybody))
            yield from self._spoken(at, user)
        for number in range(_PRIVATE):
            at = chance.uniform(900, SECONDS)
            near, far = present(at, self.locals), present(at, self.remotes)
            # Three of four are between the sites.
            here, there = ((near, far), (far, near), (near, far), (far, far))[number % 4]
            user = chance.choice(here)
            other = chance.choice([each for each in there if each is not user])
            yield Event(at, user, "private", self._id(), f"{other.nick} {self._words()}")
        yield Event(1_300, self.locals[0], "subject", self._id(), "Night shift: berth 4 is closed until Thursday")

    def _awayAndBack(self, user: User, began: float, ended: float) -> Iterator[Event]:
        at = began + self._random.expovariate(1 / 1_500)
        while at < ended:
            yield Event(at, user, "presence", self._id(), "<show>away</show><status>Away from the desk</status>")
            at += self._random.uniform(120, 1_200)
            if at < ended:
                yield Event(at, user, "presence", self._id(), "<status>At the desk</status>")
            at += self._random.expovariate(1 / 1_500)

    def _spoken(self, at: float, user: User) -> Iterator[Event]:
        chance = self._random
        composing, paused = (_STATE.format(state=state) for state in ("composing", "paused"))
        if chance.random() < 0.5:
            yield Event(at - chance.uniform(3, 20), user, "state", self._id(), composing)
            if chance.random() < 0.2:
                yield Event(at - chance.uniform(0.5, 2), user, "state", self._id(), paused)
        yield self._message(at, user)

    def _message(self, at: float, user: User) -> Event:
        return Event(at, user, "message", self._id(), self._words())

    def _words(self) -> str:
        """Return a text: the median has 45 characters, one in 20 has more than 200."""
        size = min(1_000, max(2, int(self._random.lognormvariate(3.8, 0.95))))
        weights = [1 / (rank + 3) for rank in range(len(_WORDS))]
        text = self._random.choice(_WORDS)
        while len(text) < size:
            text += " " + self._random.choices(_WORDS, weights)[0]
        return text

    def _user(self, number: int, domain: str) -> User:
        isGajim = number % 2 == 0
        name = f"{self._random.choice(_NAMES)}{number}"
        node = "http://gajim.org" if isGajim else "http://conversations.im"
        ver = ("BNT0kNtbqZpJNtDlnP9WhZFNGKQ=", "VqJQFSAZzL4Lk1mmQ2r0GcdzDSA=")[number % 2]
        caps = _CAPS.format(node=node, ver=ver)
        photo = _PHOTO.format(photo=f"{self._random.getrandbits(160):040x}")
        resource = f"gajim.{self._random.getrandbits(32):08X}" if isGajim else f"Conversations.{number:04d}"
        return User(name, f"{name}@{domain}/{resource}", isGajim, caps, photo)

    def _id(self) -> str:
        """Return an id as clients make them: a random UUID."""
        bits = f"{self._random.getrandbits(128):032x}"
        return "-".join((bits[:8], bits[8:12], bits[12:16], bits[16:20], bits[20:]))
