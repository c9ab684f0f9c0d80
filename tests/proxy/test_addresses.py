"""The sealed addresses of requesters."""

from __future__ import annotations

import string
from base64 import urlsafe_b64decode
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.jid import parse, prep
from twisted.words.protocols.jabber.xmpp_stringprep import resourceprep

from gateway.proxy.addresses import BrokenSeal, Sealer, UnknownHandle
from tests.profiles import steady

COMPONENT = "proxy.example.com"
KEY = b"k" * 32
LONG = "user@example.com/" + "é" * 500

# All characters that XML 1.0 allows in an attribute.
XML_TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\ufffe\uffff", exclude_categories=["Cc", "Cs"]), min_size=1
)
REQUESTERS = st.one_of(
    st.tuples(XML_TEXT, XML_TEXT).map(lambda parts: f"{parts[0]}@example.com/{parts[1]}"),
    st.text("é'~%/@ ñ👍", min_size=200, max_size=1500),
    XML_TEXT,
)
ADDRESSES = st.one_of(
    st.just(COMPONENT),
    XML_TEXT.map(lambda resource: f"{COMPONENT}/{resource}"),
    st.tuples(XML_TEXT, XML_TEXT).map(lambda parts: f"{parts[0]}@{COMPONENT}/{parts[1]}"),
)


def makeSealer(component: str = COMPONENT, key: bytes = KEY, remembered: int = 1_000) -> Sealer:
    """Return a sealer with the values of most tests."""
    return Sealer(component, key, remembered)


class SealTests(SynchronousTestCase):
    """The form of tokens."""

    def test_readable(self) -> None:
        """A token is `SEAL/user@domain/resource`: the log of a client shows the requester."""
        seal, _, who = makeSealer().seal("user@example.com/phone 1", COMPONENT).partition("/")
        self.assertEqual(who, "user@example.com/phone 1")
        self.assertLessEqual(set(seal), set(string.ascii_letters + string.digits + "-_"))

    def test_longEnough(self) -> None:
        """SEAL has at least 96 bits, in base64url."""
        seal = makeSealer().seal("user@example.com/a", COMPONENT).partition("/")[0]
        self.assertGreaterEqual(8 * len(urlsafe_b64decode(seal + "=" * (-len(seal) % 4))), 96)

    def test_differs(self) -> None:
        """The seal depends on key, component, requester and recipient."""
        other = "user@example.com/b"
        tokens = [
            makeSealer().seal("user@example.com/a", COMPONENT),
            makeSealer(key=b"l" * 32).seal("user@example.com/a", COMPONENT),
            makeSealer("proxy.example.org").seal("user@example.com/a", COMPONENT),
            makeSealer().seal(other, COMPONENT),
            makeSealer().seal("user@example.com/a", f"{COMPONENT}/node"),
            makeSealer().seal("user@example.com/a", f"x@{COMPONENT}"),
        ]
        seals = {token[:20] for token in tokens}
        self.assertEqual(len(seals), len(tokens), tokens)

    @steady
    @given(REQUESTERS, ADDRESSES)
    def test_roundTrip(self, requester: str, address: str) -> None:
        """Each token is opened as its requester and recipient, for any addresses."""
        sealer = makeSealer()
        self.assertEqual(sealer.unseal(sealer.seal(requester, address)), (requester, address))

    @steady
    @given(REQUESTERS, ADDRESSES)
    def test_survivesServers(self, requester: str, address: str) -> None:
        """A token has at most 1023 bytes, and resourceprep does not change it."""
        token = makeSealer().seal(requester, address)
        self.assertLessEqual(len(token.encode()), 1023)
        self.assertEqual(resourceprep.prepare(token), token)
        self.assertEqual(prep(*parse(f"{COMPONENT}/{token}")), (None, COMPONENT, token))

    @steady
    @given(REQUESTERS, ADDRESSES)
    def test_stable(self, requester: str, address: str) -> None:
        """The same key gives the same token, in any process and at any time."""
        sealer = makeSealer()
        sealer.seal("another@example.com/x", address)
        self.assertEqual(sealer.seal(requester, address), makeSealer().seal(requester, address))

    @steady
    @given(REQUESTERS)
    def test_nothingButReadable(self, requester: str) -> None:
        """A token that fits needs no table: another process can open it."""
        token = makeSealer().seal(requester, COMPONENT)
        if "/~" not in token[:30]:
            self.assertEqual(makeSealer().unseal(token), (requester, COMPONENT))


class HandleTests(SynchronousTestCase):
    """Handles for requesters whose JID is too long."""

    def test_leadsBack(self) -> None:
        """A requester JID of 3,000 bytes has a token as well."""
        requester = f"{'u' * 1000}@{'d' * 1000}/{'r' * 1000}"
        sealer = makeSealer()
        token = sealer.seal(requester, COMPONENT)
        self.assertEqual(token[20:22], "/~")
        self.assertEqual(sealer.unseal(token), (requester, COMPONENT))

    def test_forgottenAfterRestart(self) -> None:
        """Another process cannot open a handle, and raises the error for that."""
        token = makeSealer().seal(LONG, COMPONENT)
        self.assertRaises(UnknownHandle, makeSealer().unseal, token)

    def test_bounded(self) -> None:
        """Each user has a limited number of handles, here three: those used last."""
        sealer = makeSealer(remembered=11)
        first, *others = [sealer.seal(f"{LONG}{number}", COMPONENT) for number in range(3)]
        sealer.unseal(first)
        sealer.seal(f"{LONG}3", COMPONENT)
        self.assertEqual(sealer.unseal(first), (f"{LONG}0", COMPONENT))
        self.assertRaises(UnknownHandle, sealer.unseal, others[0])
        self.assertEqual(sealer.unseal(others[1]), (f"{LONG}2", COMPONENT))

    def test_fair(self) -> None:
        """A user with many long addresses does not displace the handles of others."""
        sealer = makeSealer(remembered=100)
        others = {f"user@{number}.example/{'r' * 1000}": "" for number in range(79)}
        for requester in others:
            others[requester] = sealer.seal(requester, COMPONENT)
        for number in range(1_000):
            sealer.seal(f"{LONG}{number}", f"{COMPONENT}/{number}")
        for requester, token in others.items():
            self.assertEqual(sealer.unseal(token), (requester, COMPONENT))
        self.assertLessEqual(len(sealer._handles), 100)

    def test_forgeriesAreNotRemembered(self) -> None:
        """A forged token does not displace a handle, even with a long decoded form."""
        sealer = makeSealer(remembered=1)
        token = sealer.seal(LONG, COMPONENT)
        for number in range(3):
            self.assertRaises(BrokenSeal, sealer.unseal, f"{'A' * 20}/{number}{'%ff' * 300}")
        self.assertEqual(sealer.unseal(token), (LONG, COMPONENT))

    def test_forgeriesKeepNothing(self) -> None:
        """A known handle is sealed as well: with a forged seal it is not opened, and is not kept any longer."""
        sealer = makeSealer(remembered=6)
        first, second = (sealer.seal(f"{LONG}{number}", COMPONENT) for number in "12")
        self.assertRaises(BrokenSeal, sealer.unseal, second[:20] + first[20:])
        self.assertRaises(BrokenSeal, sealer.unseal, "A" * 20 + first[20:])
        sealer.seal(f"{LONG}3", COMPONENT)
        self.assertRaises(UnknownHandle, sealer.unseal, first)
        self.assertEqual(sealer.unseal(second), (f"{LONG}2", COMPONENT))


class ForgeryTests(SynchronousTestCase):
    """Any other token is refused, with no other error."""

    def assertRefused(self, sealer: Sealer, token: str) -> None:
        try:
            found = sealer.unseal(token)
        except (BrokenSeal, UnknownHandle):
            return
        self.fail(f"{token!r} was taken for {found!r}")

    def test_table(self) -> None:
        """Tokens of others, for others, misspelled, truncated, or invented."""
        sealer = makeSealer()
        address = f"{COMPONENT}/node"
        mine = sealer.seal("user@example.com/a~%", COMPONENT)
        noded = sealer.seal("user@example.com/a", address)
        yours = sealer.seal("mallory@example.com/a", address)
        handle = sealer.seal(LONG, COMPONENT)
        otherHandle = sealer.seal(LONG + "x", COMPONENT)
        # The last character of a seal's address part may have bits that decoding ignores.
        last = noded.partition("/")[0][-1]
        alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
        respelled = noded.replace(last + "/", alphabet[alphabet.index(last) ^ 1] + "/", 1)
        hostile = {
            "nothing": "",
            "no slash": mine.partition("/")[0],
            "only a slash": "/",
            "no seal": mine[20:],
            "no requester": mine[:21],
            "truncated": mine[:-1],
            "a broken seal": ("B" if mine[0] == "A" else "A") + mine[1:],
            "a short seal": mine[1:],
            "another component's": makeSealer("other.example.com").seal("user@example.com/a", COMPONENT),
            "another key's": makeSealer(key=b"x" * 32).seal("user@example.com/a", COMPONENT),
            "another requester": mine.replace("user", "mallory"),
            "another's seal": yours[: yours.index("/")] + noded[noded.index("/") :],
            "an address added": mine[:20] + noded[20:],
            "an address taken away": noded[:20] + noded[noded.index("/") :],
            "the same bytes in other base64": respelled,
            "padding": noded.replace("/", "=/", 1),
            "base64 of the other alphabet": noded[:20] + "+" + noded[20:],
            "no base64": mine[:20] + "!!!/" + mine[21:],
            "no UTF-8 in it": mine[:20] + "____/" + mine[21:],
            "an escape too many": mine.replace("user", "%75ser"),
            "an escape too few": mine.replace("%7E", "~"),
            "lower case": mine.replace("%7E", "%7e"),
            "a broken escape": mine + "%",
            "no UTF-8 in an escape": mine + "%ff",
            "a NUL": mine.replace("@", "%00"),
            "a handle nobody has": f"{mine[:20]}/~AAAA",
            "an empty handle": f"{mine[:20]}/~",
            "another's handle": handle[:20] + otherHandle[20:],
            "a handle and an address": handle[:20] + noded[20 : noded.index("/")] + handle[20:],
            "more after a handle": handle + "/x",
            "a long requester without a handle": handle[:20] + "/" + quote(LONG, safe="/@"),
            "very long": mine + "x" * 100_000,
            "a very long seal": "A" * 100_000 + mine[20:],
            "a lone surrogate": mine + "\ud800",
            "a lone surrogate in the seal": mine[:20] + "\ud800" + mine[20:],
            "a lone surrogate in a handle": f"{mine[:20]}/~\udfff",
            "full-width letters": mine.replace("user", "\uff55ser"),
            "not ASCII": mine + "é\u202e👍\uffff",
        }
        for name, token in hostile.items():
            with self.subTest(name):
                self.assertNotIn(token, (mine, noded, yours, handle))
                self.assertRefused(sealer, token)

    @steady
    @given(st.text(st.characters(), max_size=200))
    def test_anyText(self, token: str) -> None:
        """Any text that is not a token of this component is refused."""
        self.assertRefused(makeSealer(), token)

    @steady
    @given(REQUESTERS, ADDRESSES, st.data())
    def test_anyChange(self, requester: str, address: str, data: st.DataObject) -> None:
        """A token with one character changed, removed or added is refused."""
        sealer = makeSealer()
        token = sealer.seal(requester, address)
        at = data.draw(st.integers(0, len(token) - 1))
        width = data.draw(st.sampled_from([0, 1]))
        changed = token[:at] + data.draw(st.text(st.characters(), max_size=2)) + token[at + width :]
        if changed != token:
            self.assertRefused(sealer, changed)
