"""The fate of every file of a tree of medical files: read, as what; or refused, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medmeta.data.index import Problem, SourceIndex
from medmeta.data.manifest_scans import files_below
from medmeta.data.manifest_table import MANIFEST_SUFFIXES
from medmeta.data.medical import find_scans, kind_in_class, medical_kind, read_slices
from medmeta.data.nifti import read_nifti_slices
from medmeta.data.nifti_header import nifti_files
from medmeta.data.preprocess import Preprocessing
from medmeta.data.readers import IMAGE_SUFFIXES, read_image
from medmeta.data.reading import bare_reason, map_ahead
from medmeta.data.scan import Scan
from medmeta.data.signals import AS_THEY_ARE, SIGNAL, read_recording
from medmeta.data.slide_tiles import overview
from medmeta.data.slides import SLIDE
from medmeta.errors import MissingExtraError, UnreadableImageError

_AS_IT_IS = Preprocessing()
_MOST_FRAMES = 8  # of one file; reaching one may mean unpacking all before it
_NO_IMAGE = "is no image of a kind that is read (DICOM, NIfTI, PNG, TIFF, JPEG and the like)."
_CONVERT = {
    ".mnc": "is MINC; convert it to NIfTI (mnc2nii).",
    ".mgz": "is of FreeSurfer; convert it to NIfTI (mri_convert).",
    ".mgh": "is of FreeSurfer; convert it to NIfTI (mri_convert).",
    ".nrrd": "is NRRD; convert it to NIfTI.",
    ".mha": "is MetaImage; convert it to NIfTI.",
}


@dataclass(frozen=True)
class InspectedFile:
    """One file, by its path from what was inspected; ``reason`` is empty where it was read.

    ``shape`` is slices, rows and columns of what the file holds (of one file of a series: rows and
    columns); ``spacing`` is in mm, between slices, rows and columns. ``series`` is a pseudonym.
    ``remark``: why a file that can be read is not used all the same, beside the others.
    """

    path: str
    kind: str
    reason: str = ""
    shape: tuple[int, ...] = ()
    spacing: tuple[float | None, ...] = ()
    modality: str | None = None
    photometric: str | None = None
    transfer_syntax: str | None = None
    series: str | None = None
    look: str = ""
    remark: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON: what was read, or why not."""
        if self.reason:
            return {"path": self.path, "kind": self.kind, "read": False, "reason": self.reason}
        names = ("modality", "photometric", "transfer_syntax", "series")
        told = {name: getattr(self, name) for name in names}
        read = {"shape": list(self.shape), "spacing_mm": list(self.spacing), **told}
        more = {name: getattr(self, name) for name in ("look", "remark") if getattr(self, name)}
        return {"path": self.path, "kind": self.kind, "read": True, **read, **more}


@dataclass(frozen=True)
class InspectedTree:
    """All files of a tree in order, and what is worth saying of them."""

    files: tuple[InspectedFile, ...]
    problems: tuple[Problem, ...]


def is_plain_tree(path: Path) -> bool:
    """Whether it is a medical file, or a folder of such that is not laid out by class.

    It is not where a medical file or a table lies beside the folders.
    """
    if path.is_file():
        other = path.suffix.lower() in MANIFEST_SUFFIXES | IMAGE_SUFFIXES | {".npz"}
        return not other and medical_kind(path) is not None
    if not path.is_dir():
        return False
    inside = list(path.iterdir())
    if any(p.is_file() and medical_kind(p) for p in inside):
        return True
    folders = any(p.is_dir() for p in inside)
    table = any(p.is_file() and p.suffix.lower() in MANIFEST_SUFFIXES for p in inside)
    return (table or not folders) and any(medical_kind(file) for file in files_below(path))


def files_among(path: Path, index: SourceIndex) -> tuple[InspectedFile, ...]:
    """What became of the medical files of a source, and of what else is no picture there."""
    if path.is_dir():
        root = path.resolve()
        others = [f for f in files_below(root) if f.suffix.lower() not in IMAGE_SUFFIXES]
        if not any(kind_in_class(file) for file in others):
            return ()
        return inspect_tree(root, others).files
    held = dict.fromkeys(f for scan in index.scans if scan is not None for f in scan.files)
    return inspect_tree(path.resolve().parent, list(held)).files if held else ()


def inspect_tree(
    root: Path,
    files: Iterable[Path] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> InspectedTree:
    """Read every file below a folder, whatever it is; nothing that is found stops it.

    ``files`` may name those to be looked at, instead of all.
    """
    paths = list(files_below(root) if files is None else files)
    medical = [path for path in paths if kind_in_class(path)]
    scans, problems = find_scans(medical, root=root)
    used = {file for scan in scans for file in scan.files}
    refusals = {p.where: p.what for p in problems if _of_file(p, root, used)}
    found = {where: _refused(root / where, root, what) for where, what in refusals.items()}
    alone = [scan for where in refusals for scan in find_scans([root / where], root=root)[0]]
    held = used | set(medical)
    held |= {other for path in medical for other in nifti_files(path)}
    work: list[Scan | Path] = [*scans, *alone, *(path for path in paths if path not in held)]
    for done, looked in enumerate(map_ahead(lambda item: _look(item, root), work), start=1):
        for file in looked:
            again = file.path in refusals  # by itself it may be read, if not beside the others
            found[file.path] = replace(file, remark=refusals[file.path]) if again else file
        if progress is not None:
            progress(done, len(work))
    for path in medical:  # of a header pair, the second stands for itself too
        name = path.relative_to(root).as_posix()
        first = nifti_files(path)[0].relative_to(root).as_posix()
        if name not in found and first in found:
            found[name] = InspectedFile(**{**vars(found[first]), "path": name})
    said = [problem for scan in scans for problem in scan.problems]
    return InspectedTree(
        tuple(found[name] for name in sorted(found)), tuple(dict.fromkeys([*problems, *said]))
    )


def _of_file(problem: Problem, root: Path, used: Collection[Path]) -> bool:
    """Whether it says why a file is not used (copies are told as warnings)."""
    path = root / problem.where
    return path.is_file() and (problem.severity == "error" or path not in used)


def _refused(path: Path, root: Path, reason: str) -> InspectedFile:
    kind = kind_in_class(path) or ("picture" if path.suffix.lower() in IMAGE_SUFFIXES else "other")
    return InspectedFile(path.relative_to(root).as_posix(), kind, reason)


def _look(item: Scan | Path, root: Path) -> list[InspectedFile]:
    try:
        if isinstance(item, Path):
            return [_look_at_picture(item, root)]
        if item.kind == SIGNAL:
            return _look_at_signal(item, root)
        if item.kind == SLIDE:
            return [_look_at_slide(item, root)]
        return [_look_at_nifti(item, root)] if item.kind == "nifti" else _look_at_series(item, root)
    except MissingExtraError:
        raise
    except Exception as error:  # one file must not stop the look at all others
        files = (item,) if isinstance(item, Path) else item.files
        return [_refused(f, root, f"is damaged ({type(error).__name__}).") for f in files]


def _look_at_picture(path: Path, root: Path) -> InspectedFile:
    suffix = path.suffix.lower()
    if suffix in MANIFEST_SUFFIXES:
        return _refused(path, root, "is a table, and no image; name it to see its labels.")
    if suffix not in IMAGE_SUFFIXES:
        return _refused(path, root, _CONVERT.get(suffix, _NO_IMAGE))
    try:
        image = read_image(path)
    except UnreadableImageError as error:
        return _refused(path, root, bare_reason(path, error))
    photometric = "RGB" if image.pixels.ndim == 3 else "MONOCHROME2"
    name = path.relative_to(root).as_posix()
    return InspectedFile(name, "picture", shape=image.size, photometric=photometric)


def _look_at_nifti(scan: Scan, root: Path) -> InspectedFile:
    path = scan.files[0]
    try:
        look = read_nifti_slices(scan, (scan.n_slices // 2,)).look
    except UnreadableImageError as error:
        return _refused(path, root, str(error).removeprefix(f"{scan.where}: "))
    return _read(scan, path, root, (scan.n_slices, *scan.shape), look)


def _look_at_signal(scan: Scan, root: Path) -> list[InspectedFile]:
    """The header and the samples alike: leads and samples, or why not."""
    try:
        leads, samples = read_recording(scan.files[0], AS_THEY_ARE).values.shape
    except UnreadableImageError as error:
        return [_refused(file, root, str(error)) for file in scan.files]
    shape = (leads, max(samples, scan.shape[1]))
    return [_read(scan, file, root, shape, "") for file in scan.files]


def _look_at_slide(scan: Scan, root: Path) -> InspectedFile:
    try:
        size, _ = overview(scan.files[0])
    except UnreadableImageError as error:
        return _refused(scan.files[0], root, str(error))
    return _read(scan, scan.files[0], root, size, "")


def _look_at_series(scan: Scan, root: Path) -> list[InspectedFile]:
    """Every file of a series; of one with many frames, some of them, evenly spread."""
    if len(scan.files) == scan.n_slices:
        each = enumerate(scan.files)
        return [_look_at_frames(scan, path, root, [number]) for number, path in each]
    step = max(1, scan.n_slices // _MOST_FRAMES)
    numbers = [*range(0, scan.n_slices, step), scan.n_slices - 1]
    return [_look_at_frames(scan, path, root, numbers) for path in scan.files]


def _look_at_frames(scan: Scan, path: Path, root: Path, numbers: list[int]) -> InspectedFile:
    try:
        for number in numbers:
            read_slices(scan, [number], _AS_IT_IS)
    except UnreadableImageError as error:
        return _refused(path, root, str(error).removeprefix(f"{scan.where}: "))
    several = () if len(scan.files) == scan.n_slices else (scan.n_slices,)
    return _read(scan, path, root, (*several, *scan.shape), "")


def _read(scan: Scan, path: Path, root: Path, shape: tuple[int, ...], look: str) -> InspectedFile:
    return InspectedFile(
        path.relative_to(root).as_posix(),
        scan.kind,
        shape=shape,
        spacing=scan.spacing,
        modality=scan.modality,
        photometric=scan.photometric,
        transfer_syntax=scan.transfer_syntax,
        series=scan.series,
        look=look,
    )
