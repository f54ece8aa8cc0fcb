"""The models that come with the package: each a model folder here, the hash of its card pinned.

A card holds the SHA-256 of every other file of its folder, so that its own pins them all.
``medmeta models pack`` makes such a folder from a run.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

PINNED: dict[str, str] = {
    "medmeta-base": "4e2914758c4c419a1466023a7071aa1328977c5cee5d00e98e32b67fd6e9562d",
    "medmeta-masks": "0641fcf03cc8b49dfe5ac777bc7e1101c89d371e24e883f5b6416b81acb1d55d",
}
"""Name of the folder and SHA-256 of its ``card.json``."""

MOST_BYTES = 8 * 10**6
"""Of all files of a folder together, so that the wheel stays small."""


def box_folder(name: str) -> Path:
    """Where a model of the box lies; it need not be there, as in a damaged installation."""
    return Path(str(files(__name__) / name))


def in_words() -> str:
    """The names of the models in the box, for messages."""
    return ", ".join(sorted(PINNED)) or "none in this version"
