"""The folder of a run: what may be there before training, and the list of pictures seen."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.errors import CheckpointError, SettingsError, StorageError
from medmeta.storage import load_folder, save_folder
from medmeta.training.checkpoint import (
    Progress,
    newest_checkpoint_card,
    tensors_from_bytes,
    tensors_to_bytes,
)
from medmeta.training.settings import TrainingSettings

SEEN, SEEN_FILE = "seen", "hashes.safetensors"
_OWN = re.compile(
    r"seen|evaluations|shifts|tensorboard|(checkpoint|model)-\d+(\.new)?"
    r"|\.(seen|(checkpoint|model)-\d+)\..*"  # unfinished, of a killed process
)
_SOURCES = ("sources", "validated_on")
_START = "init"
_COMPARED = (
    "learner",
    "options",
    "target",
    "preprocessing",
    "protocol",
    *_SOURCES,
    "training",
    "pretraining",
    _START,
)
_SHOWN = 5


def check_folder(run: Path, *, resume: bool) -> None:
    """Refuse a folder that holds a run (without ``resume``), or folders that are no run's.

    Those would be somebody's images, or a project. Raises ``SettingsError``.
    """
    if run.exists() and not run.is_dir():
        raise SettingsError(f"{run} is a file; --out names a folder.")
    if not run.is_dir():
        return
    if newest_checkpoint_card(run) is not None:
        if resume:
            return
        raise SettingsError(
            f"{run} holds a run already: go on with it by --resume, or choose another --out."
        )
    folders = sorted(path.name for path in run.iterdir() if path.is_dir())
    foreign = [name for name in folders if not _OWN.fullmatch(name)]
    if foreign:
        raise SettingsError(
            f"{run} holds other folders ({', '.join(foreign[:_SHOWN])}); --out names a folder of "
            f"its own for the run, such as {run / 'run'}."
        )


def earlier_progress(run: Path, card: Mapping[str, Any]) -> Progress | None:
    """Where the run in this folder stands, None where there is none.

    Raises ``SettingsError`` where it was trained with other settings, for then its figures would
    mean nothing; ``CheckpointError`` where its card is damaged.
    """
    before = newest_checkpoint_card(run)
    if before is None:
        return None
    try:
        progress = Progress.from_dict(before["progress"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{run}: the card of its newest checkpoint is incomplete or damaged ({error!r}); "
            "restore it from a copy, or train again under another --out."
        ) from None
    settings = TrainingSettings.model_validate(card["training"])
    changed = []
    was = {**before, "preprocessing": _as_now(before.get("preprocessing"))}
    for key in _COMPARED:
        changed += _differences(key, was.get(key), card.get(key))
    if not settings.rates_depend_on_the_end:  # a longer one draws the same tasks, and more
        changed = [line for line in changed if not line.startswith("training.steps ")]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise SettingsError(
            f"{run} was trained with other settings: {'; '.join(changed[:_SHOWN])}{more}. Resume "
            "it with the same ones, or choose another --out."
        )
    return progress


def _as_now(preprocessing: Any) -> Any:
    """Of an earlier version, which had fewer options, with the defaults of the others."""
    try:
        return Preprocessing.model_validate(preprocessing).model_dump(mode="json")
    except ValidationError:
        return preprocessing


def _differences(name: str, old: Any, new: Any) -> list[str]:
    if old == new:
        return []
    if name in _SOURCES:
        return [f"the images or labels {'to train' if name == 'sources' else 'validated'} on"]
    if name == _START:
        same = isinstance(old, Mapping) and new is not None and old.get("sha256") == new["sha256"]
        return [] if same else ["the model that its encoder started from (--init)"]
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys((*old, *new))
        return [d for k in keys for d in _differences(f"{name}.{k}", old.get(k), new.get(k))]
    return [f"{name} was {old} and is now {new}"]


def save_seen(run: Path, hashes: NDArray[np.uint64]) -> None:
    """Keep the content hashes of the pictures that a run learns from or is chosen by."""
    unique = np.unique(hashes)
    if (run / SEEN).exists():
        if np.array_equal(load_seen(run), unique):
            return
        shutil.rmtree(run / SEEN)  # of a run that was stopped before its first checkpoint
    fresh = not run.exists()
    try:
        save_folder(
            run / SEEN,
            {"what": "content hashes of the pictures that this run learned from or was chosen by"},
            {SEEN_FILE: hashes_to_bytes(unique)},
        )
    except StorageError:
        if fresh:
            with contextlib.suppress(OSError):
                run.rmdir()
        raise


def fingerprint(source: Source) -> str:
    """Sixteen hexadecimal digits: which pictures a source holds and how labelled, in any order."""
    labels, values = source.index.labels, source.index.values
    told: list[Any] = [""] * len(source)
    if labels is not None:
        told = [text or "" for text in labels.texts()]
    elif values is not None:
        told = values.tolist()
    elif source.masks is not None:
        told = [np.flatnonzero(row).tolist() for row in source.marked]
    pairs = sorted(zip(source.hashes.tolist(), map(str, told), strict=True))
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


def load_seen(run: Path) -> NDArray[np.uint64]:
    """Read what ``save_seen`` wrote; raises ``CheckpointError`` where it is missing or damaged."""
    _, parts = load_folder(run / SEEN)
    if SEEN_FILE not in parts:
        raise CheckpointError(f"{run / SEEN} lacks its {SEEN_FILE}; restore it from a copy.")
    return hashes_from_bytes(parts[SEEN_FILE], where=run / SEEN / SEEN_FILE)


def hashes_to_bytes(hashes: NDArray[np.uint64]) -> bytes:
    """Content hashes as one file, each once."""
    unique = np.unique(hashes)
    return tensors_to_bytes({"hashes": torch.from_numpy(unique.view(np.int64))})


def hashes_from_bytes(content: bytes, *, where: Path) -> NDArray[np.uint64]:
    """Read what ``hashes_to_bytes`` made; raises ``CheckpointError`` that names the file."""
    hashes = tensors_from_bytes(content, where=where).get("hashes")
    if hashes is None or hashes.dtype != torch.int64 or hashes.ndim != 1:
        raise CheckpointError(f"{where} holds no hashes; restore it from a copy.")
    return hashes.numpy().view(np.uint64)
