"""Public and hidden rooms (XEP-0045 sections 3 and 6.3): only public ones are listed."""

from __future__ import annotations

from gateway.muc.option import boolean

OPTION = boolean(
    "muc#roomconfig_publicroom", "public", "Make Room Publicly Searchable?", ("muc_public", "muc_hidden")
)
