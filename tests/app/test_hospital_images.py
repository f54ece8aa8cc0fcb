"""A hospital's DICOM export all the way: learned from, asked about, reported, and nobody named."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.app._hospital import Hospital, Series, leaks
from tests.app._typed import medmeta

LEVELS = {"nodule": -700, "oedema": -500, "normal": -300, "effusion": -100}  # in the lung window
SMALL = ("--set", "encoder.options.width=8", "--size", "16", "--channels", "1", "--query", "2",
         "--way", "2", "--shot", "1", "--steps", "4", "--window", "lung", "--slices",
         "3")  # fmt: skip


@dataclass(frozen=True)
class Export:
    """What the hospital gave, and where medmeta may write."""

    root: Path
    written: Path
    identifiers: set[str]
    asked: list[Series]


def pictures() -> np.ndarray:
    """Real CT and MRI pixels where they lie beside the checkout, else noise of a fixed seed."""
    shared = Path(os.environ.get("MEDMETA_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
    file = shared / "classification" / "mednist.npz"
    if not file.is_file():
        return np.random.default_rng(0).integers(0, 256, (64, 64, 64), dtype=np.uint8)
    with np.load(file, allow_pickle=False) as held:
        images = np.asarray(held["images"])[::7]
    return images if images.ndim == 3 else images[..., 0]


def manifest(path: Path, listed: list[Series], key: str) -> Path:
    lines = [f"{key},label,site"]
    lines += [f"{getattr(s, key)},{s.label},{'north' if i % 2 else 'south'}"
              for i, s in enumerate(listed)]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Export]:
    root = tmp_path_factory.mktemp("hospital")
    hospital = Hospital(pictures())
    trained, mine, asked = [], [], []
    for k, (label, level) in enumerate(LEVELS.items()):
        for n in range(4):
            folder = root / "archive" / f"MRN-{k}{n}" / f"series-{n}"
            patient = 10 * k + n
            trained.append(hospital.series(folder, label, level, patient=patient, named=True))
    for k, label in enumerate(("oedema", "normal")):
        for n in range(2):
            folder, patient = root / "mine" / label / f"s{n}", 50 + 10 * k + n
            mine.append(hospital.series(folder, label, LEVELS[label], patient=patient, named=True))
            folder, patient = root / "asked" / label / f"s{n}", 70 + 10 * k + n
            asked.append(
                hospital.series(folder, label, LEVELS[label], patient=patient, named=False)
            )
    manifest(root / "archive" / "labels.csv", trained, "series")
    written = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDMETA_CACHE", str(written / "cache"))
        patch.setenv("MEDMETA_CONFIG", str(written / "config"))
        yield Export(root, written, hospital.identifiers, asked)


@pytest.fixture(scope="module")
def run(export: Export) -> Path:
    ended = medmeta("train", "--source", export.root / "archive" / "labels.csv", *SMALL, "--out",
                    export.written / "run", "--json")  # fmt: skip
    assert ended.code == 0, ended
    return export.written / "run"


@pytest.fixture(scope="module")
def predictor(export: Export, run: Path) -> Path:
    ended = medmeta("adapt", export.root / "mine", "--model", run, "--out",
                    export.written / "predictor", "--json")  # fmt: skip
    assert ended.code == 0, ended
    assert ended.json()["classes"] == {"normal": 6, "oedema": 6}  # three slices of two volumes
    assert any("slices of 4 volumes" in note for note in ended.json()["notes"])
    assert not any("Patients are not known" in note for note in ended.json()["notes"])
    return export.written / "predictor"


@pytest.fixture(scope="module")
def answers(export: Export, predictor: Path) -> Path:
    out = export.written / "answers.csv"
    ended = medmeta("predict", predictor, export.root / "asked", "--out", out)
    assert ended.code == 0, ended
    assert "4 of these are volumes" in " ".join(ended.err.split())
    return out


@pytest.fixture(scope="module")
def report(export: Export, predictor: Path, run: Path) -> Path:
    out = export.written / "report.html"
    words = ("report", predictor, "--query", export.root / "asked", "--run", run)
    ended = medmeta(*words, "--out", out)
    assert ended.code == 0, ended
    return out


def test_the_run_knows_patients_by_pseudonym_and_keeps_how_slices_are_read(run: Path) -> None:
    (card,) = run.glob("model-*/card.json")
    told = json.loads(card.read_text())
    assert told["preprocessing"] | {"window": "lung", "slices": 3} == told["preprocessing"]
    (source,) = {s["name"] for s in (*told["sources"], *told["validated_on"])}
    assert source == "archive"
    assert all(s["patients"] for s in told["sources"])
    assert told["sources"][0]["modalities"] == ["CT"]


def test_a_volume_is_answered_in_one_line_by_the_mean_of_its_slices(
    export: Export, predictor: Path, answers: Path, tmp_path: Path
) -> None:
    with answers.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {str(s.folder) for s in export.asked}
    assert {row["slices"] for row in rows} == {"3"}
    words = ("predict", predictor, export.asked[0].folder, "--out", tmp_path / "o.csv")
    single = medmeta(*words, "--json")
    assert single.json()["volumes"] == 1


def test_the_report_says_how_volumes_were_pooled(report: Path) -> None:
    page = " ".join(report.read_text().split())
    assert "4 of the asked images are volumes" in page
    assert "window lung" in page


def test_no_identifier_is_in_anything_that_was_written(
    export: Export, run: Path, predictor: Path, answers: Path, report: Path
) -> None:
    """With a file left out, evaluation and all: the folders of names are the hospital's alone."""
    series = next((export.root / "archive").rglob("*.dcm")).parent
    whole = {file: file.read_bytes() for file in series.iterdir()}
    try:
        for file, data in whole.items():
            file.write_bytes(data[: len(data) // 2])
        source = export.root / "archive" / "labels.csv"
        again = medmeta("train", "--source", source, *SMALL, "--skip-bad", "--out",
                        export.written / "again", "--json")  # fmt: skip
        assert again.code == 0, again
        measured = medmeta("evaluate", run, "--source", export.root / "mine", "--shot", "1",
                           "--way", "2", "--query", "1", "--episodes", "4", "--json")  # fmt: skip
        assert measured.code in (0, 2), measured
    finally:
        for file, data in whole.items():
            file.write_bytes(data)
    told = json.loads((export.written / "again" / "left_out.json").read_text())
    assert told["left_out"]
    assert all(entry["source"] == "archive" and entry["why"] for entry in told["left_out"])
    read = [path for path in export.written.rglob("*") if path.is_file()]
    assert {"predictor", "run", "again", "cache", "config", "answers.csv", "report.html"} <= {
        path.relative_to(export.written).parts[0] for path in read
    }
    assert len(export.identifiers) > 200
    assert leaks(export.written, export.identifiers) == []
    assert leaks(export.root, export.identifiers)  # the search finds what is there
