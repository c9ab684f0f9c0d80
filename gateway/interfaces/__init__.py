"""
The interfaces of plugins: those that they provide, and those of the objects that they are given.

The rule: a port is a zope interface if other software may provide it, or is given it. Its providers are found at
run time (C{providedBy}) and verified by tests (C{verifyObject}). The interface is in this package, or in the lower
layer that it belongs to (C{metrics}, C{stream.interfaces}); all can be imported from here. An interface that
only Twisted needs, such as those for twisted.cred, is in the module that uses it.

A port between modules of the gateway is a C{typing.Protocol}, in the package that uses it. Only the type checker
knows of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway._deprecated import renamed
from gateway.interfaces.delegation import IDelegatedNamespace, IDelegatedRequest, Payload
from gateway.interfaces.privilege import IPermissions, IPrivileges, RosterItem
from gateway.interfaces.services import (
    IConfigCheck,
    IConfigWarnings,
    IDelegationPlugin,
    IImportingPlugin,
    IServerConfiguration,
    IServerRequirements,
    IServiceBuilder,
    IServiceEnvironment,
    IServicePlugin,
)
from gateway.interfaces.tour import IGuide, ITourStop
from gateway.metrics import ICounter, IGauge, IHistogram, IMetrics, IMetricsProvider
from gateway.state.interfaces import IStore
from gateway.stream.interfaces import IPeerHandler, IRawHandler, IRefusalHandler, IStatusProvider

__all__ = [
    "IConfigCheck",
    "IConfigWarnings",
    "ICounter",
    "IDelegatedNamespace",
    "IDelegatedRequest",
    "IDelegationPlugin",
    "IGauge",
    "IGuide",
    "IHistogram",
    "IImportingPlugin",
    "IMetrics",
    "IMetricsProvider",
    "IPermissions",
    "IPrivileges",
    "IPeerHandler",
    "IRawHandler",
    "IRefusalHandler",
    "IServerConfiguration",
    "IServerRequirements",
    "IServiceBuilder",
    "IServiceEnvironment",
    "IServicePlugin",
    "IStatusProvider",
    "IStore",
    "ITourStop",
    "Payload",
    "RosterItem",
]

# Hidden from type checkers, which would accept any name otherwise.
if not TYPE_CHECKING:
    _OLD_NAMES = {
        "IChecked": "IConfigCheck", "IComposition": "IServiceBuilder", "IDemonstration": "ITourStop",
        "INoted": "IServerRequirements", "IReporting": "IStatusProvider", "ISurroundings": "IServiceEnvironment",
        "IWarned": "IConfigWarnings",
    }
    __getattr__ = renamed(__name__, _OLD_NAMES)
