"""Tests of federated rooms. They import wokkel, so its imports must have been made to work first."""

from gateway import _compat

__all__ = ["_compat"]
