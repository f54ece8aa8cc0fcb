"""A folder of images beside a folder of masks: which belongs to which, by their names."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from medmeta.data.folder import is_litter, table_of_files
from medmeta.data.index import Problem, SourceIndex
from medmeta.data.medical import find_scans, medical_kind, scan_place
from medmeta.data.nifti_header import is_nifti
from medmeta.data.readers import IMAGE_SUFFIXES
from medmeta.data.scan import Scan
from medmeta.data.scan_columns import with_scans
from medmeta.errors import DataError

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "segmentations", "annotations")
DECLARED = "structures.csv"
_MARKS = r"[_\-. ]?(mask|masks|seg|segmentation|label|labels|gt|manual\d*|annotation)$"
_LAYOUT = (
    "expected a folder 'images' and beside it a folder 'masks', whose files are called alike "
    "(images/7.png, masks/7.png or masks/7_mask.png)"
)


def read_pairs(root: Path) -> tuple[SourceIndex, list[Path]]:
    """The table of the images, and the mask of each; what has no partner is in its problems.

    Raises ``DataError`` where the folder is not laid out so.
    """
    resolved = root.resolve()
    images, masks = _folder(resolved, IMAGES), _folder(resolved, MASKS)
    if images is None or masks is None:
        raise DataError(f"{root}: {_LAYOUT}.")
    problems: list[Problem] = []
    files, scans, chosen = [], [], []
    pictures, volumes = _images(images, resolved, problems)
    listed = [(path, None) for path in pictures] + [(scan_place(s), s) for s in volumes]
    partners = _Partners(masks, [place.relative_to(images) for place, _ in listed])
    for place, scan in sorted(listed, key=lambda item: item[0]):
        mask = partners.of(place.relative_to(images))
        if isinstance(mask, str):
            problems.append(Problem("error", place.relative_to(resolved).as_posix(), mask))
            continue
        files.append(place if scan is None else scan.files[0])
        scans.append(scan)
        chosen.append(mask)
    for mask in partners.left():
        what = f"has no image of its name in {images.name}/; add it, or take the mask away."
        problems.append(Problem("error", mask.relative_to(resolved).as_posix(), what))
    return with_scans(table_of_files(resolved, files, None, problems), scans), chosen


class _Partners:
    """The masks of images, by the sub-folder and the name, or by a name that is there only once."""

    def __init__(self, folder: Path, images: Sequence[Path]) -> None:
        """``images`` are their places within their folder."""
        self.folder = folder
        self.masks: dict[tuple[Path, str], list[Path]] = {}
        for path in _files(folder):
            if path.suffix.lower() != ".hdr" or not path.with_suffix(".img").exists():
                self.masks.setdefault(_key(path.relative_to(folder)), []).append(path)
        self.images = Counter(map(_key, images))
        self.stems = Counter(stem for _, stem in self.images.elements())
        self.taken: set[tuple[Path, str]] = set()

    def of(self, image: Path) -> Path | str:
        """An image's mask, or why it has none."""
        key = _key(image)
        if key not in self.masks and self.stems[key[1]] == 1:
            alike = [other for other in self.masks if other[1] == key[1]]
            key = alike[0] if len(alike) == 1 else key
        masks = self.masks.get(key, [])
        self.taken.add(key)
        if not masks:
            return f"has no mask of its name in {self.folder.name}/; add it, or take it away."
        if len(masks) > 1:
            names = " and ".join(path.name for path in masks[:2])
            return f"has {len(masks)} masks of its name ({names}); leave one of them."
        if self.images[_key(image)] > 1:
            return "has the name of another image, and a mask is of one; give them other names."
        return masks[0]

    def left(self) -> list[Path]:
        """Masks that no image has."""
        return [
            path for key, paths in self.masks.items() if key not in self.taken for path in paths
        ]


def _key(place: Path) -> tuple[Path, str]:
    return place.parent, _stem(place)


def holds_pairs(path: Path) -> bool:
    """Whether it is a folder of images with a folder of masks in it.

    >>> holds_pairs(Path("no such folder"))
    False
    """
    return path.is_dir() and None not in (_folder(path, IMAGES), _folder(path, MASKS))


def refuse_pairs(path: Path, class_names: Sequence[str]) -> None:
    """Raise ``DataError`` where a folder's classes are a folder of images and one of masks.

    They would be told apart without any error, and that is not what such a folder is for.
    """
    there = {name.lower(): name for name in class_names}
    images = next((there[name] for name in IMAGES if name in there), None)
    masks = next((there[name] for name in MASKS if name in there), None)
    if images is not None and masks is not None:
        raise DataError(
            f"{path}: its folders {images!r} and {masks!r} hold images and the masks of these, not "
            "two classes. To learn to mark them, say 'medmeta adapt --task segmentation' or "
            "'medmeta train --target masks'; if they are classes, give the folders other names."
        )


def images_to_mark(path: Path) -> Path:
    """The folder of images where a folder of masks stands beside it, else what was given.

    >>> images_to_mark(Path("no such folder")).name
    'no such folder'
    """
    return (_folder(path, IMAGES) or path) if holds_pairs(path) else path


def declared_structures(root: Path) -> dict[int, str] | None:
    """What ``structures.csv`` beside the masks says: columns ``value`` and ``name``.

    Raises ``DataError`` where it is no such table.
    """
    path = root / DECLARED
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        found = {int(row["value"]): row["name"].strip() for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, AttributeError):
        raise DataError(
            f"{path}: is no table of structures; write the columns value,name and a row for each, "
            "such as 1,liver."
        ) from None
    if 0 in found or len(set(found.values())) < len(found) or "" in found.values():
        raise DataError(f"{path}: values are 1 and above, and each structure has its own name.")
    return found


def _folder(root: Path, names: tuple[str, ...]) -> Path | None:
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; check the name.")
    there: Mapping[str, Path] = {p.name.lower(): p for p in root.iterdir() if p.is_dir()}
    return next((there[name] for name in names if name in there), None)


def _files(folder: Path) -> list[Path]:
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    return [p for p in inside if not any(map(is_litter, p.relative_to(folder).parts))]


def _images(folder: Path, root: Path, problems: list[Problem]) -> tuple[list[Path], list[Scan]]:
    pictures, medical = [], []
    for path in _files(folder):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            pictures.append(path)
        elif medical_kind(path):
            medical.append(path)
        else:
            where = path.relative_to(root).as_posix()
            problems.append(Problem("error", where, "is no image that can be read; move it away."))
    volumes, wrong = find_scans(medical, root=root)
    problems += wrong
    return pictures, volumes


def _stem(path: Path) -> str:
    """A name without its suffix and without what says that it is a mask."""
    name = path.name
    if is_nifti(path):
        name = re.sub(r"\.(nii|img|hdr)(\.gz)?$", "", name, flags=re.IGNORECASE)
    elif path.suffix:
        name = path.stem
    return re.sub(_MARKS, "", name, flags=re.IGNORECASE)
