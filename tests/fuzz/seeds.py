"""Input to begin with, for each target."""

from __future__ import annotations

from gateway import ns

# What makes a difference to a parser.
WORDS = (
    *rb"""< > /> </ ' " & &#0; &#x1F600; ]]> <![CDATA[ <!-- <?x?> xml: xmlns= xmlns:p=' type='error'
    type='unavailable' from=' id=' [ ] { } : , null true 1e999 -1 % @ / \40 = # """.split(),
    *(b"\0", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\r\n", b"\r\n\r\n", b" ", b"'''", b'"""'),
)

COMPONENTS = _PROXY, _DELEGATE, _ROSTER, _ROOMS, _BACKED, _MIRROR = tuple(
    f"{name}.example.com" for name in ("proxy", "delegate", "roster", "rooms", "backed", "mirror")
)
# A gateway with all services.
TABLES = f"""
[proxy."{_PROXY}"]
target = "bot@example.com"

[delegation."{_DELEGATE}"]
servers = ["example.com"]

[delegation."{_DELEGATE}".namespaces]
"jabber:iq:private" = {{ handler = "private-storage" }}

[roster."{_ROSTER}"]
domain = "example.com"
url = "http://127.0.0.1:8000/contacts/%s"

[rooms."{_ROOMS}"]
peers = ["mirror.example.net"]

[rooms."{_BACKED}"]
backing = "conference.example.com"
peers = ["mirror.example.net"]

[mirror."{_MIRROR}"]
allow = ["rooms.example.net"]
users = ["example.com"]
"""
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

_POST = b"POST /roster.example.com/roster HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HTTP = (
    b"GET /status HTTP/1.1\r\nHost: 127.0.0.1:5290\r\n\r\n",
    b"GET /metrics?x=%41 HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n",
    _POST + b'Content-Length: 7\r\n\r\n["ann"]',
    b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
)
