"""Data forms (XEP-0004): read from stanzas, and written to stanzas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen
from twisted.words.xish import domish

from gateway import ns
from gateway.xml.write import escape, tag, textTag

_NO_VALUES: Mapping[str, tuple[str, ...]] = {}


@frozen
class FormField:
    """
    A field of a form that is sent.

    @ivar kind: its type; empty for none.
    @ivar values: the current values.
    @ivar choices: allowed values of a C{list-single}, each with its label.
    @ivar isRequired: True if a submitted form must have the field.
    """

    var: str
    kind: str
    label: str
    values: tuple[str, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()
    isRequired: bool = False


@frozen
class Form:
    """
    A received form.

    @ivar kind: its type, such as C{submit} or C{cancel}.
    @ivar values: by C{var}. A field without a value has an empty tuple.
    """

    kind: str = ""
    values: Mapping[str, tuple[str, ...]] = _NO_VALUES

    def value(self, var: str) -> str:
        """Return the first value of a field; empty for none."""
        return next(iter(self.values.get(var, ())), "")

    def isSubmitted(self, namespace: str) -> bool:
        """True if this is a submitted form of a C{FORM_TYPE} (XEP-0068)."""
        return self.kind == "submit" and self.value("FORM_TYPE") == namespace


def isForm(element: domish.Element) -> bool:
    """True if an element is a form."""
    return (element.uri, element.name) == (ns.DATA, "x")


def readForm(element: domish.Element) -> Form:
    """Read a form; of two fields with one name, the last counts."""
    found: dict[str, tuple[str, ...]] = {}
    for field in element.elements():
        values = tuple(str(each) for each in field.elements() if each.name == "value")
        if field.name == "field":
            found[field.getAttribute("var", "")] = values
    return Form(element.getAttribute("type", ""), found)


def formXml(kind: str, namespace: str, fields: Sequence[FormField], title: str = "", instructions: str = "") -> str:
    """
    Return a form.

    @param namespace: its C{FORM_TYPE}.
    """
    inside = textTag("title", title) + textTag("instructions", instructions)
    inside += tag("field", tag("value", namespace), var="FORM_TYPE", type="hidden")
    return tag("x", inside + "".join(map(_fieldXml, fields)), xmlns=ns.DATA, type=kind)


def _fieldXml(field: FormField) -> str:
    inside = "".join(tag("value", escape(each)) for each in field.values)
    inside += "".join(tag("option", tag("value", each), label=label) for each, label in field.choices)
    inside += tag("required") if field.isRequired else ""
    return tag("field", inside or None, var=field.var, type=field.kind or None, label=field.label or None)
