"""Encryption of a gallery at rest: what its keys seal, and how a sealed name is found again.

Content is sealed by Fernet (github.com/fernet/spec: AES-128 in CBC mode, authenticated by HMAC-SHA256), the recipe of
the library ``cryptography``. In front of the content stands a digest of what it is about, so that a sealed embedding
which is moved to another person's row does not open there.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

from trident.errors import SetupError

KEY_VARIABLE = "TRIDENT_GALLERY_KEY"
"""Environment variable with the gallery's keys, separated by commas or white space; the first one seals."""

_TOKEN = "sealed:"  # noqa: S105 - in front of what stands for a name
_NAMES = b"trident gallery names"
_PROOF = b"trident gallery"


class Broken(ValueError):
    """Sealed content that this key does not open, or that is about something else."""


class Seal:
    """One key of an encrypted gallery.

    Args:
        key: 32 bytes in URL-safe base64, as ``new_key`` makes them.

    Raises:
        SetupError: It is no key, or the library is not installed. The key itself is not repeated.
    """

    def __init__(self, key: str) -> None:
        try:
            # Not at the top: a gallery that is not encrypted needs none of it.
            from cryptography.fernet import Fernet  # noqa: PLC0415
            from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415
        except ImportError as exc:
            raise SetupError(
                f"{KEY_VARIABLE} is set, and an encrypted gallery needs the package cryptography: run pip install "
                "'.[serve]' in a clone of the repository"
            ) from exc
        try:
            self._fernet = Fernet(key)
            raw = base64.urlsafe_b64decode(key)
        except ValueError as exc:
            raise SetupError(
                f"{KEY_VARIABLE}: expected keys of 32 bytes in URL-safe base64, which are 44 characters, got one of "
                f"{len(key)} characters that is none; `trident gallery new-key` makes one"
            ) from exc
        # A key of its own for names, since an HMAC of a name is not to say anything about the others.
        self._name_key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_NAMES).derive(raw)

    def seal(self, content: bytes, about: str) -> bytes:
        """Encrypt and authenticate.

        Args:
            content: Anything.
            about: What it belongs to; it opens only where that is named again.
        """
        return self._fernet.encrypt(_digest(about) + content)

    def open(self, sealed: bytes, about: str) -> bytes:
        """The content of what ``seal`` gave.

        Raises:
            Broken: It is not from this key, was changed, or is about something else.
        """
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - as above

        try:
            content = self._fernet.decrypt(sealed)
        except (InvalidToken, TypeError, ValueError) as exc:  # SQLite keeps any value in any column
            raise Broken("expected content that was sealed with this key, got other") from exc
        expected = _digest(about)
        if not hmac.compare_digest(content[: len(expected)], expected):
            raise Broken("expected sealed content about this row, got some about another")
        return content[len(expected) :]

    def token(self, name: str) -> str:
        """What stands in the database for a name, 71 characters: the same for the same name and key."""
        return _TOKEN + hmac.digest(self._name_key, name.encode(), "sha256").hex()

    def proof(self) -> bytes:
        """What a gallery keeps so that it can be told whether a key is its own."""
        return self.seal(_PROOF, "proof")

    def proves(self, proof: bytes) -> bool:
        """Whether ``proof`` was made with this key."""
        try:
            return self.open(proof, "proof") == _PROOF
        except Broken:
            return False


class Keys:
    """The keys that somebody has: the first seals what is sealed anew, each opens what was sealed with it.

    Args:
        text: One or more, separated by commas or white space.

    Raises:
        SetupError: There is none in it, or one is no key.
    """

    def __init__(self, text: str) -> None:
        self._seals = tuple(Seal(key) for key in text.replace(",", " ").split())
        if not self._seals:
            raise SetupError(
                f"{KEY_VARIABLE}: expected one or more keys, got none; `trident gallery new-key` makes one"
            )

    @property
    def first(self) -> Seal:
        """The one that seals."""
        return self._seals[0]

    def that_made(self, proof: bytes) -> Seal | None:
        """The one that a gallery with this proof is sealed with; None if it is none of these."""
        return next((seal for seal in self._seals if seal.proves(proof)), None)


def keys_from(text: str | None) -> Keys | None:
    """The keys in ``text``, or with None in the environment's ``TRIDENT_GALLERY_KEY``; None where that is empty too.

    Raises:
        SetupError: One is no key, or the library is not installed.
    """
    given = os.environ.get(KEY_VARIABLE, "") if text is None else text
    return Keys(given) if given else None


def new_key() -> str:
    """A new key, from the operating system's random numbers."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode("ascii")


def _digest(about: str) -> bytes:
    return hashlib.sha256(about.encode()).digest()
