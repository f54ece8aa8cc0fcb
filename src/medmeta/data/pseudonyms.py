"""Names that stand for patients, studies and series, and the secret they are made with."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from pathlib import Path

from medmeta.errors import SettingsError

SETTINGS_VARIABLE = "MEDMETA_CONFIG"
_SALT_FILE = "salt"
_SALT_BYTES = 32
_DIGITS = 12


def pseudonym(text: str, salt: bytes) -> str:
    """Twelve hexadecimal digits that stand for a text: equal for equal texts under one salt.

    A keyed BLAKE2b hash (RFC 7693): without the salt nobody can try names until one fits.

    >>> pseudonym("A-1", b"one") == pseudonym("A-1 ", b"one"), len(pseudonym("A-1", b"two"))
    (True, 12)
    """
    key = hashlib.sha256(salt).digest()
    return hashlib.blake2b(text.strip().encode(), key=key, digest_size=_DIGITS // 2).hexdigest()


def settings_folder() -> Path:
    """The user's own settings of medmeta: ``MEDMETA_CONFIG``, or the system's usual place."""
    named = os.environ.get(SETTINGS_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home()) / "medmeta"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "medmeta"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "medmeta"


def user_salt() -> bytes:
    """The user's salt; made once, readable by the user alone, and never kept beside results.

    Raises ``SettingsError`` where it can neither be read nor made.
    """
    path = settings_folder() / _SALT_FILE
    try:
        if not path.exists():
            _make(path)
        salt = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path}: the salt that patients' pseudonyms are made with cannot be kept there "
            f"({error.strerror}); name another folder with {SETTINGS_VARIABLE}."
        ) from None
    if len(salt) < _SALT_BYTES:
        raise SettingsError(
            f"{path}: is damaged (the salt of patients' pseudonyms is {_SALT_BYTES} bytes). Remove "
            "it to have another made; pseudonyms will then differ from earlier ones."
        )
    return salt


def _make(path: Path) -> None:
    """Another process may make it at the same moment: the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{_SALT_FILE}.{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_SALT_BYTES))
        if not path.exists():
            os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
