"""
The keys of C{[roster."component JID"]}.
"""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from gateway.config.tables import ComponentTable, Count, Domain, Seconds, Url

_CONCURRENCY = Count(32)
_TIMEOUT, _MIN_INTERVAL = Seconds(10.0), Seconds(60.0)


@frozen(kw_only=True)
class RosterTable(ComponentTable):
    """
    The keys of C{[roster."component JID"]}; see docs/roster.md.

    @ivar domain: domain of the users.
    @ivar url: address of a user's contacts, with C{%s} for the user's name; required except on the embedded host,
        C{None} for its built-in application.
    @ivar offline: refresh of users in a request who are not online: at once, never, or at their next login.
    @ivar lock: true if clients get the application's roster and may not change it.
    @ivar apply: how rosters are set: by privilege (XEP-0356), by ejabberd's API, or by the one that works.
    @ivar api: address of ejabberd's HTTP API.
    @ivar probes: true to send presence in users' names after a change of a subscription, for Prosody.
    @ivar concurrency: users that are refreshed at a time.
    @ivar timeout: seconds for each attempt to fetch a document.
    @ivar max_removals: contacts that a refresh may remove, unless forced; C{None} for any number.
    @ivar min_interval: seconds between two refreshes of a user because of a change of status.
    @ivar signature_secret: secret that requests for refreshes must be signed with.
    """

    domain: Domain
    url: Url | None = field(default=None, repr=False)
    offline: Literal["apply", "skip", "later"] = "apply"
    lock: bool = False
    apply: Literal["auto", "privilege", "ejabberd-api"] = "auto"
    api: Url | None = field(default=None, repr=False)
    probes: bool = False
    concurrency: Count = _CONCURRENCY
    timeout: Seconds = _TIMEOUT
    max_removals: Count | None = None
    min_interval: Seconds = _MIN_INTERVAL
    signature_secret: str | None = field(default=None, repr=False)
