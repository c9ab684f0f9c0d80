"""Content of a disco#info answer (XEP-0045 section 6.4)."""

from __future__ import annotations

from attrs import frozen

from gateway.muc.forms import FormField


@frozen
class Info:
    """
    Content of a disco#info answer.

    @ivar fields: fields of the form C{muc#roominfo}.
    @ivar identity: category and type.
    """

    name: str
    features: tuple[str, ...]
    fields: tuple[FormField, ...] = ()
    identity: tuple[str, str] = ("conference", "text")
