"""Owners and admins in the configuration form, which has full lists of them (XEP-0045 sections 10.1.3 and 10.2)."""

from __future__ import annotations

from gateway.addresses import jids
from gateway.errors import Malformed, NotAcceptable, ResourceLimit
from gateway.muc.administration import MAX_CHANGES, Change
from gateway.muc.forms import Form, FormField
from gateway.muc.room import Room
from gateway.muc.values import ADMIN, MEMBER, OWNER

_VARS = {ADMIN: "muc#roomconfig_roomadmins", OWNER: "muc#roomconfig_roomowners"}
_LABELS = {ADMIN: "Room Admins", OWNER: "Room Owners"}
# Bytes of both lists. If they are longer, the form leaves them out, so that it stays below the limit of a stanza.
_MAX_LISTS = 64 * 1024


def fields(room: Room) -> list[FormField]:
    """Return the fields with the current lists."""
    lists = {
        affiliation: tuple(jid for jid, each in room.affiliations.items() if each == affiliation)
        for affiliation in _VARS
    }
    if sum(len(jid.encode()) for found in lists.values() for jid in found) > _MAX_LISTS:
        return []
    return [
        FormField(var, "jid-multi", _LABELS[affiliation], lists[affiliation]) for affiliation, var in _VARS.items()
    ]


def changes(room: Room, given: Form) -> list[Change]:
    """
    Return the changes of affiliations that a submitted form asks for. A field that is missing changes nothing.

    @raise NotAcceptable: if a value is not a JID.
    @raise ResourceLimit: if there are too many.
    """
    wanted = {affiliation: _read(given.values.get(var)) for affiliation, var in _VARS.items()}
    found: dict[str, str] = {}
    for affiliation in (ADMIN, OWNER):
        listed = wanted[affiliation]
        if listed is None:
            continue
        for jid, each in room.affiliations.items():
            if each == affiliation and jid not in listed:
                # Section 10.2: a former admin is "member" or "none", a former owner "admin". But a list of admins
                # in the same form is a full list.
                isAdmin = affiliation == OWNER and wanted[ADMIN] is None
                found.setdefault(jid, ADMIN if isAdmin else MEMBER)
        for jid in listed:
            isOwner = affiliation == ADMIN and wanted[OWNER] is None and room.affiliations.get(jid) == OWNER
            if not isOwner:
                found[jid] = affiliation
    new = {jid: affiliation for jid, affiliation in found.items() if room.affiliations.get(jid) != affiliation}
    if len(new) > MAX_CHANGES:
        raise ResourceLimit
    return [Change(jid=jid, affiliation=affiliation) for jid, affiliation in new.items()]


def _read(values: tuple[str, ...] | None) -> frozenset[str] | None:
    if values is None:
        return None
    try:
        return frozenset(jids.bare(jids.prepared(value.strip())) for value in values if value.strip())
    except Malformed:
        raise NotAcceptable from None
