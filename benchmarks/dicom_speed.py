"""A thousand CT slices of 512×512, decoded and cached, beside plain pydicom and NumPy.

    python benchmarks/dicom_speed.py

Both sides read the same uncompressed files, in turn: plainly (``pixel_array``, rescaled, windowed,
as 8 bits), and as a source of medmeta with an empty cache (listed, ordered, windowed, brought to
64×64, hashed, written). On one core, then medmeta on two. Written to ``docs/dicom_speed.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PLAIN, OURS = "plain", "medmeta"


def write_slices(folder: Path, n: int) -> None:
    """Half of them in each of two classes, as two series."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    random = np.random.default_rng(0)
    for i in range(n):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = (
            ExplicitVRLittleEndian,
            CTImageStorage,
        )
        meta.MediaStorageSOPInstanceUID = generate_uid()
        path = folder / ("a" if i % 2 else "b") / f"{i:04d}.dcm"
        path.parent.mkdir(exist_ok=True)
        header = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
        pixels = random.normal(1000, 250, (512, 512)).astype(np.int16)
        for name, value in {
            "SOPClassUID": CTImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "SeriesInstanceUID": f"1.2.{i}", "StudyInstanceUID": f"1.3.{i}", "PatientID": str(i),
            "Modality": "CT", "Rows": 512, "Columns": 512, "BitsAllocated": 16, "BitsStored": 16,
            "HighBit": 15, "PixelRepresentation": 1, "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2", "RescaleSlope": 1,
            "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400,
            "InstanceNumber": i, "ImagePositionPatient": [0, 0, i],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.7, 0.7],
        }.items():  # fmt: skip
            setattr(header, name, value)
        header.PixelData = pixels.tobytes()
        header.save_as(path, enforce_file_format=True)


def plainly(folder: Path) -> None:
    """As anybody would."""
    import pydicom

    for path in sorted(folder.rglob("*.dcm")):
        header = pydicom.dcmread(path)
        units = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        centre, width = float(header.WindowCenter), float(header.WindowWidth)
        shown = np.clip((units - centre) / width + 0.5, 0, 1) * 255
        shown.astype(np.uint8)


def as_a_source(folder: Path) -> None:
    """Listed, decoded and cached, with an empty cache."""
    from medmeta.data.preprocess import Preprocessing
    from medmeta.data.sources import open_source

    with tempfile.TemporaryDirectory() as cache:
        source = open_source(folder, preprocessing=Preprocessing(channels=1), cache=Path(cache))
        assert len(source) == len(list(folder.rglob("*.dcm")))


def child(side: str, folder: Path, cores: int) -> None:
    """One side once, its libraries loaded; prints seconds."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    do = plainly if side == PLAIN else as_a_source
    with tempfile.TemporaryDirectory() as few:
        write_slices(Path(few), 6)
        do(Path(few))
    start = time.perf_counter()
    do(folder)
    print(time.perf_counter() - start)


def main() -> None:
    """Each side in turn, several times."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "dicom_speed.json")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, folder, cores = arguments.child
        child(side, Path(folder), int(cores))
        return
    asked = ((PLAIN, 1), (OURS, 1), (OURS, 2))
    seconds: dict[tuple[str, int], list[float]] = {one: [] for one in asked}
    with tempfile.TemporaryDirectory() as folder:
        write_slices(Path(folder), arguments.slices)
        for _ in range(arguments.turns):
            for side, cores in asked:
                words = [sys.executable, __file__, "--child", side, folder, str(cores)]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True)
                seconds[side, cores].append(float(done.stdout))
    best = {one: min(found) for one, found in seconds.items()}
    median = {one: statistics.median(found) for one, found in seconds.items()}
    result = {
        "slices": arguments.slices,
        "seconds": {f"{side}, {c} cores": round(best[side, c], 2) for side, c in asked},
        "median_seconds": {f"{side}, {c} cores": round(median[side, c], 2) for side, c in asked},
        "beside_plain": round(best[OURS, 1] / best[PLAIN, 1], 2),
        "two_cores_beside_one": round(best[OURS, 1] / best[OURS, 2], 2),
        "turns": arguments.turns,
        "command": "python benchmarks/dicom_speed.py",
    }
    arguments.results.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
