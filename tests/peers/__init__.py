"""Tests of direct links. They import wokkel, so the compatibility module must be imported first."""

from gateway import _compat

__all__ = ["_compat"]
