"""The description of a room (XEP-0045 sections 6.4 and 10.2)."""

from __future__ import annotations

from gateway.muc.forms import FormField
from gateway.muc.option import Option
from gateway.muc.room import Settings

_LABEL = "Short Description of Room"
OPTION = Option("muc#roomconfig_roomdesc", "description", "text-single", _LABEL)


def infoFields(settings: Settings) -> tuple[FormField, ...]:
    """Return the field of disco#info; none without a description."""
    if not settings.description:
        return ()
    return (FormField("muc#roominfo_description", "text-single", _LABEL, (settings.description,)),)
