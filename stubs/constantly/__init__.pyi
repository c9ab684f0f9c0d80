from collections.abc import Iterator
from typing import Any

# The part that wokkel.muc uses: a class of constants that are looked up by name or by value.
class ValueConstant:
    name: str
    value: Any
    def __init__(self, value: Any) -> None: ...

class Values:
    @classmethod
    def lookupByName(cls, name: str) -> ValueConstant: ...
    @classmethod
    def lookupByValue(cls, value: Any) -> ValueConstant: ...
    @classmethod
    def iterconstants(cls) -> Iterator[ValueConstant]: ...
