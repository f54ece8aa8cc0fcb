"""Public collections that can be downloaded by name, and what is known of each of their sets.

The facts are data, in ``catalogue.json`` beside this file: those of MedMNIST as its own package
(3.0.2, ``info.py``) states them, those of MedIMeta as its authors' scripts do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from medmeta.errors import SettingsError, UnknownNameError

PUBLISHER = "https://zenodo.org"

_CATALOGUE = Path(__file__).with_name("catalogue.json")
_SIZED = re.compile(r"(?P<name>[a-z0-9]+)(_(?P<size>\d+))?")


@dataclass(frozen=True)
class Collection:
    """Sets that were published together; ``record`` is the number of their record at Zenodo."""

    title: str
    version: str
    homepage: str
    record: str
    cite: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class RemoteFile:
    """A published file; ``md5`` is None where only its record says it, at the time of asking."""

    file: str
    md5: str | None

    def path(self, record: str) -> str:
        """Where it lies at the publisher's."""
        return f"/records/{record}/files/{self.file}?download=1"


@dataclass(frozen=True)
class CataloguedSet:
    """One set: what is on its images, its classes in the order of their numbers, its files by size.

    ``dimensions`` is 3 for volumes; ``images`` are counts by split, empty where not known;
    ``classes`` are empty where there are several tasks.
    """

    name: str
    collection: Collection
    title: str
    what: str
    modality: str
    dimensions: int
    channels: int
    task: str
    images: Mapping[str, int]
    classes: tuple[str, ...]
    licence: str
    files: Mapping[int, RemoteFile]

    def file_of(self, size: int | None) -> RemoteFile:
        """The file of a size in pixels, the smallest where none is named.

        Raises ``SettingsError`` for a size that there is not.
        """
        wanted = min(self.files) if size is None else size
        if wanted not in self.files:
            sizes = ", ".join(map(str, sorted(self.files)))
            raise SettingsError(f"--size {wanted}: {self.name} is published in sizes {sizes}.")
        return self.files[wanted]

    def to_dict(self) -> dict[str, object]:
        """As JSON."""
        collection = self.collection
        return {
            "name": self.name,
            "collection": collection.title,
            "what": self.what,
            "modality": self.modality,
            "dimensions": self.dimensions,
            "task": self.task,
            "images": dict(self.images),
            "classes": list(self.classes),
            "licence": self.licence,
            "cite": list(collection.cite),
            "homepage": collection.homepage,
            "sizes": sorted(self.files),
        }


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, CataloguedSet]:
    """All sets by name.

    >>> catalogue()["bloodmnist"].classes[0], sorted(catalogue()["organmnist3d"].files)
    ('basophil', [28, 64])
    """
    content = json.loads(_CATALOGUE.read_text(encoding="utf-8"))
    collections = {
        name: Collection(**{**facts, "cite": tuple(facts["cite"])})
        for name, facts in content["collections"].items()
    }
    return {
        name: CataloguedSet(
            name=name,
            collection=collections[facts.pop("collection")],
            images=facts.pop("images") or {},
            classes=tuple(facts.pop("classes")),
            files={int(size): RemoteFile(**file) for size, file in facts.pop("files").items()},
            **facts,
        )
        for name, facts in content["sets"].items()
    }


def catalogued(name: str) -> CataloguedSet:
    """The set of a name, large or small letters alike; raises ``UnknownNameError``."""
    found = catalogue().get(name.strip().lower())
    if found is None:
        raise UnknownNameError("data set to download", name, catalogue())
    return found


def set_of_file(stem: str) -> CataloguedSet | None:
    """The set that a file called ``stem`` holds, by MedMNIST's own habit of naming.

    >>> found = set_of_file("pathmnist_64")
    >>> found.name if found else None
    'pathmnist'
    >>> set_of_file("pathmnist_63") is None and set_of_file("my_images") is None
    True
    """
    parts = _SIZED.fullmatch(stem.lower())
    found = catalogue().get(parts["name"]) if parts else None
    if found is None or parts is None:
        return None
    return found if int(parts["size"] or 28) in found.files else None
