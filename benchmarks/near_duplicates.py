"""What the search for nearly identical pictures finds, misses and calls a copy wrongly.

    python benchmarks/near_duplicates.py

Found: pictures of real sources, distorted, whose likeness to the original is at or above the limit
(500 of each source). Wrongly: pairs of pictures of different patients, where patients are known.
Results go to docs/near_duplicates.json, the tables to docs/patients-and-sites.md.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmeta.data.duplicates import nearly_in_both
from medmeta.data.near_duplicates import ALIKE, frequencies, near_pairs, thumbnail
from medmeta.data.preprocess import content_hash
from medmeta.storage import write_json
from page_tables import replace_between

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "near_duplicates.json"
PAGE = ROOT / "docs" / "patients-and-sites.md"
BEGIN, END = "<!-- near duplicates table: begin -->", "<!-- near duplicates table: end -->"
SOURCES = ("pneumonia_cxr", "oct_dme", "brain_tumor_mri", "busi_breast_us", "mednist", "pbc_blood")
N = 500
SEED = 0
Picture = NDArray[np.uint8]


def main() -> None:
    """Measure, write the JSON, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    folder = asked.data / "classification"
    rows = [measured(folder / f"{name}.npz") for name in SOURCES]
    shared = both(folder / "pneumonia_cxr.npz", folder / "pneumoniamnist.npz")
    write_json(asked.results, {"alike": ALIKE, "sources": rows, "shared": shared, "seed": SEED})
    replace_between(asked.page, BEGIN, END, table(rows))
    print(f"in pneumonia_cxr and pneumoniamnist: {shared}")


def measured(path: Path) -> dict[str, Any]:
    """Recall of each distortion, and the pairs that are found in a source as it is."""
    with np.load(path, allow_pickle=False) as held:
        images = held["images"]
        patients = held.get("patient_ids")
    chosen = np.random.default_rng(SEED).choice(len(images), N, replace=False)
    own = frequencies(np.stack([thumbnail(images[i]) for i in chosen]))
    found = {}
    for name, distort in DISTORTIONS.items():
        worse = frequencies(np.stack([thumbnail(distort(images[i])) for i in chosen]))
        found[name] = float(((own * worse).sum(1) >= ALIKE).mean())
    hashes = np.array([content_hash(image) for image in images], dtype=np.uint64)
    a, b = near_pairs(np.stack([thumbnail(image) for image in images]), hashes).rows.T
    different = None if patients is None else int((patients[a] != patients[b]).sum())
    print(path.stem, found, len(a), different)
    return {
        "source": path.stem, "images": len(images), "found": found, "pairs": len(a),
        "identical": len(images) - len(np.unique(hashes)), "of_different_patients": different,
    }  # fmt: skip


def both(first: Path, second: Path) -> int:
    """How many pictures of the second source are in the first."""
    looks = []
    for path in (first, second):
        with np.load(path, allow_pickle=False) as held:
            arrays = [held[name] for name in held.files if name.endswith("images")]
        images = np.concatenate(arrays)
        hashes = np.array([content_hash(image) for image in images], dtype=np.uint64)
        looks.append((np.stack([thumbnail(image) for image in images]), hashes))
    return nearly_in_both(looks[0], looks[1])


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    names = list(DISTORTIONS)
    lines = [
        f"| source | {' | '.join(names)} | pairs in it | of different patients |",
        "|" + "---|" * (len(names) + 3),
    ]
    for row in rows:
        shares = " | ".join(f"{100 * row['found'][name]:.0f}" for name in names)
        other = row["of_different_patients"]
        told = "not known" if other is None else other
        lines.append(
            f"| {row['source']} ({row['images']:,}) | {shares} | {row['pairs']} | {told} |"
        )
    return "\n".join(lines)


def _jpeg(quality: int) -> Callable[[Picture], Picture]:
    def save(image: Picture) -> Picture:
        held = io.BytesIO()
        Image.fromarray(image).save(held, "JPEG", quality=quality)
        return np.asarray(Image.open(held))

    return save


def _half(image: Picture) -> Picture:
    size = image.shape[1] // 2, image.shape[0] // 2
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _levels(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable[..., Picture]:
    return lambda image: (255 * change(image / 255)).clip(0, 255).astype(np.uint8)


def _cropped(image: Picture) -> Picture:
    inside = Image.fromarray(image[2:-2, 2:-2])
    return np.asarray(inside.resize(image.shape[1::-1], Image.Resampling.BILINEAR))


def _turned(image: Picture) -> Picture:
    return np.asarray(Image.fromarray(image).rotate(2, Image.Resampling.BILINEAR))


DISTORTIONS: dict[str, Callable[[Picture], Picture]] = {
    "half the size": _half,
    "JPEG 50": _jpeg(50),
    "JPEG 20": _jpeg(20),
    "contrast × 0.8": _levels(lambda x: 0.8 * x + 0.05),
    "gamma 0.8": _levels(lambda x: x**0.8),
    "× 1.2, clipped": _levels(lambda x: 1.2 * x + 0.04),
    "cropped by 3 %": _cropped,
    "turned by 2°": _turned,
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
}

if __name__ == "__main__":
    main()
