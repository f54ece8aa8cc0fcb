"""The real sets with masks that segmentation is trained and measured on, and who is in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medmeta.data.index import Column
from medmeta.data.mask_sources import open_mask_source
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source

COLLECTION = "multi_tasks"
TEST_SETS = ("drive_vessels", "busi")
TEST_FAMILIES = (
    "Prostate-Cancer-MRI",
    "3D-Liver-Tumor",
    "UWM-GI-Tract",
    "Pancreas-T1W-MRI",
    "STARE-Retinal-Vessel",
)
OVERLAPPING = ("IRCAD-Digestive-Cancer-Liver",)  # with the livers of the test
TRAINING_SETS = ("ph2", "wbc1", "dsb2018_nuclei", "em_membrane")

# Names of slices that begin with a patient; elsewhere each picture is its own.
_PATIENT: dict[str, Callable[[str], str]] = {
    "Prostate-Cancer-MRI": lambda stem: stem.split("_")[0],
    "3D-Liver-Tumor": lambda stem: stem.split("_")[0],
    "UWM-GI-Tract": lambda stem: stem.split("_")[0],
    "Pancreas-T1W-MRI": lambda stem: stem.split("_")[0],
    "Full-Head-T1W": lambda stem: stem.split("_")[0],
    "Hypertrophic-Obstructive-Cardiomyopathy": lambda stem: stem.split("_")[0],
}


@dataclass(frozen=True)
class Folders:
    """Where the shared data lies, and where decoded pictures are kept."""

    data: Path
    cache: Path

    def opened(self, name: str, size: int) -> Source:
        """One set, at a size."""
        source = open_mask_source(
            self.data / "segmentation" / f"{name}.npz",
            preprocessing=Preprocessing(size=size),
            cache=self.cache,
        )
        return _with_patients(source, self.data / "segmentation" / f"{name}.npz")

    def training(self, size: int) -> list[Source]:
        """All that may be learned from."""
        collection = self.opened(COLLECTION, size)
        families = collection.index.column("family").names
        kept = (name for name in families if name not in (*TEST_FAMILIES, *OVERLAPPING))
        others = (self.opened(name, size) for name in TRAINING_SETS)
        return [of_family(collection, *kept), *others]

    def tests(self, size: int) -> dict[str, Source]:
        """Each test structure's pictures, without those that were made by distorting others."""
        found = {name: self.opened(name, size) for name in TEST_SETS}
        collection = self.opened(COLLECTION, size)
        made = _made(self.data / "segmentation" / f"{COLLECTION}.npz")[collection.pixel_rows]
        true = collection.take(np.flatnonzero(~made))
        return found | {name: of_family(true, name) for name in TEST_FAMILIES}


def of_family(collection: Source, *names: str) -> Source:
    """The pictures of some of a collection's families."""
    family = collection.index.column("family")
    codes = [family.names.index(name) for name in names]
    return collection.take(np.flatnonzero(np.isin(family.codes, codes)))


def _made(path: Path) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    with np.load(path, allow_pickle=False) as held:
        return np.asarray(held["synthetic_augmented"])


def _with_patients(source: Source, path: Path) -> Source:
    """Whose slice each picture is, as far as the names of files tell."""
    if source.index.patients.known:
        return source
    with np.load(path, allow_pickle=False) as held:
        names = [Path(str(name)).stem for name in held["file_names"][source.pixel_rows]]
    families = source.index.column("family").texts()
    patients = [
        f"{family} {_PATIENT[family](stem)}" if family in _PATIENT
        else f"{family} {original(stem)}"
        for family, stem in zip(families, names, strict=True)
    ]  # fmt: skip
    return replace(source, index=replace(source.index, patients=Column.from_texts(patients)))


def original(stem: str) -> str:
    """The picture that a distorted copy was made of, by its name.

    >>> original("deformed_alpha_1300_sigmoid_10_1017"), original("149056410-149056423-001")
    ('1017', '149056410-149056423-001')
    """
    made = r"(barrdistorted|pincdistorted|deformed|distorted|hflipped|vflipped|rotated\w*|shrinked)"
    return stem.rsplit("_", 1)[-1] if re.match(made, stem) else stem
