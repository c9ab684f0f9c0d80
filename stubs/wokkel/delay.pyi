from datetime import datetime
from typing import ClassVar

from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from wokkel.generic import _ChildParsers

NS_DELAY: str
NS_JABBER_DELAY: str

class Delay:
    stamp: datetime | None  # None if the element has no valid one
    sender: JID | None
    def __init__(self, stamp: datetime | None, sender: JID | None = None) -> None: ...
    def toElement(self, legacy: bool = False) -> Element: ...
    @staticmethod
    def fromElement(element: Element) -> Delay: ...

class DelayMixin:
    delay: Delay | None
    childParsers: ClassVar[_ChildParsers]
