"""
URLs of PostgreSQL databases, as libpq has them. They may contain a password. Pure.
"""

from __future__ import annotations

import re

# User and password, hosts with ports, the name, and options. Where a password with unquoted characters ends is not
# certain: libpq would show a part of it as a host.
_TEXT = r"[\w.~!$&'()*+,;=%-]*"
_URL = re.compile(
    rf"(postgres(?:ql)?://)(?:{_TEXT}(:{_TEXT})?@)?([\w.,:%\[\]-]*(?:/{_TEXT})?)(\?[\w.~!$&'()*+,;=%/:-]*)?",
    re.ASCII,
)
_PASSWORD = re.compile(r"[?&](?:ssl)?password=")


def isUrl(text: str) -> bool:
    """True for a URL of which the parts are certain."""
    return _URL.fullmatch(text) is not None


def shown(url: str) -> str:
    """Return a URL for operators: without user, password and options."""
    found = _URL.fullmatch(url)
    return "postgresql://..." if found is None else found[1] + found[3]


def hasPassword(url: str) -> bool:
    """True if a valid URL contains a password."""
    found = _URL.fullmatch(url)
    return found is not None and (found[2] is not None or _PASSWORD.search(found[4] or "") is not None)
