"""Values of a room's archive (XEP-0313)."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class ArchivedMessage:
    """
    A message in the archive of a room. It was sent to all occupants.

    @ivar room: bare JID.
    @ivar id: stanza id, and id in the archive.
    @ivar utc: whole seconds since 1970, as the archive shows them.
    @ivar nick: nick of the sender; empty for the room itself.
    @ivar realJid: full JID of the sender, if it is known.
    @ivar person: prepared bare JID of the sender, if it is known.
    @ivar isOpen: True if all occupants saw the sender's real JID.
    @ivar affiliation: of the sender, as of C{role}; empty if the sender had left.
    @ivar stanza: C{id} of the stanza; C{None} if it had none.
    @ivar payload: XML whose default namespace is the stanza's.
    @ivar isSubject: True if the message sets the subject.
    """

    room: str
    id: str
    utc: int
    nick: str
    realJid: str = ""
    person: str = ""
    isOpen: bool = False
    affiliation: str = ""
    role: str = ""
    occupantId: str = ""
    stanza: str | None = None
    language: str = ""
    payload: str = ""
    isSubject: bool = False

    @property
    def size(self) -> int:
        """Bytes, or characters, of the parts that other entities choose."""
        names = len(self.nick) + len(self.realJid) + len(self.stanza or "") + len(self.language)
        return len(self.payload.encode()) + names


@frozen(kw_only=True)
class ArchiveQuery:
    """
    A request for a page of an archive.

    Filters select messages, and the page is a part of them.

    @ivar room: bare JID.
    @ivar queryId: is repeated in each result; C{None} for none.
    @ivar seesAll: True if the user may see all real JIDs.
    @ivar seesOpen: True if the user may see the real JIDs that all occupants saw.
    @ivar start: filter by time: seconds since 1970; C{None} for none, as for C{end}.
    @ivar afterId: filter by the archive's order: id of the message before the first one; empty for none, as for
        C{beforeId}.
    @ivar ids: filter by ids; C{None} for none.
    @ivar nick: filter by the sender; C{None} for none, as for C{sender}.
    @ivar sender: prepared real JID, bare or full.
    @ivar after: id of the message before the page; empty for none.
    @ivar before: id of the message after the page; empty for none.
    @ivar isBackwards: True if the page is the last one of the messages before its end.
    @ivar limit: number of messages of the page.
    @ivar offset: messages between the page's anchor and the page.
    @ivar isFlipped: True if the newest message is sent first.
    """

    room: str
    queryId: str | None = None
    seesAll: bool = False
    seesOpen: bool = False
    start: int | None = None
    end: int | None = None
    afterId: str = ""
    beforeId: str = ""
    ids: tuple[str, ...] | None = None
    nick: str | None = None
    sender: str | None = None
    after: str = ""
    before: str = ""
    isBackwards: bool = False
    limit: int
    offset: int = 0
    isFlipped: bool = False


@frozen(kw_only=True)
class ArchivePage:
    """
    A part of the messages that a query selects.

    @ivar messages: in the archive's order.
    @ivar isComplete: True if nothing follows in the direction of the query.
    @ivar count: number of all selected messages.
    @ivar index: number of selected messages before the first one of the page.
    """

    messages: tuple[ArchivedMessage, ...] = ()
    isComplete: bool = True
    count: int = 0
    index: int = 0


@frozen
class ArchiveEnd:
    """The first or the last message of an archive: its id, and its time in seconds since 1970."""

    id: str
    utc: int


@frozen
class Retention:
    """
    Bounds of the archives of a service.

    @ivar messages: messages of a room.
    @ivar seconds: age of a message.
    @ivar bytes: size of a room's messages.
    @ivar rooms: number of archives.
    """

    messages: int
    seconds: float
    bytes: int = 32 * 1024 * 1024
    rooms: int = 1_000
