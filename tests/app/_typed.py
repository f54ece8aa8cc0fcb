"""What the tests of the command line share: calling it, pictures on disk, a folder's state."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medmeta.app.cli import main

WEIRD = ("bénin ü", "<b>bold", "a, comma", "=SUM(A1)")
TRAINED = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
SMALL = ("--set", "encoder.options.width=8", "--size", "32", "--query", "2", "--way", "2-3",
         "--shot", "1-2", "--steps", "10")  # fmt: skip

PRETRAIN = ("--set", "encoder.options.width=8", "--size", "32", "--query", "2", "--way", "2-3",
            "--shot", "1", "--steps", "10", "--batch-size", "8")  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which must be one JSON value and strictly so."""

        def refuse(text: str) -> None:
            raise AssertionError(f"{text} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


def medmeta(*words: object) -> Ended:
    """Run a command in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def refused(*words: object, says: str | tuple[str, ...]) -> str:
    """Run a command that must end in plain words and change nothing; with and without --json."""
    plain = medmeta(*words)
    assert plain.code == 2, plain
    assert "Traceback" not in plain.err
    assert "defect" not in plain.err
    assert plain.err.startswith("error: ") or "\nerror: " in plain.err
    for text in (says,) if isinstance(says, str) else says:
        assert text in plain.err, plain.err
    told = medmeta(*words, "--json")
    assert told.code == 2
    error = told.json()["error"]
    assert error["exit_code"] == 2
    assert error["message"] in told.err.replace("\\", "\\")
    return plain.err


def picture(path: Path, seed: int, *, centre: int | None = None, size: int = 32) -> Path:
    """Write noise, around a level of grey where one is given."""
    random = np.random.default_rng(seed)
    if centre is None:
        pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
    else:
        around = centre + random.integers(-30, 31, (size, size, 3))
        pixels = around.clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def folder(root: Path, classes: tuple[str, ...], n: int, *, seed: int = 0) -> Path:
    """One sub-folder for each class, its pictures of one brightness; files named by a patient."""
    for k, name in enumerate(classes):
        for i in range(n):
            centre = 20 + 215 * k // max(1, len(classes) - 1)
            picture(root / name / f"JaneDoe-{k}-{i}.png", 1000 * seed + 50 * k + i, centre=centre)
    return root


def bomb(path: Path) -> Path:
    """A PNG of 200 bytes that says it has 50,000 × 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checked

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    return path


def state(*roots: Path) -> dict[Path, str]:
    """Every folder and file below, with its content's hash."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for root in roots
        for path in sorted(root.rglob("*"))
    }


def values_manifest(root: Path, n: int = 30) -> Path:
    """Pictures whose brightness is their value, with a manifest."""
    rows = ["path,value"]
    for i in range(n):
        picture(root / f"{i}.png", 7000 + i, centre=20 + 200 * i // n)
        rows.append(f"{i}.png,{i / 10}")
    manifest = root / "values.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest
