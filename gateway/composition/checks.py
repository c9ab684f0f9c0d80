"""
Find the plugins, and check a configuration with them before anything is created.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from attrs import fields
from twisted.logger import Logger
from twisted.plugin import getPlugins
from zope.interface import Invalid, implementer
from zope.interface.verify import verifyObject

from gateway import plugins
from gateway.composition.changes import keyFile, linkSettings
from gateway.composition.reader import Config, Service, load
from gateway.config.tables import ComponentTable, ConfigError, DatabaseUrl, Url, elided
from gateway.config.values import addressOf
from gateway.interfaces import (
    IConfigCheck,
    IConfigWarnings,
    IDelegationPlugin,
    IServerConfiguration,
    IServerRequirements,
    IServiceEnvironment,
    IServicePlugin,
)
from gateway.peers import identity
from gateway.requirements import Component, NewConnectionWins, Requirement
from gateway.state import files, places, urls
from gateway.state.migrations import Migrations
from gateway.stream.survey import NOTE

Table = TypeVar("Table", bound=ComponentTable)

_log = Logger()

# Ports that servers use for something else than components.
_OTHER_PORTS = {
    5222: "clients",
    5223: "clients",
    5269: "other servers",
    5270: "other servers",
    5280: "HTTP",
    5281: "HTTP",
    5443: "HTTP",
}


def findPlugins() -> list[IServicePlugin]:
    """Return all service plugins, the shipped ones and others. A broken plugin is skipped and logged."""
    return list(_findPlugins(IServicePlugin, "kind").values())


def _findPlugins(interface: Any, name: str) -> dict[str, Any]:
    """
    Return all plugins that provide an interface.

    @param name: the attribute that identifies a plugin, and is the key of the result.
    """
    found: dict[str, Any] = {}
    for plugin in getPlugins(interface, plugins):
        try:
            verifyObject(interface, plugin)
        except Invalid as error:
            _log.critical(
                "A plugin is ignored, because it is not valid: {error}", event="plugin.invalid", error=error
            )
            continue
        # The shipped plugins come first.
        own = getattr(plugin, name)
        if found.setdefault(own, plugin) is not plugin:
            _log.critical(
                '{plugin!r} is ignored: there is already a plugin "{name}".',
                event="plugin.twice",
                plugin=plugin,
                name=own,
            )
    return found


def read(path: Path | None, reactor: Any, environment: Mapping[str, str] | None = None) -> Config:
    """
    Read a configuration file, and L{check} it.

    @param path: as in L{load}.
    @param environment: as in L{load}; C{None} for that of this process.
    @raise ConfigError: with all problems, those of the file and those that L{check} finds.
    """
    return load(path, findPlugins(), reactor, _problems, os.environ if environment is None else environment)


def check(config: Config) -> None:
    """
    Check the environment of the gateway: the state folder, and the checks of the plugins. Create nothing.

    @raise ConfigError: with all problems found.
    """
    problems = _problems(config)
    if problems:
        raise ConfigError(problems)


def _problems(config: Config) -> list[str]:
    unusable = files.folderProblem(config.state_dir)
    problems = [f"state_dir: {unusable}"] if unusable else []
    if config.state.url is not None and (unusable := places.urlProblem(config.state.url)):
        problems.append(f"state.url: {unusable}")
    if config.log.file is not None and (unusable := files.appendProblem(Path(config.log.file))):
        problems.append(f"log.file: {unusable}")
    for name, peer in config.peers.items():
        own = Path(keyFile(config, peer))
        if unusable := identity.problem(own, str(config.state_dir)):
            problems.append(f'peers."{name}".key_file: {unusable}')
        elif own.exists() and identity.read(own).fingerprint in peer.fingerprint:
            allowed = "that of the other gateway, which `xmpp-gateway peers` prints at the other side"
            advice = f"found the fingerprint of this gateway; allowed: {allowed}"
            problems.append(f'peers."{name}".fingerprint: {advice}')
    environment = ServiceEnvironment(config)
    for service in config.services:
        if IConfigCheck.providedBy(service.plugin):
            try:
                found = IConfigCheck(service.plugin).check(service.jid, service.table, environment)
                problems += [f'{service.kind}."{service.jid}".{problem}' for problem in found]
            except Exception as error:
                problems.append(failed(service, error))
    return problems


def failed(service: Service, error: Exception) -> str:
    """Log that the plugin of a service has raised an exception, and return the problem."""
    _log.failure(
        'The plugin of {kind}."{component}" has failed.',
        event="plugin.failed",
        kind=service.kind,
        component=service.jid,
    )
    advice = "this is a fault of the plugin: report it to its author, with the traceback in the log"
    return f'{service.kind}."{service.jid}": the plugin failed: {type(error).__name__}: {error}; {advice}'


def warnings(config: Config) -> list[str]:
    """
    Return warnings about faults that do not prevent the gateway from starting: a state folder or a file with
    secrets that every user of the machine can read, the port of another service as an endpoint, and the warnings
    of the plugins.
    """
    found = list(files.openFilesIn(config.state_dir))
    tables = dict(_tables(config))
    named = {Path(name) for table in tables.values() for name in fileNames(table)}
    if config.file is not None and any(_holdsSecret(*each, config.origins) for each in tables.items()):
        named.add(config.file)
    found += [warning for warning in map(files.openToOthers, sorted(named)) if warning]
    for service in config.services:
        endpoint = linkSettings(config.server, service.table).endpoint
        port = None if endpoint is None else addressOf(endpoint).port
        if port in _OTHER_PORTS:
            key = "server" if service.table.endpoint is None else f'{service.kind}."{service.jid}"'
            advice = "name the port for components, which is often 5347"
            found.append(f"{key}.endpoint: servers use port {port} for {_OTHER_PORTS[port]}; {advice}")
    found += _unusedPeers(config)
    environment = ServiceEnvironment(config)
    for service in config.services:
        if IConfigWarnings.providedBy(service.plugin):
            told = IConfigWarnings(service.plugin).warnings(service.jid, service.table, environment)
            found += [f'{service.kind}."{service.jid}": {each}' for each in told]
    return list(dict.fromkeys(found))


def _tables(config: Config) -> Iterator[tuple[str, Any]]:
    """Yield all tables with their names."""
    for name in ("state", "server", "embedded", "http"):
        if (table := getattr(config, name)) is not None:
            yield name, table
    yield from ((f'peers."{name}"', peer) for name, peer in config.peers.items())
    yield from ((f'{each.kind}."{each.jid}"', each.table) for each in config.services)


def origins(config: Config) -> list[str]:
    """Return a line for each key whose value is not from the file; it does not show the value."""
    return [f"{key}: from {origin}" for key, origin in config.origins.items()]


def _unusedPeers(config: Config) -> list[str]:
    """Return a warning for each domain of a peer with which no service here exchanges stanzas."""
    used = {
        str(domain)
        for service in config.services
        for key in ("peers", "allow")
        for domain in getattr(service.table, key, ())
    }
    advice = "the link needs the domain of a component of the other gateway, not the name of its host"
    return [
        f'peers."{name}": no service of this gateway has "{domain}" in peers or allow: {advice}'
        for name, peer in config.peers.items()
        for domain in (name, *peer.domains)
        if not used & {domain, "*"}
    ]


def notes(config: Config) -> list[str]:
    """Return the plugins' requirements on the server's configuration, and what C{--check} cannot find out."""
    environment = ServiceEnvironment(config)
    found = [
        f'{service.kind}."{service.jid}".{note}'
        for service in config.services
        if IServerRequirements.providedBy(service.plugin)
        for note in IServerRequirements(service.plugin).notes(service.jid, service.table, environment)
    ]
    return found if environment.isEmbedded else [*found, NOTE]


def components(config: Config) -> list[Component]:
    """
    Return the components of the services that connect to a server, with their requirements on its configuration.

    A component with an endpoint of its own is on that server, if no plugin says otherwise.
    """
    environment = ServiceEnvironment(config)
    found = []
    for service in config.services:
        settings = linkSettings(config.server, service.table)
        requirements: tuple[Requirement, ...] = ()
        if IServerConfiguration.providedBy(service.plugin):
            plugin = IServerConfiguration(service.plugin)
            requirements = tuple(plugin.requirements(service.jid, service.table, environment))
        if service.table.standby:
            requirements += (NewConnectionWins(),)
        if settings.endpoint is not None:
            found.append(
                Component(
                    jid=service.jid,
                    kind=service.kind,
                    secret=settings.secret,
                    address=addressOf(settings.endpoint),
                    server=settings.domain,
                    requirements=requirements,
                )
            )
    return found


def fileNames(table: Any) -> Iterator[str]:
    """Yield the file names in a table; these files hold keys, tokens or secrets."""
    for each in fields(type(table)):
        if each.name.endswith("_file") and getattr(table, each.name) is not None:
            yield getattr(table, each.name)


def _holdsSecret(name: str, table: Any, origins: Mapping[str, str]) -> bool:
    """
    True if the table in the file contains a secret: as the value of a secret key, or in the query of a URL.

    @param origins: the keys with values from elsewhere.
    """
    for each in fields(type(table)):
        value = getattr(table, each.name)
        if each.repr is not False or not value or getattr(table, f"{each.name}_file", None) is not None:
            continue
        if f"{name}.{each.name}" in origins:
            continue
        if DatabaseUrl in get_args(each.type):
            if urls.hasPassword(value):
                return True
        elif Url not in get_args(each.type) or elided(value) != value:
            return True
    return False


@implementer(IServiceEnvironment)
class ServiceEnvironment:
    """The environment that plugins check before they make their services."""

    def __init__(self, config: Config) -> None:
        self.stateDir = str(config.state_dir)
        self.stateKey = "state_dir" if config.state.url is None else "state.url"
        self._place: Path | str = config.state.url or config.state_dir
        self.isEmbedded = config.embedded is not None
        self._services = config.services
        self.components = {service.jid for service in config.services}
        if config.embedded is not None:
            self.components |= config.embedded.components.keys()

    def tables(self, kind: type[Table]) -> dict[str, Table]:
        return {each.jid: each.table for each in self._services if isinstance(each.table, kind)}

    def delegationPlugins(self) -> dict[str, IDelegationPlugin]:
        return _findPlugins(IDelegationPlugin, "name")

    def storeProblem(self, name: str, migrations: Migrations) -> str:
        return places.problem(self._place, name, migrations)

    def hasStore(self, name: str) -> bool:
        return places.exists(self._place, name)
