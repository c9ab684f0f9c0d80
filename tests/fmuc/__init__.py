"""
Tests of rosters from a web application. They import wokkel, so that must have been made to work first.
"""

from gateway import _compat

__all__ = ["_compat"]
