"""
The keys of C{[proxy."component JID"]}.
"""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from gateway.config.tables import BareJid, ComponentTable, Filename, Seconds

_TIMEOUT = Seconds(30.0)


@frozen(kw_only=True)
class ProxyTable(ComponentTable):
    """
    The keys of C{[proxy."component JID"]}; see docs/proxy.md.

    @ivar target: the account that implements the service.
    @ivar balance: selection of the resource that gets a request.
    @ivar resources: resources that may be selected, as a glob on the resource's name.
    @ivar forward: kinds of stanzas that are forwarded.
    @ivar outbound: true if the implementing client may start exchanges.
    @ivar timeout: seconds until a request without an answer gets an error.
    @ivar key_file: file with the seal's key, which is created if it does not exist; C{None} for
        C{COMPONENT.key} in C{state_dir}.
    @ivar shared: true if several gateways serve this component at the same time.
    """

    target: BareJid
    balance: Literal["random", "round-robin", "least-pending", "sticky"] = "random"
    resources: str = "*"
    forward: frozenset[Literal["iq", "message", "presence"]] = field(default=frozenset({"iq"}))
    outbound: bool = False
    timeout: Seconds = _TIMEOUT
    key_file: Filename | None = None
    shared: bool = False
