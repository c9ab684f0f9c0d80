"""Tests of the embedded host. They import wokkel, so the package that patches Twisted is imported first."""

from gateway import _compat

__all__ = ["_compat"]
