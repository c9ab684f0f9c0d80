"""The examples of XEP-0356 with their misprints corrected: one server, one entity."""

from __future__ import annotations

import re

from hypothesis import strategies as st

SERVER = "capulet.lit"
ENTITY = "pubsub.capulet.lit"
JULIET = "juliet@capulet.lit"
PRIVILEGE = "urn:xmpp:privilege:2"


def elements(
    names: st.SearchStrategy[str], spaces: st.SearchStrategy[str], attributes: st.SearchStrategy[dict[str, str]]
) -> st.SearchStrategy[str]:
    """Return a strategy for random elements."""

    def element(children: list[str], name: str, space: str, given: dict[str, str]) -> str:
        written = "".join(f" {key}='{value}'" for key, value in given.items())
        return f"<{name} xmlns='{space}'{written}>{''.join(children)}</{name}>"

    return st.recursive(
        st.builds(element, st.just([]), names, spaces, attributes),
        lambda inner: st.builds(element, st.lists(inner, max_size=3), names, spaces, attributes),
        max_leaves=12,
    )


def tight(xml: str) -> str:
    """Return XML without white space for layout."""
    return re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", xml.strip()))


def privilege(content: str, version: str = PRIVILEGE, kind: str = "", server: str = SERVER) -> str:
    """Return a server's message about privileges."""
    type_ = f" type='{kind}'" if kind else ""
    return (
        f"<message from='{server}' to='{ENTITY}' id='12345'{type_}>"
        f"<privilege xmlns='{version}'>{content}</privilege></message>"
    )


ROSTER = "<perm access='roster' type='both' push='true'/>"
MESSAGE = "<perm access='message' type='outgoing'/>"
IQ = "<perm access='iq'><namespace ns='http://jabber.org/protocol/pubsub' type='set'/></perm>"
PRESENCE = "<perm access='presence' type='roster'/>"

# Section 4.2, 5.2, 6.2 and 7.5.
EXAMPLE_1 = privilege(ROSTER)
EXAMPLE_5 = privilege(ROSTER + MESSAGE)
EXAMPLE_8 = privilege(IQ)
EXAMPLE_14 = privilege(ROSTER + "<perm access='message' type='none'/>" + IQ + PRESENCE)
EVERYTHING = privilege(ROSTER + MESSAGE + IQ + PRESENCE)

# Section 4.3.
EXAMPLE_2 = tight(f"""
<iq id='roster1' from='{ENTITY}' to='{JULIET}' type='get'>
  <query xmlns='jabber:iq:roster'/>
</iq>
""")
EXAMPLE_3 = tight(f"""
<iq id='roster1' from='{JULIET}' to='{ENTITY}' type='result'>
  <query xmlns='jabber:iq:roster' ver='ver7'>
    <item jid='nurse@example.com'/>
    <item jid='romeo@example.net'/>
  </query>
</iq>
""")

# Section 4.4.
EXAMPLE_4 = tight(f"""
<iq id='roster_push_1' from='{JULIET}' to='{ENTITY}' type='set'>
  <query xmlns='jabber:iq:roster'>
    <item jid='nurse@example.com'/>
  </query>
</iq>
""")

# Section 5.3.
TUNE = tight("""
<event xmlns='http://jabber.org/protocol/pubsub#event'>
  <items node='http://jabber.org/protocol/tune'>
    <item>
      <tune xmlns='http://jabber.org/protocol/tune'>
        <artist>Gerald Finzi</artist>
        <length>255</length>
        <source>Music for "Love's Labors Lost" (Suite for small orchestra)</source>
        <title>Introduction (Allegro vigoroso)</title>
        <track>1</track>
      </tune>
    </item>
  </items>
</event>
<delay xmlns='urn:xmpp:delay' stamp='2014-11-25T14:34:32Z'/>
""")
EXAMPLE_6 = tight(f"""
<message from='{ENTITY}' to='{SERVER}' id='notif1'>
  <privilege xmlns='urn:xmpp:privilege:2'>
    <forwarded xmlns='urn:xmpp:forward:0'>
      <message from='{JULIET}' id='foo' to='romeo@montague.lit/orchard' xmlns='jabber:client'>{TUNE}</message>
    </forwarded>
  </privilege>
</message>
""")
EXAMPLE_7 = f"<message from='{JULIET}' id='foo' to='romeo@montague.lit/orchard'>{TUNE}</message>"

# Section 6.3.
SUBSCRIBE = tight(f"""
<pubsub xmlns='http://jabber.org/protocol/pubsub'>
  <subscribe node='urn:xmpp:microblog:0' jid='{JULIET}'/>
</pubsub>
""")
SUBSCRIBED = tight(f"""
<pubsub xmlns='http://jabber.org/protocol/pubsub'>
  <subscription node='urn:xmpp:microblog:0' jid='{JULIET}' subid='some_id' subscription='subscribed'/>
</pubsub>
""")
EXAMPLE_9 = tight(f"""
<iq from='{ENTITY}' to='{JULIET}' type='set' id='priv_iq_1'>
  <privileged_iq xmlns='urn:xmpp:privilege:2'>
    <iq xmlns='jabber:client' type='set' to='romeo@montaigu.lit' id='sub_1'>{SUBSCRIBE}</iq>
  </privileged_iq>
</iq>
""")
EXAMPLE_10 = f"<iq type='set' from='{JULIET}' to='romeo@montaigu.lit' id='sub_1'>{SUBSCRIBE}</iq>"
# The encapsulated answer declares no namespace there, and so has that of its parent.
EXAMPLE_11 = tight(f"""
<iq type='result' from='{JULIET}' to='{ENTITY}' id='priv_iq_1'>
  <privilege xmlns='urn:xmpp:privilege:2'>
    <forwarded xmlns='urn:xmpp:forward:0'>
      <iq type='result' from='romeo@montaigu.lit' to='{JULIET}' id='sub_1'>{SUBSCRIBED}</iq>
    </forwarded>
  </privilege>
</iq>
""")

# Sections 7.3 and 7.6.
EXAMPLE_13 = tight(f"""
<presence from='{JULIET}/balcony' to='{ENTITY}' id='presence1' xml:lang='en'>
  <show>chat</show>
  <status>Staying on the balcony</status>
</presence>
""")
EXAMPLE_16 = f"<presence from='romeo@montaigu.lit/orchard' to='{ENTITY}'/>"
