"""Input to begin with, for each target."""

from __future__ import annotations

from gateway import ns

# What makes a difference to a parser.
WORDS = (
    *rb"""< > /> </ ' " & &#0; &#x1F600; ]]> <![CDATA[ <!-- <?x?> xml: xmlns= xmlns:p=' type='error'
    type='unavailable' from=' id=' [ ] { } : , null true 1e999 -1 % @ / \40 = # """.split(),
    *(b"\0", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\r\n", b"\r\n\r\n", b" ", b"'''", b'"""'),
)

COMPONENTS = _PROXY, _DELEGATE, _ROSTER, _ROOMS, _BACKED, _MIRROR, _OLD_MIRROR, _LOCKED = tuple(
    f"{name}.example.com"
    for name in ("proxy", "delegate", "roster", "rooms", "backed", "mirror", "old-mirror", "locked")
)
# A gateway with all services.
TABLES = f"""
[proxy."{_PROXY}"]
target = "bot@example.com"
forward = ["iq", "message", "presence"]
outbound = true

[delegation."{_DELEGATE}"]
servers = ["example.com"]
users = ["example.com"]
lend_privileges = ["manager.example.com"]

[delegation."{_DELEGATE}".namespaces]
"jabber:iq:private" = {{ handler = "private-storage" }}
"urn:xmpp:mam:2" = {{ jid = ["manager.example.com"], filtering = ["node"] }}

[roster."{_ROSTER}"]
domain = "example.com"
url = "http://127.0.0.1:8000/contacts/%s"

[roster."{_LOCKED}"]
domain = "example.net"
lock = true
url = "http://127.0.0.1:8000/contacts/%s"
signature_secret = "signature"

[rooms."{_ROOMS}"]
create = ["*"]
peers = ["mirror.example.net"]

[rooms."{_BACKED}"]
backing = "conference.example.com"
peers = ["mirror.example.net"]

[mirror."{_MIRROR}"]
allow = ["rooms.example.net"]
users = ["example.com"]

[mirror."{_OLD_MIRROR}"]
allow = ["rooms.example.net"]
users = ["example.com"]
protocol = "protoxep"
"""
# The callers of the HTTP server need a token.
TOKEN = b"KxWqZ8"
LOCKED = '\n[http]\ntoken_file = "http.token"\n'
SIGNATURE_SECRET = b"signature"
SERVER = b'[server]\nendpoint = "tcp:a:5347"\nsecret = "s"\n'

STREAM = (
    b"<message from='a' to='b'><body>x &amp; y</body></message></stream:stream>",
    b"<iq id='1' type='get'><q xmlns='x' a=\"'\"><![CDATA[</iq>]]></q></iq><presence/>",
    b"<presence xml:lang='en'><p:a xmlns:p='u' p:b=''/></presence> \n<x:message xmlns:x='y'/>",
)

_MUC = f"<x xmlns='{ns.MUC}'/>"
_USER = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/><status code='110'/></x>"


def _request(kind: str, recipient: str, inside: str) -> str:
    return f"<iq type='{kind}' id='i' from='ann@example.com/a' to='{recipient}'>{inside}</iq>"


def _presence(sender: str, recipient: str, inside: str, kind: str = "") -> str:
    return f"<presence from='{sender}' to='{recipient}'{kind and f' type={kind!r}'}>{inside}</presence>"


_FORWARDED = (
    f"<delegation xmlns='{ns.DELEGATION_2}'><forwarded xmlns='{ns.FORWARD}'><iq xmlns='{ns.CLIENT}' type='get' "
    "id='f' from='ann@example.com/a' to='ann@example.com'><query xmlns='jabber:iq:private'><storage xmlns='s'/>"
    "</query></iq></forwarded></delegation>"
)
_JOIN = _presence("ann@example.com/a", f"a@{_ROOMS}/ann", _MUC)
_SAID = f"<message type='groupchat' id='m' from='ann@example.com/a' to='a@{_ROOMS}'><body>x</body></message>"
_KICK = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='b' role='none'/></query>"
_FMUC = f"<fmuc xmlns='{ns.FMUC}' from='bob@example.net/b'><channel xmlns='{ns.CHANNEL}' e='1'/></fmuc>"
_FORM = f"<x xmlns='{ns.DATA}' type='submit'><field var='FORM_TYPE'><value>{{}}</value></field>{{}}</x>"
_ROOM = f"a@{_ROOMS}"
# In a room that Ann has made, of an occupant of a mirror as well.
_FAR = _presence(rf"a\40{_ROOMS}@mirror.example.net/bob", f"{_ROOM}/bob", _FMUC + _MUC + _USER)
_NUMBERED = f"<r xmlns='{ns.CHANNEL}' n='1 1 0'/>"
_PAGE = "<set xmlns='http://jabber.org/protocol/rsm'><max>5</max><before/></set>"
_INVITE = f"<x xmlns='{ns.MUC_USER}'><invite to='t@example.com'/></x>"
_MIRRORS = rf"a\40{_ROOMS}@mirror.example.net"
_IN_ROOM = (
    _request("get", _ROOM, f"<query xmlns='{ns.MUC_OWNER}'/>"),
    _request("set", _ROOM, f"<query xmlns='{ns.MUC_OWNER}'>{_FORM.format(ns.MUC_OWNER, '')}</query>"),
    _request("set", _ROOM, f"<query xmlns='{ns.MUC_OWNER}'><destroy jid='b@{_ROOMS}'/></query>"),
    _request("get", _ROOM, f"<query xmlns='{ns.MUC_ADMIN}'><item affiliation='owner'/></query>"),
    _request("get", f"{_ROOM}/ann", "<ping xmlns='urn:xmpp:ping'/>"),
    _request("get", _ROOM, f"<query xmlns='{ns.DISCO_ITEMS}'/>"),
    _request("get", _ROOM, "<query xmlns='jabber:iq:register'/>"),
    _request("set", _ROOM, f"<query xmlns='urn:xmpp:mam:2' queryid='q'>{_PAGE}</query>"),
    _request("get", _ROOM, "<vCard xmlns='vcard-temp'/>"),
    f"<message from='ann@example.com/a' to='{_ROOM}'>{_INVITE}</message>",
    f"<message type='chat' from='ann@example.com/a' to='{_ROOM}/bob'><body>x</body></message>",
    f"<message type='groupchat' from='ann@example.com/a' to='{_ROOM}'><subject>x</subject></message>",
    _presence("ann@example.com/a", f"{_ROOM}/anna", "<show>away</show>"),
    _presence("ann@example.com/a", f"{_ROOM}/ann", "", "unavailable"),
    _FAR
    + f"<message type='groupchat' from='{_MIRRORS}/bob' to='{_ROOM}'>{_FMUC}<body>x</body>{_NUMBERED}</message>",
    _FAR
    + f"<iq type='get' id='r' from='{_MIRRORS}' to='{_ROOM}'><resume xmlns='{ns.CHANNEL}' e='1' n='0' a='0'/></iq>",
    _FAR + f"<iq type='get' id='c' from='{_MIRRORS}' to='{_ROOM}'><compare xmlns='{ns.CHANNEL}' d='x'/></iq>",
)
_MIRRORED = _presence("ann@example.com/a", rf"a\40rooms.example.net@{_MIRROR}/ann", _MUC)
_HERE = rf"a\40rooms.example.net@{_MIRROR}"
_TALK = f"<message type='groupchat' from='a@rooms.example.net/bob' to='{_HERE}'>{_FMUC}<body>x</body>"
_FROM_ROOM = (
    _presence("a@rooms.example.net/ann", _HERE, f"<fmuc xmlns='{ns.FMUC}' from='ann@example.com/a'/>" + _USER),
    _presence("a@rooms.example.net/bob", _HERE, f"<fmuc xmlns='{ns.FMUC}' from='bob@example.net/b'/>" + _USER),
    f"{_TALK}{_NUMBERED}</message>",
    f"<message type='groupchat' from='a@rooms.example.net' to='{_HERE}'><subject/></message>",
    _presence("a@rooms.example.net", _HERE, f"<fmuc xmlns='{ns.FMUC}'><left/></fmuc>"),
    _presence("a@rooms.example.net", f"{_HERE}/ann", f"<fmuc xmlns='{ns.FMUC}'><reject>x</reject></fmuc>", "error"),
)
_BACKING = (
    _presence("ann@example.com/a", f"a@{_BACKED}/ann", _MUC)
    + _presence("a@conference.example.com/ann", rf"ann\40example.com@{_BACKED}/ann", _USER)
    + rf"<message type='groupchat' from='a@conference.example.com/tom' to='ann\40example.com@{_BACKED}/ann'>"
    "<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='a@conference.example.com' id='1'/></message>"
)
_GRANTED = (
    f"<message from='example.com' to='{_ROSTER}'><privilege xmlns='{ns.PRIVILEGE}'>"
    "<perm access='roster' type='both'/><perm access='presence' type='managed_entity'/></privilege></message>"
    + _presence("ann@example.com/a", _ROSTER, "")
)
_ADVERTISED = (
    f"<delegation xmlns='{ns.DELEGATION_2}'><delegated namespace='jabber:iq:private'><attribute name='node'/>"
    "</delegated></delegation>"
)
# More of each service: what comes back to a proxy; client mode, managing entities, and privileges that are lent;
# rosters that are locked; nodes that speak the older protocol; voice, bans and configurations of rooms.
_OLD = rf"a\40rooms.example.net@{_OLD_MIRROR}"
_OLD_JOIN = _presence("ann@example.com/a", f"{_OLD}/ann", _MUC)
_MAM = "<query xmlns='urn:xmpp:mam:2' node='n' queryid='q'/>"
_PRIVILEGED = (
    f"<privileged_iq xmlns='{ns.PRIVILEGE}'><iq xmlns='{ns.CLIENT}' type='get' id='p' to='ann@example.com'>"
    "<query xmlns='jabber:iq:roster'/></iq></privileged_iq>"
)
_PERMITTED = (
    f"<message from='example.com' to='{{}}'><privilege xmlns='{ns.PRIVILEGE}'><perm access='roster' type='both'/>"
    "<perm access='message' type='outgoing'/><perm access='presence' type='roster'/>"
    "<perm access='iq'><namespace ns='jabber:iq:roster' type='both'/></perm></privilege></message>"
)
_ROSTER_SET = _FORWARDED.replace("jabber:iq:private", "jabber:iq:roster").replace("example.com", "example.net")
_VOICE = f"<message from='{{}}' to='{_ROOM}'>" + _FORM.format(f"{ns.MUC}#request", "{}") + "</message>"
_FIELD = "<field var='{}'><value>{}</value></field>"
_OPTIONS = "".join(
    _FIELD.format(f"muc#roomconfig_{name}", value)
    for name, value in (
        *(("roomname", "x"), ("moderatedroom", "1"), ("membersonly", "1"), ("persistentroom", "1")),
        *(("maxusers", "1"), ("passwordprotectedroom", "1"), ("roomsecret", "x"), ("whois", "moderators")),
    )
)
_BOB = _presence("bob@example.com/b", f"{_ROOM}/bob", _MUC)
_REPLICA = f"<fmuc xmlns='{ns.FMUC}' from='b@example.net/b'><replica/><channel xmlns='{ns.CHANNEL}' e='1'/></fmuc>"
_NODE = f"<fmuc xmlns='{ns.FMUC}' from='b@example.net/b'/>"
_ALLOWED = "".join(
    _FIELD.format(name, value)
    for name, value in (("muc#role", "participant"), ("muc#roomnick", "bob"), ("muc#request_allow", "true"))
)
_CONFIGURED = f"<query xmlns='{ns.MUC_OWNER}'>{_FORM.format(f'{ns.MUC}#roomconfig', _OPTIONS)}</query>"
_BAN = f"<query xmlns='{ns.MUC_ADMIN}'><item jid='bob@example.com' affiliation='outcast'/></query>"
_REGISTERED = (
    "<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'><field var='muc#register_roomnick'>"
    "<value>n</value></field></x></query>"
)
_DECLINED = f"<x xmlns='{ns.MUC_USER}'><decline to='b@example.com'/></x>"
_VCARD = "<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>eA==</BINVAL></PHOTO></vCard>"
_PUPPET = rf"ann\40example.com@{_BACKED}/ann"
_SPOKEN = "<message type='groupchat' from='ann@example.com/a' to='{}'><body>y</body></message>"
_ITEM = "<query xmlns='jabber:iq:roster'><item jid='b@example.com' subscription='both'/></query>"
_MANAGED = (
    f"<iq type='set' id='m' from='example.com' to='{_DELEGATE}'>"
    + _FORWARDED.replace("<query xmlns='jabber:iq:private'><storage xmlns='s'/></query>", _MAM)
    + f"</iq><iq type='result' id='x' from='manager.example.com' to='{_DELEGATE}'>{_FORWARDED}</iq>"
)
_DELEGATED = (
    f"<message from='example.net' to='{_LOCKED}'><delegation xmlns='{ns.DELEGATION_2}'><delegated "
    f"namespace='jabber:iq:roster'/></delegation></message><iq type='set' id='k' from='example.net' to='{_LOCKED}'>"
    f"{_ROSTER_SET}</iq>"
)
_OLD_TALK = f"<message type='groupchat' from='a@rooms.example.net/bob' to='{_OLD}'><body>x</body></message>"
_RESUMED = f"<resumed xmlns='{ns.CHANNEL}' n='0' a='0'/>"
_MORE = (
    (0, _presence("bot@example.com/r", _PROXY, "") + _request("get", _PROXY, "<ping xmlns='urn:xmpp:ping'/>")),
    (0, f"<message from='bot@example.com/r' to='ann%example.com@{_PROXY}'><body>x</body></message>"),
    (0, _presence("bot@example.com", _PROXY, "", "subscribe")),
    (0, _presence("ann@example.com/a", _PROXY, "", "probe")),
    (1, _presence("ann@example.com", _DELEGATE, "", "subscribe")),
    (1, _presence("ann@example.com/a", _DELEGATE, "", "probe")),
    (1, f"<iq type='set' id='d' from='ann@example.com' to='{_DELEGATE}'>{_FORWARDED}</iq>"),
    (1, f"<iq type='set' id='e' from='example.com' to='{_DELEGATE}'>{_FORWARDED.replace('get', 'set')}</iq>"),
    (1, _MANAGED),
    (1, _PERMITTED.format(_DELEGATE)),
    (1, f"<iq type='set' id='l' from='manager.example.com' to='{_DELEGATE}'>{_PRIVILEGED}</iq>"),
    (2, _PERMITTED.format(_ROSTER) + f"<iq type='set' id='p' from='ann@example.com' to='{_ROSTER}'>{_ITEM}</iq>"),
    (3, _JOIN + _presence("mirror.example.net", f"{_ROOM}/x", _NODE)),
    (3, _JOIN + _presence(_MIRRORS, f"{_ROOM}/bob", _REPLICA + _MUC)),
    (3, _JOIN + _BOB + _VOICE.format("bob@example.com/b", _FIELD.format("muc#role", "participant"))),
    (3, _JOIN + _VOICE.format("ann@example.com/a", _ALLOWED)),
    (3, _JOIN + _request("set", _ROOM, _CONFIGURED) + _BOB),
    (3, _JOIN + _BOB + _request("set", _ROOM, _BAN)),
    (3, _JOIN + _request("set", _ROOM, _REGISTERED)),
    (3, _JOIN + f"<message from='ann@example.com/a' to='{_ROOM}'>{_DECLINED}</message>"),
    (3, _JOIN + _request("set", _ROOM, _VCARD)),
    (4, _BACKING + _SPOKEN.format(f"a@{_BACKED}") + _presence("a@conference.example.com/tom", _PUPPET, _USER)),
    (4, _BACKING + _presence("a@conference.example.com/ann", _PUPPET, _USER, "unavailable")),
    (4, f"<iq type='get' id='z' from='a@conference.example.com/tom' to='{_PUPPET}'><q xmlns='x'/></iq>"),
    (5, _MIRRORED + _FROM_ROOM[0] + _SPOKEN.format(_HERE)),
    (5, _MIRRORED + _FROM_ROOM[0] + _presence("ann@example.com/a", f"{_HERE}/ann", "", "unavailable")),
    (5, f"<iq type='result' id='r' from='a@rooms.example.net' to='{_HERE}'>{_RESUMED}</iq>"),
    (6, _OLD_JOIN + _presence("a@rooms.example.net/ann", f"{_OLD}/ann", _USER) + _OLD_TALK),
    (7, _DELEGATED),
)
# The first byte is the number of a component.
STANZAS = tuple(
    bytes([place]) + text.encode()
    for place, text in (
        (0, _request("get", _PROXY, "<query xmlns='jabber:iq:version'/>")),
        (0, _presence("bot@example.com", _PROXY, "", "subscribed")),
        (1, _request("get", _DELEGATE, f"<query xmlns='{ns.DISCO_INFO}'/>")),
        (1, f"<iq type='set' id='d' from='example.com' to='{_DELEGATE}'>{_FORWARDED}</iq>"),
        (2, f"<message from='example.com' to='{_ROSTER}'><privilege xmlns='{ns.PRIVILEGE}'/></message>"),
        (3, _JOIN),
        (3, _JOIN + _SAID + _request("set", f"a@{_ROOMS}", _KICK)),
        (3, _presence(rf"a\40{_ROOMS}@mirror.example.net/bob", f"a@{_ROOMS}/bob", _FMUC + _MUC + _USER)),
        (4, _presence("ann@example.com/a", f"a@{_BACKED}/ann", _MUC)),
        (4, _presence("a@conference.example.com/ann", rf"ann\40example.com@{_BACKED}/ann", _USER)),
        (5, _presence("ann@example.com/a", rf"a\40rooms.example.net@{_MIRROR}/ann", _MUC)),
        *((3, _JOIN + each) for each in _IN_ROOM),
        *((5, _MIRRORED + each) for each in _FROM_ROOM),
        (4, _BACKING),
        (2, _GRANTED),
        (1, f"<message from='example.com' to='{_DELEGATE}'>{_ADVERTISED}</message>"),
        (0, _request("result", _PROXY, "")),
        (0, f"<message type='chat' from='ann@example.com/a' to='{_PROXY}'><body>x</body></message>"),
        *_MORE,
    )
)

ROSTER = (
    b'{"ann@example.com": {"name": "Ann", "groups": ["a", "b"], "subscription": "both"}, "b": null}',
    b'{"tom@example.com": {"groups": {"x": true, "y": false}, "name": "\\ud83d\\ude00"}}',
    b'["ann", "tom", 1, {"a": [null, true, 1e5]}]',
    b"[]",
)

# Requesters, and the addresses that they write to.
REQUESTERS = (
    ("ann@example.com/desk", _PROXY),
    ("ann@example.com/\u00e9 ~%", f"a@{_PROXY}/r"),
    (f"{'a' * 1_000}@example.com/r", _PROXY),
)
