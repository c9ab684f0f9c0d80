"""
Makes wokkel 18 import on a current Twisted; to import this module is all there is to do.

`gateway/__init__.py` imports it before anything else, so that every module of the gateway, and all who import
`gateway` first, may import wokkel as usual. It can go with the first wokkel that needs none of this.
"""

import sys
import warnings
from importlib.util import find_spec

import constantly
from twisted.python import compat

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
