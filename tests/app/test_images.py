"""Images that are asked about, and the table of answers."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medmeta.app.asked import find_asked
from medmeta.app.baselines import untrained_model
from medmeta.app.images import answer_images, read_images
from medmeta.app.workbench import adapt, load_predictor
from medmeta.data.preprocess import Preprocessing
from medmeta.data.sources import open_source
from medmeta.episode import Target
from medmeta.errors import DataError, UnreadableImageError
from tests.app._typed import WEIRD, folder, medmeta, picture, refused, state

SIZE = Preprocessing(size=32)


def kinds(root: Path) -> list[Path]:
    """One picture of each kind that hospitals have."""
    root.mkdir(parents=True)
    ramp = np.add.outer(np.arange(40), np.arange(40)).astype(np.float64) / 78
    grey = Image.fromarray((255 * ramp).astype(np.uint8))
    grey.save(root / "grey.png")
    grey.convert("P").save(root / "palette.gif")
    grey.convert("LA").save(root / "alpha.png")
    grey.convert("RGBA").save(root / "colour-alpha.tiff")
    grey.convert("CMYK").save(root / "cmyk.jpg", quality=100)
    grey.convert("1").save(root / "bits.png")
    Image.fromarray((65535 * ramp).astype(np.uint16)).save(root / "deep.png")
    Image.fromarray((4095 * ramp).astype(np.uint16)).save(root / "deep12.tiff")
    return sorted(root.iterdir())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_kind_of_picture_is_answered(predictor: Path, tmp_path: Path) -> None:
    files = kinds(tmp_path / "kinds")
    out = tmp_path / "o.csv"
    assert medmeta("predict", predictor, tmp_path / "kinds", "--out", out).code == 0
    rows = rows_of(out)
    assert [Path(row["path"]) for row in rows] == files
    assert all(row["predicted"] in WEIRD and row["problem"] == "" for row in rows)
    asked = read_images(files, SIZE)
    reference = asked.pixels[[p.name for p in files].index("grey.png")].astype(int)
    for name in ("deep.png", "deep12.tiff", "alpha.png", "colour-alpha.tiff", "cmyk.jpg"):
        found = asked.pixels[[p.name for p in files].index(name)]
        assert np.abs(found - reference).mean() < 3, name


def test_every_kind_of_picture_is_learned_from(run: Path, tmp_path: Path) -> None:
    kinds(tmp_path / "s" / "ramp")
    folder(tmp_path / "s", ("noise",), 3)
    ended = medmeta("adapt", tmp_path / "s", "--model", run, "--out", tmp_path / "p", "--json")
    assert ended.code == 0, ended
    assert ended.json()["classes"] == {"noise": 3, "ramp": 8}


def test_weird_names_come_back_from_the_table(
    predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.csv"
    ended = medmeta("predict", predictor, workplace / "mine", "--out", out, "--json")
    assert ended.code == 0
    told = ended.json()
    rows = rows_of(out)
    assert len(rows) == told["images"] == told["labelled_by_folder"] == 20
    assert sum(Path(row["path"]).parent.name == row["predicted"] for row in rows) == told["right"]
    for row in rows:
        assert Path(row["path"]).is_file()
        probabilities = [float(row[f"probability_{name}"]) for name in WEIRD]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert max(zip(probabilities, WEIRD, strict=True))[1] == row["predicted"]
        assert row["nearest_1"].rpartition(" #")[0] in WEIRD
    # Each image was learned from, so the nearest is itself, and that is said.
    assert {row["similarity_1"] for row in rows} == {"1.0000"}
    assert told["learned_from"] == 20


def test_asking_about_what_was_learned_from_is_warned_of(
    predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    ended = medmeta("predict", predictor, workplace / "mine", "--out", tmp_path / "o.csv")
    assert "warning: the predictor learned from 20 of these images" in ended.err
    others = medmeta("predict", predictor, workplace / "asked", "--out", tmp_path / "o.csv")
    assert others.code == 0
    assert "learned from" not in others.err


def test_an_existing_table_is_written_anew_but_nothing_else(
    predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    images = folder(tmp_path / "images", ("a",), 2)
    given = ["predict", predictor, images, "--out"]
    assert medmeta(*given, images / "predictions.csv").code == 0
    assert medmeta(*given, images / "predictions.csv").code == 0  # and is not taken for an image
    assert len(rows_of(images / "predictions.csv")) == 2
    before = state(tmp_path)
    refused(*given, images / "a" / "JaneDoe-0-0.png", says="it would be lost")
    refused(*given, images, says="is a folder")
    refused(*given, images / "predictions.csv" / "x.csv", says="predictions.csv")
    refused(*given, "/proc/nowhere.csv", says="/proc/nowhere.csv")
    assert state(tmp_path) == before


def test_a_name_of_any_bytes(predictor: Path, tmp_path: Path) -> None:
    folder(tmp_path / "images", ("a",), 1)
    (file,) = (tmp_path / "images" / "a").iterdir()
    try:
        os.rename(file, os.fsencode(tmp_path / "images" / "a") + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    ended = medmeta("predict", predictor, tmp_path / "images", "--out", tmp_path / "o.csv")
    assert ended.code == 0, ended
    assert rows_of(tmp_path / "o.csv")[0]["path"].endswith("\\udcff.png")


@pytest.mark.parametrize("threads", [1, 2])
def test_files_are_answered_as_their_images_are(
    threads: int, predictor: Path, workplace: Path
) -> None:
    loaded = load_predictor(predictor)
    asked = [workplace / "asked", workplace / "mine", workplace / "trained"]
    images = read_images(asked, loaded.preprocessing, loaded.class_names)
    wanted = loaded.predict(images.pixels)
    torch.set_num_threads(threads)
    files, found = answer_images(loaded, asked)
    assert files.paths == images.paths
    assert (files.labels == images.labels).all()
    for name, column in vars(found).items():
        if column is not None:
            np.testing.assert_allclose(column, getattr(wanted, name), rtol=1e-5, atol=1e-6)


def test_images_of_a_transductive_learner_are_answered_together(workplace: Path) -> None:
    options = {"encoder": {"name": "conv4", "norm": "batch", "options": {"width": 4}}}
    model = untrained_model("prototypical", options, SIZE, Target("classes", 4))
    task = adapt(model, open_source(workplace / "mine", preprocessing=SIZE))
    pixels = read_images([workplace / "asked"], SIZE).pixels
    files, found = answer_images(task, [workplace / "asked"])
    np.testing.assert_array_equal(found.outputs, task.predict(pixels).outputs)
    assert len(files.paths) == len(pixels)
    assert np.abs(found.outputs[:1] - task.predict(pixels[:1]).outputs).max() > 1e-6


def test_files_are_found_once_and_in_order(tmp_path: Path) -> None:
    one = picture(tmp_path / "b" / "1.png", 1)
    two = picture(tmp_path / "a" / "2.png", 2)
    for litter in (".DS_Store", "Thumbs.db", "a/.hidden.png", "b/manifest.csv"):
        (tmp_path / litter).touch()
    assert [asked.path for asked in find_asked([tmp_path]).asked] == [two, one]
    assert [asked.path for asked in find_asked([one, tmp_path]).asked] == [one, two]
    with pytest.raises(DataError, match="no such file"):
        find_asked([tmp_path / "gone"])


def test_labels_are_the_folders_names(tmp_path: Path) -> None:
    folder(tmp_path, ("a", "b", "unnamed"), 1)
    assert read_images([tmp_path], SIZE, ("b", "a")).labels.tolist() == [1, 0, -1]


def test_the_first_problems_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    for i in range(13):
        (tmp_path / f"{i:02d}.png").write_bytes(b"")
    with pytest.raises(UnreadableImageError, match="13 of 13") as caught:
        read_images([tmp_path], SIZE, skip_bad=True)
    assert "09.png" in str(caught.value)
    assert "10.png" not in str(caught.value)
    assert "and 3 more" in str(caught.value)
    assert "--skip-bad" not in str(caught.value)  # none would be left
