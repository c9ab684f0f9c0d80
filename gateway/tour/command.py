"""
The tour: log in to the embedded host of a running gateway, as an ordinary client, and demonstrate each service: a
description, and the XML sent and received.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectError
from twisted.internet.ssl import Certificate
from twisted.internet.task import deferLater

from gateway.composition.reader import load, readSecret
from gateway.composition.service import findPlugins
from gateway.config.tables import ConfigError
from gateway.embedded.login import Client
from gateway.embedded.store import HostFolder, HostInfo
from gateway.interfaces import ITourStop
from gateway.tap import find, useMonotonicClock
from gateway.tour.guide import TIMEOUT, Guide, Mailbox, TourFailed


class TourSession:
    """
    The clients of one tour.

    @param token: the token that the gateway's HTTP server requires; C{None} if it requires none.
    """

    def __init__(
        self,
        place: HostInfo,
        certificate: Certificate,
        token: str | None,
        write: Callable[[str], object],
        reactor: Any,
    ) -> None:
        self._place = place
        self._certificate = certificate
        self._token = token
        self._write = write
        self._reactor = reactor
        self._clients: list[Client] = []
        self._friend: Guide | None = None
        # The account of the built-in implementing client is not for users.
        self._users = [user for user in place.accounts if user != "implementation"]

    async def guide(self) -> Guide:
        """
        Log in the guide.

        @raise TourFailed: if there is no account.
        """
        if not self._users:
            raise TourFailed("there is no account to log in with: add one to [embedded.accounts]")
        return await self._logIn(self._users[0], "")

    async def friend(self) -> Guide | None:
        """Log in the second client, as L{IGuide.friend} describes."""
        if self._friend is None and len(self._users) > 1:
            self._friend = await self._logIn(self._users[1], self._users[1])
        return self._friend

    async def leave(self) -> None:
        """Log all clients out."""
        # In a later turn: a client cannot be stopped while it reports that it cannot connect.
        await deferLater(self._reactor, 0)
        for client in self._clients:
            await client.service.stopService()

    async def _logIn(self, user: str, name: str) -> Guide:
        place = self._place
        endpoint = clientFromString(self._reactor, place.c2s)
        jid = f"{user}@{place.domain}/tour"
        client = Client(jid, place.accounts[user], endpoint, self._certificate, self._reactor)
        mailbox = Mailbox()
        mailbox.setHandlerParent(client)
        self._clients.append(client)
        client.service.startService()
        try:
            await client.service.whenConnected(failAfterFailures=1)
            await mailbox.arrived.addTimeout(TIMEOUT, self._reactor)
        except ConnectError as error:
            text = f"no gateway listens at {place.c2s}: start one first, in this folder, with twistd -n gateway"
            raise TourFailed(text) from error
        except Exception as error:
            reason = error if client.failed is None else client.failed.value
            raise TourFailed(f"the login failed: {reason!r}") from error
        return Guide(
            client, mailbox, self._write, self._reactor, self.friend, site=place.web, token=self._token, name=name
        )


async def tour(session: TourSession, place: HostInfo, write: Callable[[str], object]) -> None:
    """
    Demonstrate each service that runs on the host and takes part in the tour.

    @raise TourFailed: at the first check that fails.
    """
    try:
        guide = await session.guide()
        guide.say(
            f"A tour of the gateway at {place.domain}. The tour logs in as {guide.jid}, over TLS, like any client."
        )
        await _showAll(guide, place, write)
    finally:
        await session.leave()


async def _showAll(guide: Guide, place: HostInfo, write: Callable[[str], object]) -> None:
    shown = 0
    for plugin in findPlugins():
        for jid in place.services.get(plugin.kind, []):
            if not ITourStop.providedBy(plugin):
                continue
            shown += 1
            write(f"\n=== {plugin.kind}: {jid} ===\n")
            await guide.served(jid)
            await ITourStop(plugin).tour(guide, jid)
    guide.say("This is the end of the tour." if shown else "No service that takes part in the tour is running.")


def main(
    arguments: list[str], write: Callable[[str], object]
) -> Callable[[Any], Coroutine[Deferred[Any], Any, None]]:
    """Return a function that runs the tour on a reactor; on failure it prints the reason and exits with 1."""
    parser = argparse.ArgumentParser("python -m gateway.tour", description="A tour of a running embedded gateway.")
    parser.add_argument("--config", help="the configuration that the gateway runs with, if it is not the default")
    path = find(parser.parse_args(arguments).config)

    async def run(reactor: Any) -> None:
        useMonotonicClock(reactor)
        try:
            config = load(path, findPlugins(), reactor)
            if config.server is not None:
                raise TourFailed(f"{path} is for a real server; the tour needs the embedded host")
            folder = HostFolder(Path(config.state_dir))
            place = folder.read()
            if place is None:
                raise TourFailed(
                    f"{config.state_dir} is not the state folder of an embedded host: run the tour in the folder "
                    "of the gateway, or first start a gateway here, with twistd -n gateway"
                )
            certificate = Certificate.loadPEM(folder.certificate.read_bytes())
            tokenFile = None if config.http is None else config.http.token_file
            token = None if tokenFile is None else readSecret(tokenFile)
            await tour(TourSession(place, certificate, token, write, reactor), place, write)
        except (TourFailed, ConfigError, OSError) as error:
            sys.exit(f"\nThe tour ends here: {error}")

    return run
