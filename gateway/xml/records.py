"""
Lists of simple elements in large stanzas, read without a tree: that takes half the time, and little memory. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from gateway.xml.read import EventReader


def readRecords(
    before: tuple[bytes, ...],
    content: bytes,
    path: tuple[str, str],
    text: str,
    found: Callable[[dict[str, str], list[str]], object],
) -> bool:
    """
    Read the records in an element: its children with one name. The data of a record are its attributes and the
    texts of its own children; everything else is skipped. Names are as expat writes them: namespace,
    L{gateway.xml.read.SEPARATOR}, name.

    @param before: the well-formed start tags that the content stands in.
    @param content: well-formed elements, one after the other. Only the first one with the list's name is read.
    @param path: name of the list, and of the records in it.
    @param text: name of the children of a record that have text.
    @param found: is called with the attributes and the texts of each record.
    @return: true if there is such a list.
    """
    with closing(_RecordReader(before, path, text, found)) as reader:
        reader.feed(content)
        return reader.hasList


class _RecordReader(EventReader):
    """
    Receives the events of one parser. The list is at depth 1, a record at depth 2, a text at depth 3.
    """

    def __init__(
        self,
        before: tuple[bytes, ...],
        path: tuple[str, str],
        text: str,
        found: Callable[[dict[str, str], list[str]], object],
    ) -> None:
        super().__init__(*before)
        # Most text is skipped.
        self._parser.CharacterDataHandler = None
        self._list, self._record = path
        self._textName = text
        self._found = found
        self._depth = 0
        self._isInList = self.hasList = False
        self._attributes: dict[str, str] | None = None
        self._texts: list[str] = []
        self._pieces: list[str] = []

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1:
            self._isInList = name == self._list and not self.hasList
            self.hasList = self.hasList or self._isInList
        elif self._depth == 2:
            self._attributes = attributes if self._isInList and name == self._record else None
            self._texts = []
        elif self._depth == 3 and name == self._textName:
            self._pieces = []
            self._parser.CharacterDataHandler = self._pieces.append

    def _ended(self, name: str) -> None:
        if self._depth == 3 and name == self._textName:
            self._parser.CharacterDataHandler = None
            self._texts.append("".join(self._pieces))
            self._pieces = []
        elif self._depth == 2 and self._attributes is not None:
            self._found(self._attributes, self._texts)
        self._depth -= 1
