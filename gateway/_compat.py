"""
Makes wokkel 18 import on a current Twisted, and Twisted's JIDs accept each address that the gateway accepts.

To import this module is all there is to do.
`gateway/__init__.py` imports it before anything else, so that every module of the gateway, and all who import
`gateway` first, may import wokkel as usual.
"""

import sys
import warnings
from functools import lru_cache
from importlib.util import find_spec

import constantly
from twisted.python import compat
from twisted.words.protocols.jabber import jid

from gateway.stringprep import nameprep, nodeprep, resourceprep

# Wanted by data_form, and so by disco, muc, ping and pubsub: a flag of the days when Twisted ran on Python 2.
if not hasattr(compat, "_PY3"):
    compat._PY3 = True  # type: ignore[attr-defined]  # that the name is gone is why it is set

# Wanted by muc: Twisted's constants are a package of their own now, with the same API.
if find_spec("twisted.python.constants") is None:
    sys.modules["twisted.python.constants"] = constantly

# wokkel imports Python 2 aliases that Twisted deprecates, and an operator can do nothing about that. What is
# deprecated in our own code, or in wokkel's API, is told as loudly as before.
warnings.filterwarnings(
    "ignore",
    message=r"twisted\.python\.compat\.",
    category=DeprecationWarning,
    module=r"wokkel\.",
)


def _prep(user: str | None, host: str, resource: str | None) -> tuple[str | None, str, str | None]:
    """
    Prepare the parts of a JID as L{gateway.jids.prepared} does, for every C{JID} that is made.

    Twisted's own function refuses addresses that servers accept, and takes up to 50 ms for a long one.

    @raise jid.InvalidFormat: if a part is not valid.
    """
    try:
        return nodeprep(user) if user else None, nameprep(host), resourceprep(resource) if resource else None
    except ValueError as error:
        raise jid.InvalidFormat(str(error)) from error


jid.prep = _prep

# Twisted keeps each JID that it has interned, and wokkel interns the sender of each request: 88 MiB for 200,000 of
# them. A JID that is equal is as good as the same one.
jid.internJID = lru_cache(maxsize=4096)(jid.JID)
