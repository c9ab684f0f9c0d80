"""
The key of a gateway: its file, its certificate, its fingerprint.

A peer is known by its key alone. The certificate only carries the key: it has no name, and is valid at all times,
so that a wrong clock does no harm.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from gateway.state import files

# The name of the key's file in the folder for durable state.
KEY_FILE = "peers.key"

_PREFIX = "sha256:"
_MAX_FILE = 4096


class KeyProblem(Exception):
    """A key cannot be used. The text says why, and what to do."""


@frozen
class Identity:
    """A key and its certificate."""

    key: Ed25519PrivateKey
    certificate: x509.Certificate

    @property
    def fingerprint(self) -> str:
        """The fingerprint, for the configuration of the other side."""
        return fingerprint(self.certificate)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's public key (SubjectPublicKeyInfo, RFC 5280 section 4.1)."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"{_PREFIX}{sha256(key).hexdigest()}"


def load(path: Path) -> Identity:
    """
    Read a key; create it, with mode 0600, if the file does not exist.

    @raise KeyProblem: if that is not possible.
    """
    try:
        return read(path)
    except FileNotFoundError:
        key = Ed25519PrivateKey.generate()
    try:
        files.write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), replace=False)
    except FileExistsError:
        # Another process has just created it.
        return read(path)
    except OSError as error:
        raise KeyProblem(f"{path} cannot be created: {error.strerror}{files.remedy(error)}") from error
    return make(key)


def read(path: Path) -> Identity:
    """
    Read a key.

    @raise FileNotFoundError: if it does not exist.
    @raise KeyProblem: if it cannot be read, or is no key that can be used.
    """
    try:
        key = load_pem_private_key(files.readStart(path, _MAX_FILE), None)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyProblem(f"{path} cannot be read: {error.strerror}{files.remedy(error)}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        advice = "restore it from a backup, or move it away: the gateway then creates a new one"
        raise KeyProblem(f"{path} is not a private key of type Ed25519, in PEM and without a password; {advice}")
    return make(key)


def problem(path: Path, stateDir: str) -> str:
    """Return the reason why L{load} would fail; empty if there is none. Create nothing."""
    try:
        read(path)
    except KeyProblem as error:
        return str(error)
    except FileNotFoundError:
        # The state folder and its parents are created, other folders are not.
        if str(path.parent) == stateDir:
            return ""
        found = files.folderProblem(path.parent) if path.parent.exists() else "its folder does not exist; create it"
        return found and f"{path} does not exist and cannot be created: {found}"
    return ""


def make(key: Ed25519PrivateKey) -> Identity:
    """Return a key with its certificate, which is always the same."""
    nobody = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(1970, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, tzinfo=UTC))
        .sign(key, None)
    )
    return Identity(key, certificate)
