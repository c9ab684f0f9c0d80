"""
Make a dictionary for the compression of direct links (gateway/peers/compression.py) from stanzas of our own.

    python benchmarks/peer_dictionary.py [FILE]

A room and its mirrors are played in memory, in both dialects and both modes; their users join, talk, change their
presence, whisper and leave, in many spellings. The dictionary is trained on what crosses between the nodes. The
script prints how well the one in use compresses stanzas of another such play, and writes a new one to FILE.
The result depends on the version of zstd; a released dictionary is kept as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from gateway import _compat
from gateway.fmuc.values import Dialect
from gateway.peers import compression
from tests.fmuc import test_mirrors
from tests.fmuc.test_mirrors import Site

__all__ = ["_compat"]

_SIZE = 12 * 1024

_NAMES = (
    *(
        "Ann",
        "ben",
        "Carol",
        "dave",
        "erin",
        "Frank",
        "grace",
        "heidi",
        "Ivan",
        "judy",
        "mallory",
        "Niaj",
        "olivia",
    ),
    *(
        "Peggy",
        "quentin",
        "rupert",
        "Sybil",
        "trent",
        "ursula",
        "victor",
        "Walter",
        "bridge",
        "ops",
        "watch",
        "medic",
    ),
)
_ROOMS = ("coven", "ops", "lobby", "bridge", "support", "team", "general", "watch-1")
_HOSTS = ("chat", "rooms", "muc", "conference")
_SITES = ("example.com", "example.net", "example.org", "ship.example.net", "shore.example.com")
_WORDS = [
    "the", "a", "to", "of", "and", "in", "is", "it", "you", "that", "we", "for", "on", "are", "with", "be", "at",
    "this", "have", "from", "or", "had", "by", "not", "what", "all", "were", "when", "can", "there", "will", "up",
    "about", "out", "then", "them", "some", "so", "would", "make", "like", "into", "time", "has", "look", "two",
    "more", "go", "see", "no", "way", "could", "people", "than", "been", "now", "find", "long", "down", "day",
    "did", "get", "come", "made", "may", "over", "new", "sound", "take", "only", "little", "work", "know",
    "place", "year", "live", "back", "give", "position", "report", "speed", "course", "north", "south", "east",
    "west", "arrive", "depart", "weather", "wind", "sea", "state", "fuel", "request", "confirm", "roger", "copy",
    "received", "please", "send", "update", "meeting", "tomorrow", "morning", "evening", "thanks", "yes", "ok",
    "understood"
]


def words(random: Random) -> str:
    """Return a sentence."""
    return " ".join(random.choice(_WORDS) for _ in range(random.randint(1, 24))).capitalize()


def identifier(random: Random) -> str:
    """Return an id as clients make them."""
    text = f"{random.getrandbits(128):032x}"
    return random.choice((text[:8], text, f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{text[16:20]}-{text[20:]}"))


def message(random: Random, room: str, sender: str, nicks: list[str]) -> str:
    """Return what a client sends."""
    own = identifier(random)
    body = f"<body>{words(random)}</body>"
    extra = random.choice(
        (
            "",
            f"<origin-id xmlns='urn:xmpp:sid:0' id='{own}'/>",
            "<active xmlns='http://jabber.org/protocol/chatstates'/>",
            f"<markable xmlns='urn:xmpp:chat-markers:0'/><origin-id xmlns='urn:xmpp:sid:0' id='{own}'/>",
            "<request xmlns='urn:xmpp:receipts'/>",
            f"<replace xmlns='urn:xmpp:message-correct:0' id='{identifier(random)}'/>",
            f"<reply xmlns='urn:xmpp:reply:0' to='{room}/x' id='{identifier(random)}'/>",
        )
    )
    if random.random() < 0.1:
        body = f"<{random.choice(('composing', 'paused'))} xmlns='http://jabber.org/protocol/chatstates'/>"
    if random.random() < 0.1:
        nick = random.choice(nicks)
        return f"<message from='{sender}' to='{room}/{nick}' type='chat' id='{own}'>{body}{extra}</message>"
    return f"<message from='{sender}' to='{room}' type='groupchat' id='{own}'>{body}{extra}</message>"


def presence(random: Random) -> str:
    """Return the content of a client's presence."""
    show = random.choice(("", "", "<show>away</show>", "<show>xa</show>", "<show>dnd</show>", "<show>chat</show>"))
    status = f"<status>{words(random)}</status>" if random.random() < 0.3 else ""
    caps = (
        "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://gajim.org' ver='"
        f"{identifier(random)[:27]}='/>"
        if random.random() < 0.5
        else ""
    )
    photo = "<x xmlns='vcard-temp:x:update'><photo/></x>" if random.random() < 0.4 else ""
    return show + status + caps + photo


class Recorded(Site):
    """Keeps the stanzas that cross."""

    def __init__(self, dialect: Dialect, replica: bool) -> None:
        super().__init__(dialect, replica)
        self.stanzas: list[bytes] = []
        for service in (self.mirror, self.above):
            service.take = self._recording(service.take)  # type: ignore[method-assign]  # records what it takes

    def _recording(self, take: Callable[[str | bytes], object]) -> Callable[[str | bytes], object]:
        def taken(xml: str | bytes) -> object:
            data = xml.encode() if isinstance(xml, str) else xml
            if b" from='coven@" in data[:200] or b" from='coven\\40" in data[:200]:
                self.stanzas.append(data)
            return take(xml)

        return taken


def play(random: Random) -> list[bytes]:
    """Return the stanzas between the nodes of one room, with names of their own."""
    dialect = random.choice((Dialect.XEP_0289, Dialect.XEP_0289, Dialect.PROTOXEP))
    site = Recorded(dialect, random.random() < 0.5)
    site.join(test_mirrors.OWN, "own")
    here, there = test_mirrors.HERE, test_mirrors.ABOVE
    nicks = random.sample(_NAMES, random.randint(2, 8))
    users = {nick: f"{nick.lower()}@a.example/{identifier(random)[:8]}" for nick in nicks}
    for nick, user in users.items():
        site.join(user, nick)
    for _ in range(random.randint(10, 40)):
        nick = random.choice(nicks)
        choice = random.random()
        if choice < 0.35:
            site.take(site.above, message(random, there, test_mirrors.OWN, nicks))
        elif choice < 0.8:
            site.take(site.mirror, message(random, here, users[nick], nicks))
        elif choice < 0.9:
            site.take(
                site.mirror, f"<presence from='{users[nick]}' to='{here}/{nick}'>{presence(random)}</presence>"
            )
        elif choice < 0.95:
            site.leave(users[nick], nick)
            site.join(users[nick], nick)
        else:
            content = f"<subject>{words(random)}</subject>"
            site.take(
                site.above,
                f"<message from='{test_mirrors.OWN}' to='{there}' type='groupchat'>{content}</message>",
            )
    for nick, user in users.items():
        site.leave(user, nick)
    room, host = random.choice(_ROOMS), random.choice(_HOSTS)
    one, other = random.sample(_SITES, 2)
    renamed = []
    for each in site.stanzas:
        data = each.replace(
            b"coven\\40chat.example@mirror.example", f"{room}\\40{host}.{one}@mirror.{other}".encode()
        )
        data = data.replace(b"coven@chat.example", f"{room}@{host}.{one}".encode())
        renamed.append(data.replace(b"@a.example", f"@{other}".encode()).replace(b"@b.example", f"@{one}".encode()))
    return renamed


def ratio(plays: list[list[bytes]], number: int) -> tuple[float, float]:
    """Return compressed by uncompressed bytes: of all stanzas, and of messages in a long talk."""
    raw = small = rawTalk = smallTalk = 0
    for stanzas in plays:
        stream = compression.Compressor(number)
        for index, each in enumerate(stanzas):
            size = len(stream.compress(each))
            raw, small = raw + len(each), small + size
            if b"<body>" in each and index > 10:
                rawTalk, smallTalk = rawTalk + len(each), smallTalk + size
    return small / raw, smallTalk / rawTalk


def main() -> None:
    """Train, write and measure."""
    random = Random(289)
    plays = [play(random) for _ in range(120)]
    samples = [each for stanzas in plays for each in stanzas]
    found = compression.zstd.train_dict(samples, _SIZE)
    others = [play(random) for _ in range(20)]
    if sys.argv[1:]:
        Path(sys.argv[1]).write_bytes(found.dict_content)
    number = compression.DICTIONARIES[0]
    compression.dictionary.cache_clear()
    everything, talk = ratio(others, number)
    print(f"{len(samples)} stanzas; dictionary of {len(found.dict_content)} bytes")
    print(f"compressed by the dictionary in use: all {everything:.1%}, messages of a talk {talk:.1%}")


if __name__ == "__main__":
    main()
