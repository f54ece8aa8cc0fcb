"""Without a run: signals, volumes, records, several modalities and values are learned too."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.app.fallback import model_for
from medmeta.app.models import LoadedModel, load_model
from medmeta.encoders import Parts
from tests.app._typed import medmeta

nibabel = pytest.importorskip("nibabel")


@pytest.fixture(scope="module")
def box() -> LoadedModel:
    return load_model(Path("medmeta-base"))


def signals(place: Path) -> Path:
    """Slow and fast waves of two leads, in tables at 100 samples a second."""
    chance, time = np.random.default_rng(0), np.arange(300) / 100
    for name, speed in (("slow", 1.2), ("fast", 3.0)):
        folder = place / "signals" / name
        folder.mkdir(parents=True)
        for number in range(4):
            wave = np.sin(2 * np.pi * (speed * time + chance.random()))
            rows = [f"{v:.4f},{-v + 0.1 * chance.normal():.4f}" for v in wave]
            (folder / f"{number}.csv").write_text("\n".join(["# rate: 100", "I,II", *rows]))
    return place / "signals"


def volumes(place: Path) -> Path:
    """Noise with a bright block or without, of voxels of different sizes."""
    chance = np.random.default_rng(0)
    for name, level in (("none", 0), ("block", 90)):
        folder = place / "volumes" / name
        folder.mkdir(parents=True)
        for number in range(4):
            voxels = chance.normal(100, 10, (20, 20, 8 + number))
            voxels[6:14, 6:14, 2:6] += level
            grid = np.diag([1 + number, 1, 2, 1])
            image = nibabel.Nifti1Image(voxels.astype(np.float32), grid)
            nibabel.save(image, folder / f"{number}.nii.gz")
    return place / "volumes"


def table(place: Path, name: str, rows: list[list[str]]) -> Path:
    with (place / name).open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return place / name


def records(place: Path) -> Path:
    chance = np.random.default_rng(0)
    rows = [["patient", "label", "age", "crp"]]
    for number in range(12):
        sick = number % 2
        crp = f"{chance.normal(5 + 12 * sick, 1):.1f}"
        rows.append([f"p{number}", "sick" if sick else "well", str(40 + number), crp])
    return table(place, "records.csv", rows)


def picture(place: Path, name: str, level: float, chance: np.random.Generator) -> str:
    pixels = np.clip(chance.normal(level, 15, (40, 40)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(place / name)
    return name


def modalities(place: Path) -> Path:
    chance, rows = np.random.default_rng(0), [["patient", "label", "t1", "t2", "age"]]
    for number in range(10):
        sick = number % 2
        first = picture(place, f"t1_{number}.png", 90, chance) if number else ""
        second = picture(place, f"t2_{number}.png", 70 + 90 * sick, chance)
        rows.append([f"p{number}", "sick" if sick else "well", first, second, "50"])
    return table(place, "modalities.csv", rows)


def values(place: Path) -> Path:
    chance, rows = np.random.default_rng(0), [["path", "value"]]
    for number in range(10):
        level = 60 + 12 * number
        rows.append([picture(place, f"v{number}.png", level, chance), str(level)])
    return table(place, "values.csv", rows)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (signals, "300 samples at 100 a second of I, II"),
        (volumes, "12 slices over all of each"),
        (records, "Records alone, without pictures: age, crp"),
        (modalities, "Several modalities (t1, t2)"),
        (values, "Values are learned"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_every_kind_is_learned_said_and_answered_again_after_loading(
    made: Callable[[Path], Path], says: str, tmp_path: Path
) -> None:
    support = made(tmp_path)
    words = ("adapt", support, "--budget", "2s", "--no-estimate", "--json", "--out", tmp_path / "p")
    ended = medmeta(*words)
    assert ended.code == 0, ended
    told = json.loads(ended.out)
    assert says in told["notes"][0]
    assert told["choice"]["tried"] > 10
    asked = support if support.is_file() else support / sorted(p.name for p in support.iterdir())[0]
    if made is values:
        asked = tmp_path / "v9.png"
    answered = medmeta("predict", tmp_path / "p", asked, "--out", tmp_path / "answers.csv")
    assert answered.code == 0, answered
    with (tmp_path / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    if made is values:
        assert float(rows[0]["predicted"]) == pytest.approx(168, abs=25)
    elif support.is_dir():
        assert {row["predicted"] for row in rows} == {asked.name}
    else:
        wanted = ["well", "sick"] * (len(rows) // 2)
        right = [row["predicted"] == label for row, label in zip(rows, wanted, strict=True)]
        assert np.mean(right) >= 0.9


def test_the_box_itself_answers_pictures_of_classes(box: LoadedModel, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        picture(tmp_path / "pictures" / name, "0.png", 90, np.random.default_rng(0))
    found, said = model_for(tmp_path / "pictures", box, {})
    assert found is box
    assert said is None


@pytest.mark.parametrize("skip", [(), ("--skip-bad",)], ids=["all", "skip bad"])
def test_a_folder_is_listed_once(
    skip: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the headers of some thousand slices are read for it."""
    from medmeta.data import listing

    listed, read_folder = [], listing.read_folder
    monkeypatch.setattr(listing, "read_folder", lambda f: (listed.append(f), read_folder(f))[1])
    support = volumes(tmp_path)
    bad = support / next(support.iterdir()).name / "bad.nii.gz"
    if skip:
        bad.write_bytes(b"no volume")
    given = ("--budget", "0", "--no-estimate", *skip)
    ended = medmeta("adapt", support, "--out", tmp_path / "p", *given)
    assert ended.code == 0, ended.err
    assert listed == [support]


def test_what_cannot_be_read_is_left_to_whoever_reads_it(box: LoadedModel, tmp_path: Path) -> None:
    assert model_for(tmp_path / "nothing", box, {})[1] is None
    broken = table(tmp_path, "broken.csv", [["label"], ["a"]])
    assert model_for(broken, box, {})[1] is None
    ended = medmeta("adapt", broken, "--out", tmp_path / "p")
    assert ended.code == 2
    assert "no column path" in ended.err


def test_slices_that_are_asked_for_are_taken_one_by_one(box: LoadedModel, tmp_path: Path) -> None:
    support = volumes(tmp_path)
    assert model_for(support, box, {"slices": 3})[0] is box
    whole, _ = model_for(support, box, {"slices": None})
    assert whole.preprocessing.depth == 12


def test_a_volume_of_one_slice_again_and_again_is_what_the_box_makes_of_it(
    box: LoadedModel, tmp_path: Path
) -> None:
    """So the weights, the flips and the hand-made features are the box's own."""
    import torch

    whole, _ = model_for(volumes(tmp_path), box, {})
    mine = next(m for m in whole.learner.modules() if isinstance(m, Parts))
    theirs = next(m for m in box.learner.modules() if isinstance(m, Parts))
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    with torch.no_grad():
        found = mine(pictures[:, :, None].expand(-1, -1, 12, -1, -1))
        torch.testing.assert_close(found, theirs(pictures), rtol=1e-4, atol=1e-4)
