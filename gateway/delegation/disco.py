"""
What a managing entity's disco tells the server to nest in its own (XEP-0355 section 7), as Wokkel has it.
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
    """What a handler of this process has to say."""
    if bare:
        return Info(tuple(handler.bareIdentities), tuple(handler.bareFeatures))
    return Info(tuple(handler.identities), tuple(handler.features))


def olderQuery(stanza: Stanza, component: str) -> Stanza | None:
    """
    Return a server's query for what to nest, if it is one in the older version, as if it came from the address that
    the answer must go to: see L{answerAddress}.
    """
    if _OLDER_NODE.search(stanza.raw) is None:
        return None
    return stanza.sentBy(answerAddress(ns.DELEGATION_1, stanza.sender or ""), stanza.recipient or component)


def nested(info: Info, namespace: str) -> list[Any]:
    """
    Identities, features and forms for one namespace. There is always something: a server may delegate nothing
    before it has a result, and an empty one would be sent as an error. The feature of disco#info itself is the
    server's to list.
    """
    features = tuple(each for each in info.features if each != ns.DISCO_INFO) or (namespace,)
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
            form = Form.fromElement(parse(CLIENT.header, xml.encode()))
            form.toElement()
            found.append(form)
    return found
