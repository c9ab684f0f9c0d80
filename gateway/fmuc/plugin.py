"""
The plugins of C{[mirror."component JID"]} and C{[rooms."component JID"]}.

This module is imported for every configuration. Modules that only a configured service needs are not.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.plugin import IPlugin
from zope.interface import implementer

from gateway.fmuc.tables import LOBBY, MirrorTable, RoomsTable, mirrorProblems, roomsProblems
from gateway.interfaces import (
    IConfigCheck,
    IGuide,
    IServerConfiguration,
    IServiceBuilder,
    IServiceEnvironment,
    IServicePlugin,
    ITourStop,
)
from gateway.requirements import Remark


@implementer(IPlugin, IServicePlugin, IConfigCheck, IServerConfiguration, ITourStop)
class MirrorPlugin:
    """Mirrors of rooms elsewhere: the joining side."""

    kind = "mirror"
    table = MirrorTable

    def check(self, jid: str, table: MirrorTable, environment: IServiceEnvironment) -> list[str]:
        from gateway.fmuc import compose

        return compose.storeProblems(jid, environment) + mirrorProblems(jid, table)

    def requirements(self, jid: str, table: MirrorTable, environment: IServiceEnvironment) -> list[Remark]:
        return _federation(table.allow | table.peers, environment)

    def makeService(self, jid: str, table: MirrorTable, composition: IServiceBuilder) -> IService:
        from gateway.fmuc import compose

        return compose.makeMirror(jid, table, composition)

    def demoTables(self, domain: str) -> dict[str, dict[str, Any]]:
        return {f"mirror.{domain}": {"allow": [f"rooms.{domain}"], "users": [domain]}}

    async def tour(self, guide: IGuide, jid: str) -> None:
        from gateway.fmuc import tour

        await tour.showMirror(guide, jid, LOBBY)


@implementer(IPlugin, IServicePlugin, IConfigCheck, IServerConfiguration, ITourStop)
class RoomsPlugin:
    """Rooms of the component's own: the joined side."""

    kind = "rooms"
    table = RoomsTable

    def check(self, jid: str, table: RoomsTable, environment: IServiceEnvironment) -> list[str]:
        from gateway.fmuc import compose

        return compose.storeProblems(jid, environment) + roomsProblems(jid, table, environment)

    def requirements(self, jid: str, table: RoomsTable, environment: IServiceEnvironment) -> list[Remark]:
        return _federation(table.peers, environment)

    def makeService(self, jid: str, table: RoomsTable, composition: IServiceBuilder) -> IService:
        from gateway.fmuc import compose

        return compose.makeRooms(jid, table, composition)

    def demoTables(self, domain: str) -> dict[str, dict[str, Any]]:
        return {f"rooms.{domain}": {"peers": [f"mirror.{domain}"]}}

    async def tour(self, guide: IGuide, jid: str) -> None:
        from gateway.fmuc import tour

        await tour.showRooms(guide, jid, LOBBY)


def _federation(peers: frozenset[str], environment: IServiceEnvironment) -> list[Remark]:
    """Return what the server needs for nodes at other servers."""
    others = peers - set(environment.components)
    if not others:
        return []
    names = "other sites" if "*" in others else ", ".join(sorted(others))
    return [Remark(f"it reaches {names} by s2s: both names need DNS records and certificates")]
