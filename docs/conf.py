"""Configuration of Sphinx for this documentation: C{make docs}."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer

from gateway import __version__

project = "xmpp-gateway"
author = "the authors of xmpp-gateway"
release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["examples"]
html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_copy_source = False
# Quotes are part of values that are copied.
smartquotes = False
html_show_copyright = False
# Blocks of code name their language; those without one are the indented ones of mistakes.md.
highlight_language = "text"
# The names of headings are those on GitHub, so that links work in both places.
myst_heading_anchors = 4

# Two forms of configuration that Pygments does not know.
_PLAIN = ("openfire", "logrotate")
_FILE = re.compile(r"(?:[\w-]+/)*[\w-]+\.md")


def _nameTitles(app: Any, doctree: nodes.document, docname: str) -> None:
    """Show the title of a page where the text of a link is the name of its file: the site has no such files."""
    if app.builder.format != "html":
        return  # the check of links, for which pages have no addresses
    for link in doctree.findall(nodes.reference):
        if _FILE.fullmatch(link.astext()) and link.get("internal"):
            target = posixpath.join(posixpath.dirname(docname), link["refuri"].partition("#")[0])
            title = app.env.titles[posixpath.normpath(target).removesuffix(".html")].astext()
            link.children = [nodes.emphasis(title, title)]


def setup(app: Any) -> None:
    """Register the languages of blocks that are shown as plain text, and the titles of links."""
    for name in _PLAIN:
        app.add_lexer(name, TextLexer)
    app.connect("doctree-resolved", _nameTitles)
