"""For any input in any order: nothing raises, no failure is logged, and other users are not affected."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from tests.embedded.support import COMPONENT, DOMAIN, Client, Component, Host
from tests.profiles import steady

_USERS = ("alice", "bob", "carol", "nobody")
_JIDS = st.sampled_from(
    [
        *(f"{user}@{DOMAIN}" for user in _USERS),
        *(f"{user}@{DOMAIN}/{resource}" for user in _USERS for resource in "rx"),
        DOMAIN,
        f"{DOMAIN}/r",
        COMPONENT,
        f"n@{COMPONENT}/r",
        "off.example",
        "else.example",
        "",
        "@",
        "a b@c",
        "\u0130@\u00df.example",
        "x" * 2_000,
    ]
)
_TYPES = st.one_of(
    st.sampled_from(["get", "set", "result", "error"]),
    st.sampled_from(["chat", "normal", "groupchat", "headline"]),
    st.sampled_from(["available", "unavailable", "probe", "invisible"]),
    st.sampled_from(["subscribe", "subscribed", "unsubscribe", "unsubscribed"]),
)
_PAYLOADS = st.sampled_from(
    [
        "",
        "text",
        "<priority>-1</priority>",
        "<priority>9</priority><status/>",
        "<priority><x/></priority>",
        *(
            f"<query xmlns='{namespace}'/>"
            for namespace in (ns.ROSTER, ns.DISCO_INFO, ns.DISCO_ITEMS, ns.VERSION, ns.PING, ns.BIND, ns.SESSION)
        ),
        *(
            f"<query xmlns='{ns.ROSTER}'><item jid='{jid}'{more}/></query>"
            for jid in (f"bob@{DOMAIN}", f"alice@{DOMAIN}", COMPONENT, "a b")
            for more in ("", " name='n'", " subscription='remove'")
        ),
        "<x xmlns='a b'/>",
        "<x xmlns='jabber:client'/><p:y xmlns:p='a b&apos;' p:z='&lt;'/>",
        "<x xmlns='jabber:component:accept'/>",
        "<c:x xmlns:c='jabber&#58;client'/>",
        "<error type='cancel'/>",
    ]
)


@st.composite
def stanzas(draw: st.DrawFn, sender: st.SearchStrategy[str]) -> str:
    """Generate stanzas that may be valid."""
    name = draw(st.sampled_from(["iq", "message", "presence", "presence"]))
    given_ = {"to": draw(st.none() | _JIDS), "type": draw(st.none() | _TYPES), "from": draw(sender)}
    given_["id"] = draw(st.sampled_from([None, "1", "'"])) if name != "iq" else "1"
    words = "".join(f' {key}="{value}"' for key, value in given_.items() if value is not None)
    return f"<{name}{words}>{draw(_PAYLOADS)}</{name}>"


_FROM_CLIENT = stanzas(st.none())
_FROM_COMPONENT = stanzas(st.sampled_from([COMPONENT, f"n@{COMPONENT}", f"n@{COMPONENT}/r"]))
_STEPS = st.one_of(
    st.tuples(st.sampled_from(["alice", "bob"]), _FROM_CLIENT), st.tuples(st.just("component"), _FROM_COMPONENT)
)
# Roster operations of two accounts.
_DEALINGS = st.tuples(
    st.sampled_from([("alice", "bob"), ("bob", "alice")]),
    st.sampled_from(
        [
            *(
                f"<presence type='{kind}' to='%s'/>"
                for kind in ("subscribe", "subscribed", "unsubscribe", "unsubscribed")
            ),
            f"<iq type='set' id='1'><query xmlns='{ns.ROSTER}'><item jid='%s' subscription='remove'/></query></iq>",
            f"<iq type='set' id='1'><query xmlns='{ns.ROSTER}'><item jid='%s' name='n'/></query></iq>",
        ]
    ),
)
_END = [("alice", "<presence type='unavailable'/>"), ("bob", "</stream:stream>")]


class HostileTests(SynchronousTestCase):
    """A host, its clients and its component, with random stanzas."""

    @steady
    @given(st.lists(_STEPS, max_size=30))
    def test_conversation(self, steps: list[tuple[str, str]]) -> None:
        """Every stream stays well-formed and open, and carol, who sends nothing, still gets messages."""
        host = Host()
        wires: dict[str, Client | Component] = {
            "alice": host.online("alice/r"),
            "bob": host.online("bob/r"),
            "component": host.component(),
        }
        carol = host.online("carol/r")
        for who, xml in steps:
            # Reading parses it: output that is not well-formed raises.
            wires[who].send(xml)
            for wire in (*wires.values(), carol):
                self.assertFalse(wire.disconnecting or wire.aborted, (who, xml))
                wire.taken()
        wires["alice"].send(f"<message to='carol@{DOMAIN}/r' id='last'/>")
        self.assertEqual(carol.taken(), [f"message last alice@{DOMAIN}/r > carol@{DOMAIN}/r"])
        for who, xml in _END:
            wires[who].send(xml)
        self.assertEqual(host.router.accounts[f"bob@{DOMAIN}"].sessions, {})

    @steady
    @given(st.lists(_DEALINGS, max_size=30))
    def test_subscriptions(self, dealings: list[tuple[tuple[str, str], str]]) -> None:
        """After any operations both accounts agree on their subscriptions, and see each other accordingly."""
        host = Host()
        wires = {name: host.online(f"{name}/r") for name in ("alice", "bob")}
        for wire in wires.values():
            wire.send("<presence/>")
        seen = {"alice": False, "bob": False}
        for (who, whom), xml in dealings:
            wires[who].protocol.dataReceived((xml % f"{whom}@{DOMAIN}").encode())
            for name, wire in wires.items():
                for heard in wire.taken():
                    if heard.startswith(("presence unavailable ", "presence bob@", "presence alice@")):
                        seen[name] = "unavailable" not in heard
            for own, other in (("alice", "bob"), ("bob", "alice")):
                rosters = [host.router.accounts[f"{name}@{DOMAIN}"].roster for name in (own, other)]
                watches = f"{other}@{DOMAIN}" in rosters[0].subscriptions()
                self.assertEqual(watches, rosters[1].isSubscriber(f"{own}@{DOMAIN}"), own)
                self.assertEqual(seen[own], watches, own)

    @steady
    @given(
        st.lists(
            st.binary(max_size=30) | st.sampled_from([b"<", b">", b"'", b"<iq ", b"</iq>", b"&#"]), max_size=12
        )
    )
    def test_bytes(self, chunks: list[bytes]) -> None:
        """Bytes that are not XML end the stream of their sender, and have no other effect."""
        host = Host()
        bob = host.online("bob/r")
        for wire in (host.connected(), host.connected().secure(), host.online("alice/r"), host.component()):
            for chunk in chunks:
                wire.send(chunk)
            host.clock.advance(0)
            self.assertFalse(bob.disconnecting)
        self.assertEqual(bob.send(f"<message to='bob@{DOMAIN}/r'/>"), [f"message bob@{DOMAIN}/r > bob@{DOMAIN}/r"])
