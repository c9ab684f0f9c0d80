"""The example projects in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"

# A paragraph that names a file, and the block of code with its content.
_FILE = re.compile(r"^`([\w./-]+)`[^`\n]*:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)

PAGES = ("architecture.md", "delegation.md", "privilege.md")


def project(page: str) -> dict[str, str]:
    """Return the files of a page's example, by path; it has one project."""
    return dict(_FILE.findall((DOCS / page).read_text()))


def module(page: str) -> str:
    """Return the source of the plugin of a page's example."""
    [source] = [text for path, text in project(page).items() if path.startswith("gateway/plugins/")]
    return source
