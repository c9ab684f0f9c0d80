"""
Profiles of mirrors: by the kind of link, the times of two nodes, and what crosses the link. Pure.

This is the only table of them. The times of a direct link's own connection are in L{gateway.peers.profiles}, under
the same names.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from gateway import ns
from gateway.fmuc.channel.values import Pace


@frozen(kw_only=True)
class Profile:
    """
    Times are in seconds.

    @ivar answer: wait for the answer to a join, and between two parts of it before the joiner's own presence.
    @ivar silence: wait for the first part of the answer to a first join, after which the joined node is asked what
        it is.
    @ivar rest: wait between two parts after that presence.
    @ivar whole: wait for the whole answer.
    @ivar farewell: wait for the confirmation of a leave.
    @ivar probe: silence after which a joined node is asked whether it still has this one.
    @ivar pace: of the reliable channel.
    @ivar history: maximum number of messages in the answer to a first join; C{None} for all that the room has.
    @ivar gather: time for which changes of presence wait; only the last one of an occupant is sent. 0 for none.
    @ivar budget: bytes of such presence that are sent at once, by estimate; the rest waits for the same time again.
    @ivar isBrief: True if messages of occupants do not name real JIDs, which both nodes know by the presence.
    @ivar leftOut: elements that do not cross, by namespace and name: words for operators.
    """

    name: str
    answer: float = 30.0
    silence: float = 1.0
    rest: float = 5.0
    whole: float = 300.0
    farewell: float = 10.0
    probe: float = 300.0
    pace: Pace = field(factory=Pace)
    history: int | None = None
    gather: float = 0.0
    budget: int = 0
    isBrief: bool = False
    leftOut: Mapping[tuple[str, str], str] = field(factory=dict)


def _all(namespace: str, words: str, *names: str) -> dict[tuple[str, str], str]:
    return {(namespace, name): words for name in names}


_CHAT_STATES = _all(ns.CHAT_STATES, "chat states", "active", "composing", "paused", "inactive", "gone")
# What people say crosses with each profile: texts, subjects, encryption, security labels, corrections, retractions,
# replies, reactions, files. Elements that are unknown do, too.
_OPTIONAL = {
    **_CHAT_STATES,
    **_all(ns.CHAT_MARKERS, "markers", "markable", "received", "displayed", "acknowledged"),
    **_all(ns.RECEIPTS, "receipts", "request", "received"),
    **_all(ns.VCARD_UPDATE, "avatar hashes", "x"),
    **_all(ns.CAPS, "capabilities", "c"),
    **_all(ns.HATS, "hats", "hats"),
    **_all(ns.IDLE, "idle times", "idle"),
    **_all(ns.NICK, "nicknames", "nick"),
    # It repeats the body.
    **_all(ns.XHTML_IM, "formatted texts", "html"),
    # For the sender's own clients; others refer to a message by the room's stanza id.
    **_all(ns.SID, "origin ids", "origin-id"),
}

BROADBAND = Profile(name="broadband")
SATELLITE = Profile(
    name="satellite",
    answer=60.0,
    silence=10.0,
    rest=15.0,
    whole=600.0,
    farewell=30.0,
    probe=600.0,
    pace=Pace(ackDelay=2.0, first=10.0, least=6.0, most=120.0, silence=180.0),
    gather=15.0,
    budget=64 * 1024,
    leftOut=_CHAT_STATES,
)
HF = Profile(
    name="hf",
    answer=300.0,
    silence=150.0,
    rest=60.0,
    whole=1_800.0,
    farewell=120.0,
    probe=1_800.0,
    pace=Pace(ackDelay=10.0, first=45.0, least=30.0, most=300.0, silence=600.0, window=16),
    history=5,
    gather=60.0,
    # 60 seconds of a link of 300 bit/s have room for a message beside them.
    budget=1_500,
    isBrief=True,
    leftOut=_OPTIONAL,
)
PROFILES = {each.name: each for each in (BROADBAND, SATELLITE, HF)}
