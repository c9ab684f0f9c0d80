"""
All namespaces that the gateway uses, each with its specification and the version that was implemented.
"""

# RFC 6120: streams, stanzas and their errors.
STREAMS = "http://etherx.jabber.org/streams"
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
CLIENT = "jabber:client"
XML = "http://www.w3.org/XML/1998/namespace"
XMLNS = "http://www.w3.org/2000/xmlns/"

# RFC 3921 section 3: session establishment. RFC 6121 dropped it, but clients still request it.
SESSION = "urn:ietf:params:xml:ns:xmpp-session"

# RFC 6121: rosters.
ROSTER = "jabber:iq:roster"

# XEP-0030 2.5: Service Discovery.
DISCO_INFO = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"

# XEP-0077 2.4: In-Band Registration.
REGISTER = "jabber:iq:register"

# XEP-0092 1.1: Software Version.
VERSION = "jabber:iq:version"

# XEP-0054 1.2: vcard-temp; XEP-0153 1.1.1: its avatars; XEP-0292 0.12: vCard4 Over XMPP.
VCARD = "vcard-temp"
VCARD_UPDATE = "vcard-temp:x:update"
VCARD_4 = "urn:ietf:params:xml:ns:vcard-4.0"

# XEP-0114 1.6: Jabber Component Protocol.
COMPONENT_ACCEPT = "jabber:component:accept"

# XEP-0199 2.0.1: XMPP Ping.
PING = "urn:xmpp:ping"

# XEP-0049 1.2: Private XML Storage.
PRIVATE = "jabber:iq:private"

# XEP-0297 1.0: Stanza Forwarding.
FORWARD = "urn:xmpp:forward:0"

# XEP-0355 0.5 and, as implemented by ejabberd, 0.3: Namespace Delegation.
DELEGATION_2 = "urn:xmpp:delegation:2"
DELEGATION_1 = "urn:xmpp:delegation:1"

# XEP-0004 2.13.1: Data Forms.
DATA = "jabber:x:data"

# XEP-0059 1.0: Result Set Management.
RSM = "http://jabber.org/protocol/rsm"

# XEP-0050 1.3: Ad-Hoc Commands.
COMMANDS = "http://jabber.org/protocol/commands"

# XEP-0356 0.4.1: Privileged Entity; and its version 0.3, which has no privileged iq.
PRIVILEGE = "urn:xmpp:privilege:2"
PRIVILEGE_1 = "urn:xmpp:privilege:1"

# XEP-0045 1.35: Multi-User Chat.
MUC = "http://jabber.org/protocol/muc"
MUC_USER = "http://jabber.org/protocol/muc#user"
MUC_ADMIN = "http://jabber.org/protocol/muc#admin"
MUC_OWNER = "http://jabber.org/protocol/muc#owner"
MUC_ROOM_INFO = "http://jabber.org/protocol/muc#roominfo"
MUC_STABLE_ID = "http://jabber.org/protocol/muc#stable_id"
MUC_TRAFFIC = "http://jabber.org/protocol/muc#traffic"
MUC_REGISTER = "http://jabber.org/protocol/muc#register"
MUC_REQUEST = "http://jabber.org/protocol/muc#request"
MUC_ROOM_CONFIG = "http://jabber.org/protocol/muc#roomconfig"

# XEP-0410 1.1: MUC Self-Ping.
SELF_PING = "http://jabber.org/protocol/muc#self-ping-optimization"

# XEP-0203 2.0: Delayed Delivery; and XEP-0091 1.4, which it supersedes.
DELAY = "urn:xmpp:delay"
DELAY_1 = "jabber:x:delay"

# XEP-0421 1.0.1: Occupant identifiers.
OCCUPANT_ID = "urn:xmpp:occupant-id:0"

# XEP-0359 0.7.0: Unique and Stable Stanza IDs.
SID = "urn:xmpp:sid:0"

# XEP-0313 1.1.3: Message Archive Management; XEP-0122 1.0.2: Data Forms Validation.
MAM = "urn:xmpp:mam:2"
MAM_EXTENDED = "urn:xmpp:mam:2#extended"
VALIDATE = "http://jabber.org/protocol/xdata-validate"

# XEP-0334 1.0: Message Processing Hints.
HINTS = "urn:xmpp:hints"

# XEP-0085 2.1: Chat States; XEP-0333 1.0: Displayed Markers; XEP-0184 1.4: Receipts; XEP-0071 1.5: XHTML-IM.
CHAT_STATES = "http://jabber.org/protocol/chatstates"
CHAT_MARKERS = "urn:xmpp:chat-markers:0"
RECEIPTS = "urn:xmpp:receipts"
XHTML_IM = "http://jabber.org/protocol/xhtml-im"

# In presence: XEP-0115 1.6: Capabilities; XEP-0317 0.3: Hats; XEP-0319 1.0: Idle; XEP-0172 1.1: Nickname.
CAPS = "http://jabber.org/protocol/caps"
HATS = "urn:xmpp:hats:0"
IDLE = "urn:xmpp:idle:1"
NICK = "http://jabber.org/protocol/nick"

# Resumption of two nodes of a federated room after a loss of stanzas: our extension of XEP-0289; see docs/fmuc.md.
RESUME = "urn:xmpp-gateway:fmuc-resume:0"

# XEP-0289 0.2 and the ProtoXEP 0.0.1 before it: Federated MUC.
FMUC = "http://isode.com/protocol/fmuc"

# docs/fmuc-resync.md: the reliable channel between two nodes. It is short because each stanza has it.
CHANNEL = "urn:xmpp:fr:0"
