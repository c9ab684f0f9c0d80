from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

from constantly import ValueConstant, Values
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from wokkel.data_form import Form, _Value
from wokkel.delay import DelayMixin
from wokkel.generic import Request, _ChildParsers
from wokkel.iwokkel import IMUCClient, IMUCStatuses
from wokkel.xmppim import AvailabilityPresence, BasePresenceProtocol, Message
from zope.interface import implementer

NS_MUC: str
NS_MUC_USER: str
NS_MUC_ADMIN: str
NS_MUC_OWNER: str
NS_MUC_ROOMINFO: str
NS_MUC_CONFIG: str
NS_MUC_REQUEST: str
NS_MUC_REGISTER: str
NS_REGISTER: str
MESSAGE: str
PRESENCE: str
GROUPCHAT: str
DEFER_TIMEOUT: int  # seconds

_Options: TypeAlias = Mapping[str, _Value]

class STATUS_CODE(Values):
    REALJID_PUBLIC: ValueConstant
    AFFILIATION_CHANGED: ValueConstant
    UNAVAILABLE_SHOWN: ValueConstant
    UNAVAILABLE_NOT_SHOWN: ValueConstant
    CONFIGURATION_CHANGED: ValueConstant
    SELF_PRESENCE: ValueConstant
    LOGGING_ENABLED: ValueConstant
    LOGGING_DISABLED: ValueConstant
    NON_ANONYMOUS: ValueConstant
    SEMI_ANONYMOUS: ValueConstant
    FULLY_ANONYMOUS: ValueConstant
    ROOM_CREATED: ValueConstant
    NICK_ASSIGNED: ValueConstant
    BANNED: ValueConstant
    NEW_NICK: ValueConstant
    KICKED: ValueConstant
    REMOVED_AFFILIATION: ValueConstant
    REMOVED_MEMBERSHIP: ValueConstant
    REMOVED_SHUTDOWN: ValueConstant

@implementer(IMUCStatuses)
class Statuses(set[ValueConstant]): ...

class _FormRequest(Request):
    requestNamespace: str | None
    formNamespace: str | None
    options: _Options | Literal[False] | None  # None asks for the form, False cancels
    def __init__(
        self, recipient: JID, sender: JID | None = None, options: _Options | Literal[False] | None = None
    ) -> None: ...

class ConfigureRequest(_FormRequest): ...
class RegisterRequest(_FormRequest): ...

class AdminItem:
    affiliation: str | None
    role: str | None
    entity: JID | None
    nick: str | None
    reason: str | None
    def __init__(
        self,
        affiliation: str | None = None,
        role: str | None = None,
        entity: JID | None = None,
        nick: str | None = None,
        reason: str | None = None,
    ) -> None: ...
    def toElement(self) -> Element: ...
    @classmethod
    def fromElement(cls, element: Element) -> AdminItem: ...

class AdminStanza(Request):
    items: list[AdminItem]  # must be set before toElement

class DestructionRequest(Request):
    reason: str | None
    alternate: JID | None
    password: str | None
    def __init__(
        self,
        recipient: JID,
        sender: JID | None = None,
        reason: str | None = None,
        alternate: JID | None = None,
        password: str | None = None,
    ) -> None: ...

class GroupChat(Message, DelayMixin):
    childParsers: ClassVar[_ChildParsers]
    def toElement(self, legacyDelay: bool = False) -> Element: ...

class PrivateChat(Message): ...

class InviteMessage(Message):
    invitee: JID | None
    reason: str | None
    def __init__(
        self,
        recipient: JID | None = None,
        sender: JID | None = None,
        invitee: JID | None = None,
        reason: str | None = None,
    ) -> None: ...

class HistoryOptions:
    attributes: list[str]
    maxChars: int | None
    maxStanzas: int | None
    seconds: int | None
    since: datetime | None
    def __init__(
        self,
        maxChars: int | None = None,
        maxStanzas: int | None = None,
        seconds: int | None = None,
        since: datetime | None = None,
    ) -> None: ...
    def toElement(self) -> Element: ...

class BasicPresence(AvailabilityPresence):
    history: HistoryOptions | None
    password: str | None

class UserPresence(AvailabilityPresence):
    affiliation: str | None
    role: str | None
    entity: JID | None
    nick: str | None
    mucStatuses: Statuses
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

class VoiceRequest(Message): ...

class MUCClientProtocol(BasePresenceProtocol):
    timeout: float | None
    def __init__(self, reactor: IReactorTime | None = None) -> None: ...
    def groupChatReceived(self, message: GroupChat) -> None: ...
    def join(
        self,
        roomJID: JID,
        nick: str,
        historyOptions: HistoryOptions | None = None,
        password: str | None = None,
    ) -> Deferred[Any]: ...
    def nick(self, roomJID: JID, nick: str) -> Deferred[Any]: ...
    def status(self, roomJID: JID, show: str | None = None, status: str | None = None) -> Deferred[Any]: ...
    def leave(self, roomJID: JID) -> Deferred[Any]: ...
    def groupChat(self, roomJID: JID, body: str) -> None: ...
    def chat(self, occupantJID: JID, body: str) -> None: ...
    def subject(self, roomJID: JID, subject: str) -> None: ...
    def invite(self, roomJID: JID, invitee: JID, reason: str | None = None) -> None: ...
    def getRegisterForm(self, roomJID: JID) -> Deferred[Form | None]: ...
    def register(self, roomJID: JID, options: _Options | None) -> Deferred[Element]: ...
    def voice(self, roomJID: JID) -> None: ...
    def history(self, roomJID: JID, messages: Sequence[dict[str, Element | datetime]]) -> None: ...
    def getConfiguration(self, roomJID: JID) -> Deferred[Form | None]: ...
    def configure(self, roomJID: JID, options: _Options | None) -> Deferred[Element]: ...
    def getMemberList(self, roomJID: JID) -> Deferred[list[AdminItem]]: ...
    def getAdminList(self, roomJID: JID) -> Deferred[list[AdminItem]]: ...
    def getBanList(self, roomJID: JID) -> Deferred[list[AdminItem]]: ...
    def getOwnerList(self, roomJID: JID) -> Deferred[list[AdminItem]]: ...
    def getModeratorList(self, roomJID: JID) -> Deferred[list[AdminItem]]: ...
    def modifyAffiliationList(
        self, roomJID: JID, entities: Sequence[JID], affiliation: str, sender: JID | None = None
    ) -> Deferred[Element]: ...
    def grantVoice(
        self, roomJID: JID, nick: str, reason: str | None = None, sender: JID | None = None
    ) -> Deferred[Element]: ...
    def revokeVoice(
        self, roomJID: JID, nick: str, reason: str | None = None, sender: JID | None = None
    ) -> Deferred[Element]: ...
    def grantModerator(
        self, roomJID: JID, nick: str, reason: str | None = None, sender: JID | None = None
    ) -> Deferred[Element]: ...
    def ban(
        self, roomJID: JID, entity: JID, reason: str | None = None, sender: JID | None = None
    ) -> Deferred[Element]: ...
    def kick(
        self, roomJID: JID, nick: str, reason: str | None = None, sender: JID | None = None
    ) -> Deferred[Element]: ...
    def destroy(
        self,
        roomJID: JID,
        reason: str | None = None,
        alternate: JID | None = None,
        password: str | None = None,
    ) -> Deferred[Any]: ...

class User:
    nick: str
    entity: JID | None
    affiliation: str
    role: str
    status: str | None
    show: str | None
    def __init__(self, nick: str, entity: JID | None = None) -> None: ...

class Room:
    locked: bool
    roomJID: JID
    occupantJID: JID
    nick: str
    roster: dict[str, User]
    def __init__(self, roomJID: JID, nick: str) -> None: ...
    def setNick(self, nick: str) -> None: ...
    def addUser(self, user: User) -> None: ...
    def inRoster(self, user: User) -> bool: ...
    def getUser(self, nick: str) -> User | None: ...
    def removeUser(self, user: User) -> None: ...

@implementer(IMUCClient)
class MUCClient(MUCClientProtocol):
    def unavailableReceived(self, presence: UserPresence) -> None: ...
    def availableReceived(self, presence: UserPresence) -> None: ...
    def userJoinedRoom(self, room: Room, user: User) -> None: ...
    def userLeftRoom(self, room: Room, user: User) -> None: ...
    def userUpdatedStatus(self, room: Room, user: User, show: str | None, status: str | None) -> None: ...
    def receivedSubject(self, room: Room, user: User | None, subject: str) -> None: ...
    def receivedGroupChat(self, room: Room, user: User | None, message: GroupChat) -> None: ...
    def receivedHistory(self, room: Room, user: User | None, message: GroupChat) -> None: ...
