"""Saving so that nothing is ever half written: temporary name, flush to disk, rename.

A saved folder has a ``card.json`` that lists the SHA-256 of every other file in it. Tensors are
safetensors, everything else is JSON; nothing that could run code is ever read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medmeta.errors import CheckpointError, StorageError

CARD, SEAL = "card.json", "card_sha256"
UNFINISHED = ".medmeta-unfinished"  # ends the name of what is not yet wholly on the disk
MAX_JSON_BYTES = 64 * 2**20
MAX_TENSOR_BYTES = 8 * 2**30


@contextlib.contextmanager
def explained_disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into a ``StorageError`` that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"{path} could not be written: {reason}. What was saved before is untouched; "
            "free some space or choose another place."
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all.

    Raises ``StorageError`` where the disk refuses; the file that was there before then stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    with explained_disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_through(temporary, content)
            os.replace(temporary, path)
            _flush_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON as a whole or not at all; keys stay in the order given."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; raises ``CheckpointError`` where it is missing, damaged or too large."""
    return parsed_json(_read_json_bytes(path), where=path)


def _read_json_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path} is larger than {MAX_JSON_BYTES // 2**20} MB.")
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path} is not there; was it saved by medmeta?") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None


def parsed_json(content: bytes, *, where: Path) -> Any:
    """What JSON says; raises ``CheckpointError`` that names the file where it is damaged."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is damaged ({error}); restore it from a copy.") from None


def save_folder(folder: Path, card: Mapping[str, Any], parts: Mapping[str, bytes]) -> str:
    """Save a folder of parts with its card; returns the SHA-256 of the card.

    The folder appears under its name only when everything in it is on the disk. Raises
    ``StorageError`` where the disk refuses or where the folder is already there.
    """
    if folder.exists():
        raise StorageError(f"{folder} is already there; choose another name or remove it.")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
    text = json.dumps(sealed({**card, "sha256": hashes}), indent=2, allow_nan=False) + "\n"
    with explained_disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        name = tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=UNFINISHED, dir=folder.parent)
        temporary = Path(name)
        try:
            temporary.chmod(0o755)
            for name, content in parts.items():
                _write_through(temporary / name, content)
            _write_through(temporary / CARD, text.encode())
            _flush_folder(temporary)
            os.rename(temporary, folder)
            _flush_folder(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_folder(
    folder: Path, *, expected_sha256: str | None = None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read a saved folder: its card and its parts, each compared with its SHA-256.

    ``expected_sha256`` is the hash of the card that somebody trusted told you: with it the folder
    is safe against tampering, without it against damage only. Raises ``CheckpointError``.
    """
    content = _read_json_bytes(folder / CARD)
    if expected_sha256 is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != expected_sha256.lower():
            raise CheckpointError(f"{folder}: its card has SHA-256 {found}, not the one expected.")
    card = parsed_json(content, where=folder / CARD)
    hashes = card.get("sha256") if isinstance(card, dict) else None
    if not isinstance(hashes, dict):
        raise CheckpointError(f"{folder / CARD} is not a card of medmeta's.")
    if card.pop(SEAL, None) != sealed(card)[SEAL]:
        raise CheckpointError(
            f"{folder / CARD} is not what was saved (its own SHA-256 differs): it was damaged or "
            "altered. Restore it from a copy, or train or adapt again."
        )
    parts = {}
    for name, digest in hashes.items():
        if Path(name).name != name or name.startswith("."):
            raise CheckpointError(f"{folder / CARD} names a file outside its folder: {name!r}.")
        parts[name] = _read_part(folder / name)
        if hashlib.sha256(parts[name]).hexdigest() != digest:
            raise CheckpointError(
                f"{folder / name} is not what was saved (its SHA-256 differs): it was damaged or "
                "altered. Restore it from a copy, or train or adapt again."
            )
    return card, parts


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left unfinished in a folder; nothing else in it is touched."""
    if not folder.is_dir():
        return
    for leftover in folder.glob(f".*{UNFINISHED}"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sealed(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card with the SHA-256 of its own content, however its JSON is laid out."""
    content = {key: value for key, value in card.items() if key != SEAL}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {**content, SEAL: digest}


def _read_part(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_TENSOR_BYTES:
            raise CheckpointError(f"{path} is larger than {MAX_TENSOR_BYTES // 2**30} GB.")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
