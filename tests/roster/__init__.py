"""
Tests of rosters from a web application. They import wokkel, so it must be patched before.
"""

from gateway import _compat

__all__ = ["_compat"]
