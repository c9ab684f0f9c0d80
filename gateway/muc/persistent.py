"""Persistent and temporary rooms (XEP-0045 section 3): a temporary room ends when it is empty."""

from __future__ import annotations

from gateway.muc.option import boolean

OPTION = boolean(
    "muc#roomconfig_persistentroom",
    "persistent",
    "Make Room Persistent?",
    ("muc_persistent", "muc_temporary"),
)
