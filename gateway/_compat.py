"""
Patch Twisted so that wokkel 18 can be imported and that C{JID} accepts each address that the gateway accepts.

Importing this module applies the patches. `gateway/__init__.py` imports it before anything else, so that every
module of the gateway, and all code that imports `gateway` first, can import wokkel as usual.
"""

import sys
import warnings
from functools import lru_cache
from importlib.util import find_spec

import constantly
from twisted.python import compat
from twisted.words.protocols.jabber import jid

from gateway.addresses.stringprep import nameprep, nodeprep, resourceprep

# Used by data_form, and so by disco, muc, ping and pubsub: a flag from the time when Twisted ran on Python 2.
if not hasattr(compat, "_PY3"):
    compat._PY3 = True  # type: ignore[attr-defined]  # Twisted has removed the name

# Used by muc: Twisted's constants are now a separate package with the same API.
if find_spec("twisted.python.constants") is None:
    sys.modules["twisted.python.constants"] = constantly

# wokkel imports Python 2 aliases that Twisted deprecates, and an operator can do nothing about that. Deprecation
# warnings about our own code, or about wokkel's API, are still shown.
warnings.filterwarnings(
    "ignore",
    message=r"twisted\.python\.compat\.",
    category=DeprecationWarning,
    module=r"wokkel\.",
)


def _prep(user: str | None, host: str, resource: str | None) -> tuple[str | None, str, str | None]:
    """
    Prepare the parts of a JID as L{gateway.addresses.jids.prepared} does, for every C{JID} that is made.

    Twisted's own function refuses addresses that servers accept, and takes up to 50 ms for a long one.

    @raise jid.InvalidFormat: if a part is not valid.
    """
    try:
        return nodeprep(user) if user else None, nameprep(host), resourceprep(resource) if resource else None
    except ValueError as error:
        raise jid.InvalidFormat(str(error)) from error


jid.prep = _prep

# Twisted keeps each interned JID for ever, and wokkel interns the sender of each request: 88 MiB for 200,000 of
# them. An equal JID serves as well as the same object.
jid.internJID = lru_cache(maxsize=4096)(jid.JID)
