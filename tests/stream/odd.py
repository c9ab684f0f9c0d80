"""Streams in every spelling that XML allows, and input that breaks them, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from gateway import ns

# Input between two stanzas that ends a stream, with its stream error.
BROKEN: dict[str, tuple[bytes, str]] = {
    "comment": (b"<!-- x -->", "restricted-xml"),
    "comment with a quote": (b"<!-- it's -->", "restricted-xml"),
    "comment with a stanza": (b"<!-- <iq from='x'/> -->", "restricted-xml"),
    "comment in a stanza": (b"<message><!-- x --></message>", "restricted-xml"),
    "processing instruction": (b"<?x y?>", "restricted-xml"),
    "instruction in a stanza": (b"<iq><?x <iq/>?></iq>", "restricted-xml"),
    "entity": (b"<message>&lol;</message>", "restricted-xml"),
    "entity in a value": (b"<message id='&lol;'/>", "restricted-xml"),
    "DTD": (b"<!DOCTYPE x>", "not-well-formed"),
    "second declaration": (b"<?xml version='1.0'?>", "not-well-formed"),
    "wrong end": (b"<message><body></message>", "not-well-formed"),
    "wrong end of all": (b"</stream>", "not-well-formed"),
    "no quotes": (b"<message a=1/>", "not-well-formed"),
    "twice the same attribute": (b"<message a='>' a='>'/>", "not-well-formed"),
    "control character": (b"<message>\x01</message>", "not-well-formed"),
    "control by reference": (b"<message>&#1;</message>", "not-well-formed"),
    "less-than in a value": (b"<message a='<'/>", "not-well-formed"),
    "end of a section": (b"<message>]]></message>", "not-well-formed"),
    "and between stanzas": (b"]]>", "not-well-formed"),
    "bad entity between stanzas": (b"&1", "not-well-formed"),
    "unfinished entity before a stanza": (b"&amp<iq id='x'/>", "not-well-formed"),
    "and one in a section": (b"<![CDATA[&]]>&<iq id='x'/>", "not-well-formed"),
    "entity between stanzas": (b"&lol;", "restricted-xml"),
    "instruction in a section": (b"<![CDATA[<?]]>\x01", "not-well-formed"),
    "comment in a section": (b"<![CDATA[<!--]]>\x01", "not-well-formed"),
    "Latin-1 in an instruction": (b"<message><?x </message>\x91", "unsupported-encoding"),
    "and an empty tag": (b"<?x ''></>\x91", "unsupported-encoding"),
    "Latin-1 in a comment": (b"<message><!--x </message>\x91", "unsupported-encoding"),
    "hyphens in a comment, and a tag": (b"<!--'><message a='b'/>--x", "not-well-formed"),
    "Latin-1": (b"<message>\xe9</message>", "unsupported-encoding"),
    "surrogate": (b"<message a='\xed\xa0\x80'/>", "unsupported-encoding"),
}

# Well-formed XML that breaks the rules of namespaces, and so costs one stanza. Servers that process namespaces
# write the first three if a client has sent <xml:q/>, <xml:q><b/></xml:q> and <q><xml:q xml:a=''/></q>.
REFUSED: dict[str, bytes] = {
    "XML's namespace by default": f"<message from='a' id='n'><q xmlns='{ns.XML}'/></message>".encode(),
    "and something in it": f"<message from='a' id='n'><q xmlns='{ns.XML}'><b xmlns='x'/></q></message>".encode(),
    "deeper, with an attribute": f"<iq from='a' id='n'><q><q xmlns='{ns.XML}' xml:a=''/></q></iq>".encode(),
    "on the root": f"<message xmlns='{ns.XML}' from='a' id='n'/>".encode(),
    "the namespace of declarations": f"<iq from='a' id='n'><q xmlns='{ns.XMLNS}'/></iq>".encode(),
    "and by a prefix": f"<iq from='a' id='n'><p:q xmlns:p='{ns.XMLNS}'/></iq>".encode(),
    "an unbound prefix": b"<message from='a' id='n'><nix:x/></message>",
    "of an attribute": b"<message from='a' id='n'><x nix:x=''></x></message>",
    "of the root": b"<nix:message from='a' id='n'>x</nix:message>",
    "of the root's attribute": b"<message from='a' id='n' nix:x='>'/>",
    "xmlns for a prefix": b"<message from='a' id='n'><xmlns:x/></message>",
    "a prefix undeclared": b"<message from='a' id='n' xmlns:p='p'><x xmlns:p=''/></message>",
    "xml for another namespace": b"<message from='a' id='n'><x xmlns:xml='p'/></message>",
    "two colons": b"<message from='a' id='n'><x xmlns:p='p'><p:b:c/></x></message>",
    "a colon at the end": b"<message from='a' id='n'><x:/></message>",
    "a colon at the beginning": b"<message from='a' id='n'><:x></:x></message>",
    "the same attribute by two prefixes": b"<iq from='a' id='n'><q xmlns:p='u' xmlns:r='u' p:x='' r:x=''/></iq>",
    "the end of a stanza in a section": b"<iq from='a' id='n'><nix:x><![CDATA[</iq>]]></nix:x></iq>",
    "a stanza of the same kind in it": b"<iq from='a' id='n'><iq><nix:x/></iq ><iq/><iq></iq></iq\n>",
    "long after the fault": b"<iq from='a' id='n'><nix:x/>" + b"<b>x</b>" * 500 + b"</iq>",
}

_CHARACTERS = st.text(st.sampled_from("ab >/=:]!-\u00e9\u20ac\U0001f600\u202e"), max_size=6)
XML = f"xmlns:xml='{ns.XML}'"
_SPELLED = st.sampled_from(["&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#65;", "&#x1F600;", "&#10;", "\n", "\t"])
_SPACES = st.sampled_from([" ", " ", "  ", "\n", "\t ", "\r\n"])
_MAYBE_SPACE = st.sampled_from(["", "", "", " ", "\n"])
_NAMES = st.sampled_from(["iq", "iqx", "message", "body", "x", "\u00e9t\u00e9", "a-b.c"])
_WELL_KNOWN = ["from", "to", "id", "type", "xml:lang"]


@st.composite
def values(draw: st.DrawFn) -> str:
    """Return an attribute value between quotes."""
    quote = draw(st.sampled_from("''\""))
    other = "'" if quote == '"' else '"'
    parts = draw(st.lists(_CHARACTERS | _SPELLED | st.just(other), max_size=3))
    return quote + "".join(parts) + quote


@st.composite
def attributes(draw: st.DrawFn, names: list[str], declarations: list[str]) -> str:
    """Return some of these attributes and all of these declarations, in any order."""
    chosen = draw(st.lists(st.sampled_from(names), max_size=5, unique=True))
    written = [f"{name}{draw(_MAYBE_SPACE)}={draw(_MAYBE_SPACE)}{draw(values())}" for name in chosen] + declarations
    return "".join(draw(_SPACES) + one for one in draw(st.permutations(written)))


@st.composite
def contents(draw: st.DrawFn, prefixes: list[str], depth: int) -> str:
    """Return the contents of an element: texts, CDATA sections, references, elements."""
    kinds = ["text", "spelled", "section", "element", "element"] if depth else ["text", "section"]
    written = []
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=3)):
        if kind == "text":
            written.append(draw(_CHARACTERS).replace("]", ")"))
        elif kind == "spelled":
            written.append(draw(_SPELLED))
        elif kind == "section":
            inside = draw(
                st.sampled_from(["", "<", "</iq>", "</message>", "<iq from='x'/>", "]]", "]", "'", "<!--"])
            )
            written.append(f"<![CDATA[{inside}]]>")
        else:
            written.append(draw(elements(prefixes, depth - 1)))
    return "".join(written)


@st.composite
def elements(draw: st.DrawFn, prefixes: list[str], depth: int, name: str = "") -> str:
    """Return an element, with C{prefixes} declared on its ancestors."""
    declarations = []
    declared = draw(st.sampled_from(["", "", "l", "h", "stream"]))
    if declared:
        declarations.append(f"xmlns:{declared}='urn:{declared}:here'")
        prefixes = [*prefixes, declared]
    if not name and draw(st.integers(0, 3)) == 0:
        declarations.append(
            draw(st.sampled_from(["xmlns='urn:d'", 'xmlns="jabber:client"', "xmlns=''", "xmlns='a b'", XML]))
        )
    own = [f"{prefix}:a" for prefix in dict.fromkeys(prefixes) if prefix not in ("stream", "s")]
    written = draw(attributes([*_WELL_KNOWN, "a", "b", *own[:1]], declarations))
    prefix = "" if name else draw(st.sampled_from(["", "", *prefixes]))
    name = name or (f"{prefix}:" if prefix else "") + draw(_NAMES)
    if draw(st.integers(0, 3)) == 0:
        return f"<{name}{written}{draw(_MAYBE_SPACE)}/>"
    inside = draw(contents(prefixes, depth))
    return f"<{name}{written}{draw(_MAYBE_SPACE)}>{inside}</{name}{draw(_MAYBE_SPACE)}>"


@st.composite
def plains(draw: st.DrawFn, prefixes: list[str]) -> str:
    """Return a stanza in the usual spelling of servers."""
    kind = draw(st.sampled_from(["iq", "message", "presence"]))
    names = draw(st.lists(st.sampled_from(_WELL_KNOWN), max_size=5, unique=True))
    text = st.text(st.sampled_from('ab>/=" \u20ac\U0001f600'), max_size=8)
    root = kind + "".join(f" {name}='{draw(text)}'" for name in names)
    if draw(st.integers(0, 4)) == 0:
        return f"<{root}/>"
    return f"<{root}>{draw(contents(prefixes, 2))}</{kind}>"


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Return a whole open stream: a header, stanzas and other elements, white space between them."""
    root = draw(st.sampled_from(["stream", "s"]))
    namespace = draw(st.sampled_from(["urn:h", "urn: h"]))
    header = f"<{root}:stream xmlns='{ns.COMPONENT_ACCEPT}' "
    header += f"xmlns:{root}=\"{ns.STREAMS}\" xmlns:h='{namespace}' id='>'>"
    prefixes = [root, "h", "xml"]
    if draw(st.booleans()):
        header = "<?xml version='1.0'?>" + header
    written = [header]
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["plain", "plain", "odd", "prefixed", "other", "space"]))
        if kind == "plain":
            written.append(draw(plains(prefixes)))
        elif kind == "odd":
            written.append(draw(elements(prefixes, 3, draw(st.sampled_from(["iq", "message", "presence"])))))
        elif kind == "prefixed":
            attribute = f"xmlns:c='{ns.COMPONENT_ACCEPT}'"
            inside = draw(contents([*prefixes, "c"], 2))
            written.append(f"<c:iq {attribute}{draw(attributes(_WELL_KNOWN, []))}>{inside}</c:iq>")
        elif kind == "other":
            written.append(draw(elements(prefixes, 2)))
        else:
            written.append(draw(_SPACES))
    return "".join(written).encode()
