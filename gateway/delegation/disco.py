"""
Disco of a managing entity (XEP-0355 section 7) in Wokkel's classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from wokkel.data_form import Form
from wokkel.disco import DiscoFeature, DiscoIdentity

from gateway import ns
from gateway.delegation.nesting import Info
from gateway.delegation.stanzas import answerAddress
from gateway.interfaces import IDelegatedNamespace
from gateway.stream.stanzas import Stanza
from gateway.xml.context import CLIENT
from gateway.xml.read import parse

_OLDER_NODE = re.compile(rf"node=['\"]{ns.DELEGATION_1}:".encode())


def infoOf(handler: IDelegatedNamespace, bare: bool) -> Info:
    """Return the disco information of a handler."""
    if bare:
        return Info(tuple(handler.bareIdentities), tuple(handler.bareFeatures))
    return Info(tuple(handler.identities), tuple(handler.features))


def olderQuery(stanza: Stanza, component: str) -> Stanza | None:
    """
    Return a nesting query of the older version with the sender that the answer must go to (see L{answerAddress});
    C{None} for any other query.
    """
    if _OLDER_NODE.search(stanza.raw) is None:
        return None
    return stanza.sentBy(answerAddress(ns.DELEGATION_1, stanza.sender or ""), stanza.recipient or component)


def nested(info: Info, namespace: str) -> list[Any]:
    """
    Return identities, features and forms for one namespace. The list is never empty: Wokkel would send an error,
    and a server may delegate nothing before it has a result. The feature of disco#info itself is left to the
    server.
    """
    features = tuple(each for each in info.features if each != ns.DISCO_INFO) or (namespace,)
    return [
        *(DiscoIdentity(*identity) for identity in info.identities),
        *(DiscoFeature(feature) for feature in features),
        *_forms(info.forms),
    ]


def _forms(written: Iterable[str]) -> list[Form]:
    """Return the forms that Wokkel can write. Any other form would turn the answer into an error."""
    found = []
    for xml in written:
        with suppress(Exception):
            form = Form.fromElement(parse(CLIENT.header, xml.encode()))
            form.toElement()
            found.append(form)
    return found
