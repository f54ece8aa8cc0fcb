"""What the header of a NIfTI file says, checked before any voxel is read.

Only what places and scales the voxels is looked at: the header's free texts, which may name a
person, and its extensions are never read.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from medmeta.errors import MissingExtraError, UnreadableImageError

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
_HEADER_BYTES = 544  # of NIfTI-2, with the four that say whether extensions follow
_MAGICS = {b"n+1\0": (1, True), b"ni1\0": (1, False), b"n+2\0": (2, True), b"ni2\0": (2, False)}
_MAX_SIDE = 16_384
_MAX_PLANE = 4096 * 4096
_MAX_VOXELS = 500_000_000
MAX_BYTES = 2_000_000_000  # of a volume, or before its end where it has to be unpacked
_MAX_TEXT = 64_000_000  # bytes between header and voxels
_TO_MM = {1: 1000.0, 3: 0.001}  # of metres and micrometres; anything else is taken as mm
_LABELS = 1002  # NIfTI's intent code of a label map
_DAMAGE = (OSError, EOFError, zlib.error, ValueError, ArithmeticError, KeyError, TypeError)


@dataclass(frozen=True)
class NiftiHeader:
    """Where the voxels of a file lie and what they mean.

    ``shape`` is of one volume, in the file's order of axes; ``times`` how many there are.
    ``affine`` ``(4, 4)`` leads to mm, rightwards, forwards and upwards. ``shown`` are the values
    that the file itself wants black and white. ``labels``: the file says it is a label map.
    """

    body: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    times: int
    slope: float
    inter: float
    affine: NDArray[np.float64]
    shown: tuple[float, float] | None
    labels: bool
    placed: bool

    @property
    def whole(self) -> bool:
        """Whether the voxels are whole numbers, also after they are scaled."""
        return self.dtype.kind in "iu" and self.slope == 1 and self.inter % 1 == 0


def is_nifti(path: Path) -> bool:
    """Whether a file is called as NIfTI files are; ``.img`` only beside its ``.hdr``."""
    name = path.name.lower()
    if name.endswith((".img", ".img.gz")):
        return _partner(path, "hdr") is not None
    return name.endswith(NIFTI_SUFFIXES)


def is_body(path: Path) -> bool:
    """Whether a file is the second of a header pair, which its header's file stands for."""
    return path.name.lower().endswith((".img", ".img.gz")) and _partner(path, "hdr") is not None


def nifti_files(path: Path) -> tuple[Path, ...]:
    """The file and, of a pair, the other one too; the header first."""
    name = path.name.lower()
    if name.endswith((".img", ".img.gz")):
        header = _partner(path, "hdr")
        return (path,) if header is None else (header, path)
    body = _partner(path, "img") if name.endswith((".hdr", ".hdr.gz")) else None
    return (path,) if body is None else (path, body)


def read_header(path: Path) -> NiftiHeader:
    """Read and check a header; raises ``UnreadableImageError`` without the file's name."""
    try:
        with opened(path) as file:
            start = file.read(_HEADER_BYTES)
        with np.errstate(all="ignore"):
            return _parsed(path, start)
    except _DAMAGE as error:
        raise UnreadableImageError(why_damaged(error)) from error


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where its name ends in ``.gz``."""
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as packed:
            yield cast("IO[bytes]", packed)
    else:
        with path.open("rb") as file:
            yield file


def why_damaged(error: Exception) -> str:
    """In plain words, without anything of the file."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file; check the name and the folder."
    if isinstance(error, PermissionError):
        return "may not be read; ask for the right to read it."
    if isinstance(error, gzip.BadGzipFile):
        return "is not packed by gzip, though its name ends in .gz, or is damaged; copy it again."
    if isinstance(error, EOFError) or "bytes" in str(error):
        return "is cut short; copy it again from where it came."
    return "is damaged, or no NIfTI file; copy it again from where it came."


def _partner(path: Path, kind: str) -> Path | None:
    """The other file of a header pair; ``kind`` is ``hdr`` or ``img``."""
    name = path.name.removesuffix(".gz").removesuffix(".GZ")
    stem, suffix = os.path.splitext(name)
    kind = kind.upper() if suffix.isupper() else kind
    for end in (kind, f"{kind}.gz"):
        other = path.with_name(f"{stem}.{end}")
        if other.is_file():
            return other
    return None


def library() -> Any:
    """nibabel; raises ``MissingExtraError``."""
    try:
        import nibabel
    except ImportError:
        raise MissingExtraError("nibabel", "nifti", "reading NIfTI files") from None
    return nibabel


def _parsed(path: Path, start: bytes) -> NiftiHeader:
    nibabel = library()
    version, single = _kind(start)
    length = 348 if version == 1 else 540
    kinds = {1: nibabel.Nifti1Header, 2: nibabel.Nifti2Header}
    try:
        header = kinds[version](start[:length], check=False)
        dtype = np.dtype(header.get_data_dtype())
    except nibabel.spatialimages.HeaderDataError as error:
        raise UnreadableImageError(
            "holds voxels of a kind that NIfTI does not know; convert it with the program that "
            "wrote it."
        ) from error
    body, offset = _body(path, header, single=single, length=length)
    shape, times = _shape(header)
    _check_kind(dtype)
    affine, placed = _affine(header)
    slope, inter = _scaling(header)
    found = NiftiHeader(
        body=body,
        offset=offset,
        dtype=dtype,
        shape=shape,
        times=times,
        slope=slope,
        inter=inter,
        affine=affine,
        shown=_shown(header),
        labels=int(header["intent_code"]) == _LABELS,
        placed=placed,
    )
    _check_size(found)
    return found


def _kind(start: bytes) -> tuple[int, bool]:
    """1 or 2, and whether header and voxels are one file."""
    if not start:
        raise UnreadableImageError("is empty (0 bytes); copy it again from where it came.")
    if len(start) < 348:
        raise UnreadableImageError("is cut short; copy it again from where it came.")
    found = _MAGICS.get(start[344:348]) or _MAGICS.get(start[4:8])
    if found is not None and (found[0] == 1 or len(start) >= 540):
        return found
    if int.from_bytes(start[:4], "little") == 348 or int.from_bytes(start[:4], "big") == 348:
        raise UnreadableImageError(
            "is an ANALYZE file, which does not say where left and right are; convert it to NIfTI "
            "with the program that wrote it."
        )
    raise UnreadableImageError("is no NIfTI file, or its header is damaged; copy it again.")


def _body(path: Path, header: Any, *, single: bool, length: int) -> tuple[Path, int]:
    """The file of the voxels, and the byte at which they begin."""
    offset = float(header["vox_offset"])
    if not (0 <= offset < _MAX_TEXT and offset == int(offset)):
        raise UnreadableImageError("says that its voxels begin where they cannot; copy it again.")
    if single:
        return path, max(int(offset), length + 4)
    files = nifti_files(path)
    if len(files) == 1:
        raise UnreadableImageError(
            "is a header without its voxels; put the .img file of the same name beside it."
        )
    return files[1], int(offset)


def _shape(header: Any) -> tuple[tuple[int, int, int], int]:
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]):
        raise UnreadableImageError("says that it has no voxels, or too many axes; copy it again.")
    sides = dim[1 : dim[0] + 1]
    if any(n > 1 for n in sides[4:]):
        raise UnreadableImageError(
            f"has {len(sides)} axes ({' × '.join(map(str, sides))}); read are volumes, and "
            "volumes over time. Save what you need of it as a volume."
        )
    x, y, z, t = (*sides[:4], *(1,) * (4 - len(sides[:4])))
    if x == 1 or y == 1 or len(sides) < 2:
        raise UnreadableImageError(f"has slices of {x} × {y} voxels, which are no pictures.")
    if max(x, y, z) > _MAX_SIDE or x * y > _MAX_PLANE or x * y * z > _MAX_VOXELS:
        raise UnreadableImageError(
            f"says it has {x} × {y} × {z} voxels, more than are read; save it at a lower "
            "resolution, or cut out the part that matters."
        )
    return (x, y, z), t


def _check_kind(dtype: np.dtype[Any]) -> None:
    if dtype.kind == "c":
        raise UnreadableImageError("holds complex numbers; save their magnitude as a volume.")
    if dtype.names not in (None, ("R", "G", "B"), ("R", "G", "B", "A")):
        raise UnreadableImageError("holds several values per voxel; save one of them.")
    if dtype.itemsize == 0 or (dtype.names is None and dtype.kind not in "iuf"):
        raise UnreadableImageError(
            "holds voxels of single bits, or of no kind; save whole numbers of 8 bits."
        )


def _affine(header: Any) -> tuple[NDArray[np.float64], bool]:
    """The affine in mm, and whether the file itself says how it lies."""
    affine = np.array(header.get_best_affine(), dtype=np.float64)
    affine[:3] *= _TO_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    steps = np.linalg.norm(affine[:3, :3], axis=0) if np.isfinite(affine).all() else np.zeros(3)
    if not (steps > 0).all() or abs(np.linalg.det(affine[:3, :3] / steps)) < 1e-4:
        raise UnreadableImageError(
            "has an affine that is singular, so where its voxels lie cannot be known; write it "
            "again with a right qform or sform."
        )
    return affine, int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0


def _scaling(header: Any) -> tuple[float, float]:
    try:
        slope, inter = header.get_slope_inter()
    except library().spatialimages.HeaderDataError:
        slope = inter = math.nan
    slope, inter = 1.0 if slope is None else float(slope), 0.0 if inter is None else float(inter)
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise UnreadableImageError("scales its voxels by what is no number; write it again.")
    return slope, inter


def _shown(header: Any) -> tuple[float, float] | None:
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def _check_size(header: NiftiHeader) -> None:
    """Hold what the header says against the file, and against what is read at all."""
    volume = math.prod(header.shape) * header.dtype.itemsize
    if volume > MAX_BYTES:
        raise UnreadableImageError(
            f"would need {volume / 1e9:.1f} GB, more than the {MAX_BYTES / 1e9:g} GB of a volume "
            "that are read; save it at a lower resolution."
        )
    size, needed = header.body.stat().st_size, header.offset + header.times * volume
    if header.body.name.lower().endswith(".gz"):
        if needed > 1100 * size + 100_000:  # deflate packs at most 1032 bytes into one
            raise UnreadableImageError(
                f"says it has {needed:,} bytes of voxels, more than {size:,} packed bytes can "
                "hold; copy it again."
            )
    elif size < needed:
        raise UnreadableImageError(
            f"is cut short: {size:,} bytes, where its header needs {needed:,}; copy it again."
        )
