"""Tests of rooms, most of them as federated services run them. They import wokkel, as tests.fmuc does."""

from gateway import _compat

__all__ = ["_compat"]
