"""
C{xmpp-gateway version}.
"""

from __future__ import annotations

import platform
from importlib import metadata

import click

import gateway

_PARTS = ("twisted", "wokkel", "attrs", "cattrs", "cryptography", "treq")


@click.command
def version() -> None:
    """Print the versions of the gateway and of its parts, for a report of an error."""
    click.echo(f"xmpp-gateway {gateway.__version__}")
    click.echo(f"Python {platform.python_version()}")
    for name in _PARTS:
        click.echo(f"{name} {metadata.version(name)}")
