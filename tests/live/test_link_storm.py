"""Mirrors while their link fails, and processes are killed: the short form of L{tests.live.soak_fmuc}."""

from __future__ import annotations

import sys

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.link.core import Side
from tests.live.case import scenario
from tests.live.federation import FederationCase
from tests.live.link_forms import Form
from tests.live.link_storm import LinkStorm, Scale, seedOr
from tests.live.servers import Ejabberd, NewerEjabberd, Prosody

SHORT = Scale(
    occupants=8, messages=100, faults=1, kills=1, servers=(Side.B,), shortest=2.0, longest=4.0, rest=1.0, pause=0.15
)


# When the server with the ordinary rooms is killed, they lose all their occupants.
BACKED = evolve(SHORT, servers=(Side.A,))


class LinkStormTests(FederationCase):
    """A mix-in: the scenarios, for one pair of servers."""

    accounts = SHORT.accounts
    hasTwin = False
    isDirect = False

    @scenario(150)
    async def test_storm(self) -> None:
        """
        All messages are shown once at both ends, or are refused to their senders; nobody who stays is put out;
        users who leave while the link is down are gone when it is back.
        """
        await self.storm(Form.OWN, SHORT)

    async def storm(self, form: Form, scale: Scale) -> None:
        """Carry out a fault run."""
        lines: list[str] = []
        try:
            await LinkStorm(self, form, scale, seedOr(1), self.isDirect, lines.append).run()
        except BaseException:
            sys.stderr.write("\n".join([*lines, ""]))
            raise


class ProsodyEjabberdLinkStormTests(LinkStormTests, SynchronousTestCase):
    """Rooms at Prosody, mirrors at ejabberd; over s2s."""

    serverClass, mirrorClass = Prosody, Ejabberd

    @scenario(150)
    async def test_oneEnd(self) -> None:
        """The same with ordinary rooms of Prosody."""
        await self.storm(Form.ONE_END, BACKED)


class NewerEjabberdProsodyLinkStormTests(LinkStormTests, SynchronousTestCase):
    """Rooms at the newer ejabberd, mirrors at the newer Prosody; over a direct link."""

    serverClass, mirrorClass = NewerEjabberd, Prosody
    isDirect = True

    @scenario(150)
    async def test_bothEnds(self) -> None:
        """
        The same with ordinary rooms of both servers. That with Prosody is killed: ejabberd would lose the last
        messages of its archive.
        """
        await self.storm(Form.BOTH_ENDS, SHORT)
