"""
What a managing entity's disco tells the server to nest in its own (XEP-0355 section 7), as Wokkel has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from wokkel.data_form import Form
from wokkel.disco import DiscoFeature, DiscoIdentity

from gateway import ns
from gateway.delegation.core import parsed
from gateway.delegation.nesting import Info
from gateway.interfaces import IDelegatedNamespace


def infoOf(handler: IDelegatedNamespace, bare: bool) -> Info:
    """What a handler of this process has to say."""
    if bare:
        return Info(tuple(handler.bareIdentities), tuple(handler.bareFeatures))
    return Info(tuple(handler.identities), tuple(handler.features))


def nested(info: Info, namespace: str, bare: bool) -> list[Any]:
    """
    Identities, features and forms for one namespace. There is always something: a server may delegate nothing
    before it has a result, and an empty one would be sent as an error.
    """
    features = info.features or ((ns.DISCO_INFO,) if bare else (namespace,))
    return [
        *(DiscoIdentity(*identity) for identity in info.identities),
        *(DiscoFeature(feature) for feature in features),
        *_forms(info.forms),
    ]


def _forms(written: Iterable[str]) -> list[Form]:
    """Those that Wokkel can write again; another would cost the whole answer, and with it the delegation."""
    found = []
    for xml in written:
        with suppress(Exception):
            form = Form.fromElement(parsed(xml.encode()))
            form.toElement()
            found.append(form)
    return found
