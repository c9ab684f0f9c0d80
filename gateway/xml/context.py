"""
The namespaces that a stream's header declares, and that its stanzas rely on.
"""

from __future__ import annotations

from attrs import field, frozen

from gateway import ns
from gateway.xml.write import escape


@frozen(eq=False)
class Context:
    """
    The namespaces that a stream's header declares; they give the prefixes in its stanzas a meaning.

    @ivar namespace: the content namespace.
    @ivar prefixes: prefix to namespace, without the default one.
    @ivar header: a stream start tag that declares the same; C{end}: its end tag.
    @ivar uses: for each prefix: the prefix with its colon, and its declaration, as bytes.
    @ivar unused: the same without C{uses}, for stanzas that use no prefix: they need no search.
    """

    namespace: str
    prefixes: dict[str, str]
    header: bytes
    uses: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    unused: Context = field(init=False, repr=False)
    end: bytes = field(init=False, repr=False)

    @end.default
    def _ended(self) -> bytes:
        return b"</%b>" % self.header[1:].split(b" ", 1)[0]

    @unused.default
    def _withoutUses(self) -> Context:
        return Context(self.namespace, self.prefixes, self.header, ()) if self.uses else self

    def usedIn(self, data: bytes, start: int, stop: int) -> Context:
        """Return the context for stanzas in these bytes: L{unused} if none of the prefixes is there."""
        for use, _ in self.uses:
            if data.find(use, start, stop) >= 0:
                return self
        return self.unused

    @classmethod
    def fromDeclarations(cls, declared: dict[str | None, str]) -> Context:
        namespace = declared.get(None, "")
        prefixes = {prefix: uri for prefix, uri in declared.items() if prefix is not None}
        uses = tuple(
            (f"{prefix}:".encode(), f" xmlns:{prefix}='{escape(uri)}'".encode()) for prefix, uri in prefixes.items()
        )
        # The root always has a prefix, because the default namespace is that of the content.
        root = next(prefix for prefix, uri in prefixes.items() if uri == ns.STREAMS)
        header = f"<{root}:stream xmlns='{escape(namespace)}'".encode()
        return cls(namespace, prefixes, header + b"".join(declaration for _, declaration in uses) + b">", uses)


# The streams that the gateway itself writes for: a component's, a client's.
COMPONENT = Context.fromDeclarations({None: ns.COMPONENT_ACCEPT, "stream": ns.STREAMS})
CLIENT = Context.fromDeclarations({None: ns.CLIENT, "stream": ns.STREAMS})
