"""
The tour: what a service provides to be part of it, and what it is given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.words.xish import domish
from zope.interface import Attribute, Interface


class ITourStop(Interface):
    """A plugin may provide this beside L{IServicePlugin} to be part of the embedded default and of the tour."""

    def demoTables(domain: str) -> dict[str, dict[str, Any]]:
        """
        Return the tables that are used if nothing is configured.

        @param domain: the domain of the embedded host.
        @return: tables as in a configuration file, by component JID.
        """

    def tour(guide: IGuide, jid: str) -> Awaitable[None]:
        """
        Demonstrate one of its services, which runs on the embedded host, to a user who does not know it.

        @param jid: the service's JID.
        @raise gateway.tour.guide.TourFailed: from the guide, if a check fails.
        """


class IGuide(Interface):
    """The guide of the tour: prints texts, and acts as an ordinary client of the embedded host."""

    jid: str = Attribute("The full JID that it is logged in as.")

    def say(text: str) -> None:
        """Print one paragraph."""

    def ask(recipient: str, payload: str, kind: str = "get") -> Awaitable[domish.Element]:
        """
        Send an iq request with this payload (XML); print the request and the answer.

        @return: the answer, of type result or error.
        """

    def send(stanza: str) -> None:
        """Send a message or presence (XML), and print it. Use L{hear} for stanzas that it causes."""

    def check(right: object, promise: str) -> None:
        """
        Print that a promise holds.

        @raise gateway.tour.guide.TourFailed: if C{right} is false.
        """

    def hear(right: Callable[[domish.Element], bool], promise: str) -> Awaitable[domish.Element]:
        """
        Wait for an unsolicited stanza, and print it. It may have arrived earlier; each is returned once.

        @param right: returns true for the stanza that is waited for.
        @param promise: a description of the stanza.
        @raise gateway.tour.guide.TourFailed: if it does not arrive in time.
        """

    def friend() -> Awaitable[IGuide | None]:
        """
        Log in a second client with another account, for the rest of the tour.

        @return: C{None} if there is no second account.
        """

    def web(method: str, path: str, body: str = "") -> Awaitable[tuple[int, str]]:
        """
        Send a request to the gateway's HTTP server; print the request and the answer.

        @param body: JSON.
        @return: status and body.
        """
