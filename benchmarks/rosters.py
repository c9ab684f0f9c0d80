"""
Rosters from a web application: its documents, the server's rosters, and the check of both sides.

From round to round each user's contacts change: some are new, some are removed, some have another name or other
groups. Some names and a few JIDs are not ASCII, and some names need escapes in XML.
"""

import http.client
import json
import random
import re
import threading
import time
from collections import Counter
from typing import NamedTuple
from xml.sax.saxutils import escape, unescape

from fakeapplication import FakeApplication
from fakeserver import Broken, FakeServer

SERVER = "example.com"
COMPONENT = "roster.example.com"

ADDED, REMOVED, RENAMED, REGROUPED = 3, 3, 2, 2
CHANGES = ADDED + REMOVED + RENAMED + REGROUPED

_ADVERTISEMENT = (
    f"<message from='{SERVER}' to='{COMPONENT}'><privilege xmlns='urn:xmpp:privilege:2'>"
    "<perm access='roster' type='both' push='false'/></privilege></message>"
).encode()
_FIRST = ("Marie", "Michael", "Zoë", "Jean & Paul", "Olga", "Ngozi", "Søren", "Yūki", "Ada", "Linus")
_LAST = ("Curie", "Faraday", "Müller", "Nakamura", "Okafor", "Ruiz", "O'Neill", "Larsen", "Byron")
_GROUPS = ("Friends", "Family", "Colleagues", "Harbour & Docks", "Rowing club", "Überseegebiet")
_SUBSCRIPTIONS = ("both", "both", "both", "to", "from", "none")
# One contact in this number has a letter in its JID that is not ASCII.
_FOREIGN = 50

# Users that are refreshed at a time; each roster may be read once more at first.
_PARALLEL = 32
_IQ = re.compile(rb"<iq\s([^>]*)>")
_ITEM = re.compile(rb"<item\s([^>]*?)(?:/>|>(.*?)</item>)", re.DOTALL)
_GROUP = re.compile(rb"<group>([^<]*)</group>")
_ATTRIBUTE = re.compile(rb"""([\w:]+)=(?:'([^']*)'|"([^"]*)")""")
_QUOTES = {"&apos;": "'", "&quot;": '"'}
_ESCAPES = {"'": "&apos;"}


class Contact(NamedTuple):
    """A contact in a form to compare; one whose subscription is `remove` has nothing else."""

    jid: str
    name: str = ""
    groups: frozenset[str] = frozenset()
    subscription: str = "remove"

    def xml(self) -> str:
        """Return the item as a server writes it."""
        groups = "".join(f"<group>{escape(group)}</group>" for group in sorted(self.groups))
        return (
            f"<item jid='{escape(self.jid, _ESCAPES)}' name='{escape(self.name, _ESCAPES)}' "
            f"subscription='{self.subscription}'>{groups}</item>"
        )

    def about(self) -> dict[str, object]:
        """Return the contact as the application writes it."""
        return {"name": self.name, "groups": sorted(self.groups), "subscription": self.subscription}


class Roster:
    """One user's roster; C{random} chooses the contacts."""

    def __init__(self, size: int, chance: random.Random) -> None:
        self._chance = chance
        self._made = 0
        self.contacts = {contact.jid: contact for contact in (self._newcomer() for _ in range(size))}

    def _newcomer(self) -> Contact:
        self._made += 1
        first, last = self._chance.choice(_FIRST), self._chance.choice(_LAST)
        letter = "é" if not self._made % _FOREIGN else "e"
        domain = self._chance.choice((SERVER, SERVER, "chat.example.org"))
        subscription = self._chance.choice(_SUBSCRIPTIONS)
        return Contact(
            f"friend.numb{letter}r-{self._made}@{domain}", f"{first} {last}", self._groups(), subscription
        )

    def _groups(self) -> frozenset[str]:
        return frozenset(self._chance.sample(_GROUPS, self._chance.randrange(3)))

    def change(self) -> dict[str, Contact]:
        """Make the changes of one round. Return the contacts that must be set, by JID."""
        chosen = self._chance.sample(list(self.contacts), REMOVED + RENAMED + REGROUPED)
        changes = {jid: Contact(jid) for jid in chosen[:REMOVED]}
        for jid in chosen[:REMOVED]:
            del self.contacts[jid]
        for jid in chosen[REMOVED:]:
            contact = self.contacts[jid]
            if len(changes) < REMOVED + RENAMED:
                changed = contact._replace(name=f"{contact.name} {self._made}")
            else:
                changed = contact._replace(groups=contact.groups ^ {self._chance.choice(_GROUPS)})
            changes[jid] = self.contacts[jid] = changed
        for _ in range(ADDED):
            contact = self._newcomer()
            changes[contact.jid] = self.contacts[contact.jid] = contact
        return changes


class Rosters:
    """
    The expected requests: which rosters may be requested, which contacts must be set, and which users were looked
    up.

    @param size: contacts of each user.
    """

    def __init__(self, server: FakeServer, application: FakeApplication, users: int, size: int) -> None:
        self._server = server
        self._application = application
        chance = random.Random(size)
        self._rosters = {f"user{n}": Roster(size, chance) for n in range(users)}
        self._rest = b""
        # Items that were set, by user, for the gateway to verify; and the number of verifications.
        self._items: dict[bytes, bytes] = {}
        self._verified = 0
        self._unread: dict[bytes, bytes] = {}  # by JID: the payload of the answer
        self._unset: dict[bytes, dict[str, Contact]] = {}  # by JID
        self._round = 0

    @property
    def users(self) -> list[str]:
        """Return all users, without the domain."""
        return list(self._rosters)

    def advertise(self) -> None:
        """Grant the necessary permissions."""
        self._server.send(_ADVERTISEMENT)

    def change(self) -> None:
        """Begin a round: the application has changes that the server does not have yet."""
        self._round += 1
        documents = {}
        for user, roster in self._rosters.items():
            jid = f"{user}@{SERVER}".encode()
            items = "".join(contact.xml() for contact in roster.contacts.values())
            self._unread[jid] = f"<query xmlns='jabber:iq:roster' ver='{self._round}'>{items}</query>".encode()
            self._unset[jid] = roster.change()
            document = {contact.jid: contact.about() for contact in roster.contacts.values()}
            documents[f"/contacts/{user}"] = json.dumps(document, ensure_ascii=False).encode()
        self._application.decide(documents, f'"{self._round}"')

    def refresh(self, port: int, users: list[str], seconds: float = 300.0) -> None:
        """
        POST these users; handle everything until the answer comes.

        @param port: the HTTP port of the contestant.
        @raise Broken: if the answer, or a request to the server or the application, is wrong.
        """
        posting = _Posting(port, json.dumps(users))
        deadline = time.monotonic() + seconds
        while posting.is_alive():
            if time.monotonic() > deadline:
                raise Broken(f"the refresh took over {seconds:.0f} s")
            self._pump(0.02)
        if posting.answer.get("updated") != len(users) or posting.answer.get("errors") != 0:
            raise Broken(f"the answer is {posting.answer!s:.500}")
        asked = self._application.asked()
        if asked != Counter(f"/contacts/{user}" for user in users):
            raise Broken(
                f"the application was asked {asked.most_common(3)}..., not each of {len(users)} users once"
            )

    def expectAll(self) -> None:
        """
        Check that everything of the round was read and set, and that nothing comes after it.

        @raise Broken: if not.
        """
        for _ in range(5):
            self._pump(0.02)
        lost = {jid.decode(): changes for jid, changes in self._unset.items() if changes}
        if self._unread or lost:
            raise Broken(f"{len(self._unread)} rosters not read; not set: {lost!s:.500}")

    def _pump(self, seconds: float) -> None:
        *stanzas, self._rest = (self._rest + self._server.step(seconds)).split(b"</iq>")
        for stanza in stanzas:
            try:
                self._server.send(self._answer(stanza))
            except (LookupError, ValueError) as error:
                raise Broken(f"unreadable: {error!r} in {stanza!r}") from error

    def _answer(self, stanza: bytes) -> bytes:
        start = _IQ.match(stanza)
        if start is None:
            raise Broken(f"not an iq: {stanza!r}")
        iq = _attributes(start[1])
        user = iq["to"].encode()
        payload = b""
        if iq["type"] == "get":
            if user in self._unread:
                payload = self._unread.pop(user)
            elif user in self._items and self._verified < _PARALLEL:
                # At first a contestant checks whether subscriptions are stored: it gets what it has set.
                self._verified += 1
                payload = b"<query xmlns='jabber:iq:roster'>%b</query>" % self._items[user]
            else:
                raise Broken(f"read twice, or nobody's: {stanza!r}")
        else:
            self._set(user, stanza)
            if self._verified < _PARALLEL:
                items = stanza[stanza.index(b"<item") : stanza.index(b"</query>")]
                self._items[user] = self._items.get(user, b"") + items
        addresses = f"from='{iq['to']}' to='{iq['from']}' id='{iq['id']}'".encode()
        return b"<iq type='result' %b>%b</iq>" % (addresses, payload)

    def _set(self, user: bytes, stanza: bytes) -> None:
        [(attributes, inner)] = _ITEM.findall(stanza)
        item = _attributes(attributes)
        contact = Contact(
            item["jid"],
            item.get("name", ""),
            frozenset(_plain(group) for group in _GROUP.findall(inner)),
            item.get("subscription", "none"),
        )
        if user in self._unread or self._unset[user].pop(contact.jid, None) != contact:
            raise Broken(f"set twice, or not what was to be set: {stanza!r}")


class _Posting(threading.Thread):
    """A request in a thread of its own. Has C{answer} at the end."""

    def __init__(self, port: int, body: str) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._body = body
        self.answer: dict[str, object] = {}
        self.start()

    def run(self) -> None:
        """Run the thread."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        try:
            connection.request("POST", "/roster_admin/refresh", self._body, {"Content-Type": "application/json"})
            self.answer = json.load(connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.answer = {"failed": repr(error)}
        finally:
            connection.close()


def _attributes(written: bytes) -> dict[str, str]:
    return {name.decode(): _plain(one or other) for name, one, other in _ATTRIBUTE.findall(written)}


def _plain(text: bytes) -> str:
    return unescape(text.decode(), _QUOTES) if b"&" in text else text.decode()
