"""
The settings that all gateways of one component have to share. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b

from attrs import field, frozen

from gateway.proxy.tables import ProxyTable


@frozen
class Gateway:
    """
    One of the gateways of a component.

    @ivar host: its host and its folder, for operators.
    @ivar settings: values by key; empty if an older release does not tell them.
    """

    host: str = ""
    settings: Mapping[str, str] = field(factory=dict)

    def toText(self) -> str:
        """Return the settings as the shared tables have them."""
        return json.dumps(self.settings, sort_keys=True)

    def differs(self, other: Gateway) -> list[str]:
        """Return the keys whose values differ, each with both values; that of a key is not shown."""
        found = []
        for key in sorted(self.settings.keys() & other.settings.keys()):
            own, there = self.settings[key], other.settings[key]
            if own != there:
                found.append(f"{key} (another content)" if key == "key_file" else f"{key} ({there}; here {own})")
        return found


def fromText(host: str, text: str) -> Gateway:
    """Return a gateway from the shared tables."""
    return Gateway(host, json.loads(text) if text else {})


def settingsOf(table: ProxyTable, key: bytes) -> dict[str, str]:
    """
    Return what all gateways have to share.

    @param key: of the seal; only a fingerprint is returned.
    """
    return {
        "target": table.target,
        "resources": table.resources,
        "forward": ", ".join(sorted(table.forward)),
        "outbound": str(table.outbound).lower(),
        "timeout": f"{table.timeout:g}",
        "key_file": blake2b(key, digest_size=8, person=b"fingerprint").hexdigest(),
    }
