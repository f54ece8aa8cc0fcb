"""Files to begin fuzzing with, and ways to damage them."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
from numpy.random import Generator
from PIL import Image

MOST_BYTES = 2_000_000
SEED_FOLDERS = ("dicom", "nifti")
Damage = Callable[[bytes, Generator], bytes]


def seeds(folder: Path, shared: Path | None) -> list[Path]:
    """Files made here, and real ones where they are at hand; none larger than 2 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [_written(folder / name, content) for name, content in _made()]
    real = []
    if shared is not None and shared.is_dir():
        found = (p for name in SEED_FOLDERS for p in sorted((shared / name).rglob("*")))
        real = [p for p in found if p.is_file() and p.stat().st_size <= MOST_BYTES]
    return made + real


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _made() -> Iterator[tuple[str, bytes]]:
    random = np.random.default_rng(0)
    grey = random.integers(0, 255, (40, 50)).astype(np.uint8)
    for name in ("PNG", "TIFF", "JPEG", "BMP", "GIF", "JPEG2000", "WEBP"):
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, name)
        yield f"grey.{name.lower().replace('jpeg2000', 'jp2')}", stream.getvalue()
    deep = io.BytesIO()
    Image.fromarray(grey.astype(np.uint16) * 200).save(deep, "TIFF", compression="tiff_lzw")
    yield "deep.tiff", deep.getvalue()
    volume = nibabel.Nifti1Image(random.integers(0, 999, (9, 8, 7)).astype(np.int16), np.eye(4))
    yield "volume.nii", volume.to_bytes()
    yield "volume.nii.gz", gzip.compress(volume.to_bytes())
    archive = io.BytesIO()
    np.savez_compressed(archive, images=grey[None].repeat(4, 0), labels=np.arange(4) % 2)
    yield "set.npz", archive.getvalue()
    yield "plain.dcm", dicom_bytes(grey)
    yield "deflated-bomb.dcm", dicom_bytes(grey, bomb=True)
    yield "deep.dcm", dicom_bytes(grey, depth=3000)
    yield "index.dcm", dicom_bytes(grey, circular=True)
    yield "tree.zip", _zip({"a/plain.dcm": dicom_bytes(grey), "b/volume.nii": volume.to_bytes()})
    yield "nested.zip", _zip({f"{i}.zip": _zip({"bomb": bytes(MOST_BYTES)}) for i in range(4)})
    yield "climbing.zip", _zip({"../../outside": b"here"})
    yield "bomb.nii.gz", gzip.compress(volume.to_bytes()[:352] + bytes(60_000_000), 1)


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def dicom_bytes(
    pixels: np.ndarray, *, bomb: bool = False, depth: int = 0, circular: bool = False
) -> bytes:
    """A DICOM file written byte by byte: what no library would write."""
    rows, columns = pixels.shape
    kind = b"1.2.840.10008.1.3.10\0" if circular else b"1.2.840.10008.5.1.4.1.1.7\0"
    syntax = b"1.2.840.10008.1.2.1.99" if bomb else b"1.2.840.10008.1.2.1\0"
    body = _element(8, 0x16, b"UI", kind)
    body += b"".join(
        _element(0x28, tag, b"US", struct.pack("<H", value))
        for tag, value in ((2, 1), (0x10, rows), (0x11, columns), (0x100, 8), (0x101, 8))
    )
    if depth:
        nested = b""
        for _ in range(depth):
            item = struct.pack("<HHI", 0xFFFE, 0xE000, len(nested)) + nested
            nested = struct.pack("<HH2sHI", 0x5200, 0x9229, b"SQ", 0, len(item)) + item
        body += nested
    if circular:
        record = _element(4, 0x1400, b"UL", struct.pack("<I", 132))  # next record: the first one
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(record)) + record
        body += struct.pack("<HH2sHI", 4, 0x1220, b"SQ", 0, len(item)) + item
    body += struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, pixels.nbytes) + pixels.tobytes()
    if bomb:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = [packer.compress(body), *(packer.compress(bytes(10_000_000)) for _ in range(100))]
        body = b"".join(packed) + packer.flush()
    meta = _element(2, 0x10, b"UI", syntax)
    return bytes(128) + b"DICM" + _element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + body


def _element(group: int, tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, tag, vr, len(value)) + value


def _flipped(content: bytes, random: Generator) -> bytes:
    damaged = bytearray(content)
    near = random.random() < 0.5  # headers lie at the beginning
    for _ in range(int(random.integers(1, 20))):
        place = int(random.integers(min(len(damaged), 4096) if near else len(damaged)))
        damaged[place] ^= 1 << int(random.integers(8))
    return bytes(damaged)


def _cut(content: bytes, random: Generator) -> bytes:
    return content[: int(random.integers(len(content)))]


def _giant(content: bytes, random: Generator) -> bytes:
    """Sizes that are declared far too large."""
    damaged = bytearray(content)
    giants = (b"\xff\xff\xff\x7f", b"\xfe\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80")
    for _ in range(int(random.integers(1, 4))):
        place = int(random.integers(max(1, min(len(damaged), 4096) - 4)))
        damaged[place : place + 4] = giants[int(random.integers(len(giants)))]
    return bytes(damaged)


def _moved(content: bytes, random: Generator) -> bytes:
    """A part left out, or put in once more somewhere else."""
    start, end = sorted(int(x) for x in random.integers(len(content), size=2))
    if random.random() < 0.5:
        return content[:start] + content[end:]
    place = int(random.integers(len(content)))
    return content[:place] + content[start:end][:100_000] + content[place:]


def _blanked(content: bytes, random: Generator) -> bytes:
    start, end = sorted(int(x) for x in random.integers(len(content), size=2))
    fill = (b"\0", b"\xff", b" ")[int(random.integers(3))]
    return content[:start] + fill * (end - start) + content[end:]


DAMAGES: tuple[Damage, ...] = (_flipped, _cut, _giant, _moved, _blanked)


def damaged(content: bytes, random: Generator) -> bytes:
    """One to three kinds of damage; one time in fifty none."""
    if random.random() < 0.02 or not content:
        return content
    for _ in range(int(random.integers(1, 4))):
        if content:
            content = DAMAGES[int(random.integers(len(DAMAGES)))](content, random)
    return content
