"""
A service of the gateway with everything that was made for it.
"""

from __future__ import annotations

from pathlib import Path

from attrs import define
from twisted.application.service import IService

from gateway.composition.builder import ServiceBuilder
from gateway.composition.checks import fileNames
from gateway.composition.reader import Service as ConfiguredService
from gateway.state import files
from gateway.stream.lease import Lease


@define(eq=False)
class Running:
    """
    One service.

    @ivar builder: has everything that was made for it.
    @ivar lease: C{None} if no other gateway may serve the component.
    @ivar service: C{None} until the plugin has made it, and while another gateway serves the component.
    @ivar files: digests of the files that its table names, as it has read them.
    """

    configured: ConfiguredService
    builder: ServiceBuilder
    lease: Lease | None
    files: tuple[bytes, ...]
    service: IService | None = None


def digests(service: ConfiguredService) -> tuple[bytes, ...]:
    """Return digests of the files that the table of a service names, as they are now."""
    return tuple(files.digest(Path(name)) for name in fileNames(service.table))
