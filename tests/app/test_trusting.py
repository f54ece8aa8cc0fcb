"""Trust on the command line: estimates, sets, novelty, readers, what to label next."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import beta

from medmeta.app.models import load_model
from medmeta.app.support import open_support
from medmeta.app.trusting import PRIOR, about, age_band, by_readers, prior_of, trusted
from medmeta.app.workbench import adapt, load_predictor
from medmeta.data.preprocess import Preprocessing
from medmeta.data.sources import open_source
from medmeta.errors import CheckpointError, DataError
from medmeta.evaluation.metrics import softmax
from tests.app._typed import WEIRD, folder, medmeta, picture, refused


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="backslashreplace") as file:
        return list(csv.DictReader(file))


def test_a_run_keeps_what_it_learned_about_trust(run: Path, copied: Callable[[Path], Path]) -> None:
    """Eight pictures of a class are too few for tasks of fifteen queries: there is no prior."""
    assert prior_of(load_model(run)) is None
    spoilt = copied(run)
    (spoilt / PRIOR).write_text('{"exponent": "steep"}')
    with pytest.raises(CheckpointError, match="trust-prior"):
        prior_of(load_model(spoilt))


def test_the_model_in_the_box_knows_how_far_an_estimate_is_to_be_believed(tmp_path: Path) -> None:
    """Its prior widens intervals by the precision, and corrects for shorter folds."""
    model = load_model(Path("medmeta-base"))
    prior = prior_of(model)
    assert prior is not None
    assert prior.tasks > 0
    assert 0 < prior.precision < 1
    assert 0 < prior.exponent <= 1
    random = np.random.default_rng(3)
    for name, level in (("a", 80), ("b", 110)):
        for number in range(5):
            pixels = np.clip(random.normal(level, 60, (24, 24)), 0, 255).astype(np.uint8)
            (tmp_path / "mine" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "mine" / name / f"{number}.png")
    source = open_support(tmp_path / "mine", model.preprocessing).source
    predictor = trusted(adapt(model, source, seconds=0), source, model)
    trust = predictor.trust
    assert trust is not None
    assert not any("by theory alone" in note for note in trust.notes)
    told, held = trust.estimate.figures["accuracy"], trust.estimate.cross_validated
    assert held is not None
    gain = (1 - 1 / trust.estimate.folds) ** prior.exponent
    right, n = held * 10 * prior.precision, 10 * prior.precision
    limits = [
        0.0 if held == 0 else beta.ppf(0.025, right, n - right + 1),
        1.0 if held == 1 else beta.ppf(0.975, right + 1, n - right),
    ]
    expected = [1 - (1 - share) * gain for share in (held, *limits)]
    assert [told.value, told.low, told.high] == pytest.approx(expected)


def test_adapt_says_how_good_it_is_and_keeps_it(
    run: Path, predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    trust = load_predictor(predictor).trust
    assert trust is not None
    assert trust.estimate.images == 20
    assert set(trust.estimate.figures) == {"accuracy", "balanced_accuracy", "auroc"}
    assert trust.shortcuts is not None
    assert {s.name for s in trust.shortcuts.tried} == {"border", "histogram", "files"}
    told = medmeta("adapt", workplace / "mine", "--model", run, "--out", tmp_path / "p")
    assert told.code == 0, told
    assert "On images held out" in told.out
    assert "sensitivity" in told.out
    assert "no guarantee possible with 5 images per class" in told.out
    assert "JaneDoe" not in json.dumps(load_predictor(tmp_path / "p").card)


def test_no_estimate_is_no_trust(run: Path, workplace: Path, tmp_path: Path) -> None:
    given = ("adapt", workplace / "mine", "--model", run, "--out", tmp_path / "p")
    ended = medmeta(*given, "--no-estimate", "--json")
    assert ended.json()["trust"] is None
    assert load_predictor(tmp_path / "p").trust is None
    out = tmp_path / "o.csv"
    assert medmeta("predict", tmp_path / "p", workplace / "asked", "--out", out).code == 0
    assert "novelty" not in rows_of(out)[0]
    asked = ("predict", tmp_path / "p", workplace / "asked", "--out", out)
    refused(*asked, "--sets", "0.9", says="--no-estimate")


def test_one_image_of_a_class_gives_no_number(run: Path, tmp_path: Path) -> None:
    support = folder(tmp_path / "few", ("a", "b"), 1)
    ended = medmeta("adapt", support, "--model", run, "--out", tmp_path / "p", "--json")
    assert ended.code == 0, ended
    estimate = ended.json()["trust"]["estimate"]
    assert estimate["figures"] == {}
    assert "one image of a class" in estimate["reason"]
    asked = ("predict", tmp_path / "p", support, "--out", tmp_path / "o.csv")
    assert medmeta(*asked).code == 0
    refused(*asked, "--sets", "0.9", says="no set can be vouched for")


def test_identical_images_give_no_number(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(3):
            picture(tmp_path / "same" / name / f"{i}.png", 7)
    ended = medmeta("adapt", tmp_path / "same", "--model", run, "--out", tmp_path / "p", "--json")
    assert ended.code == 0, ended
    assert ended.json()["trust"]["estimate"]["figures"] == {}


def test_probabilities_are_calibrated(predictor: Path) -> None:
    loaded = load_predictor(predictor)
    assert loaded.trust is not None
    held = loaded.trust.calibration
    assert held is not None
    logits = np.array([[4.0, 1.0, 0.0, -2.0]])
    expected = softmax(logits / held.temperature + np.array(held.bias))
    np.testing.assert_allclose(loaded.probabilities(logits), expected)


def test_sets_and_novelty_stand_in_the_table(
    predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.full((40, 40), 9, np.uint8)).save(tmp_path / "blank.png")
    out = tmp_path / "o.csv"
    ended = medmeta("predict", predictor, workplace / "asked", tmp_path / "blank.png", "--sets",
                    "0.9", "--out", out)  # fmt: skip
    assert ended.code == 0, ended
    rows = rows_of(out)
    blank = next(r for r in rows if r["path"].endswith("blank.png"))
    assert float(blank["novelty"]) > 1
    assert "blank" in blank["novel_because"]
    assert all(set(r["set"].split(" | ")) <= {*WEIRD, ""} for r in rows)
    assert "unlike anything in the support" in " ".join(ended.err.split())
    assert "Sets: with 20 images" in " ".join(ended.err.split())
    asked = ("predict", predictor, workplace / "asked", "--out", out)
    refused(*asked, "--sets", "9", says="--sets 9")
    refused(*asked, "--sets-by-class", says="--sets 0.9")
    by_class = medmeta(*asked, "--sets", "0.9", "--sets-by-class", "--json").json()
    assert "no guarantee possible with 5 images per class" in by_class["sets"]


def test_a_damaged_card_is_refused(predictor: Path, copied: Callable[[Path], Path]) -> None:
    spoilt = copied(predictor)
    card = json.loads((spoilt / "card.json").read_text())
    card["trust"]["calibration"]["bias"] = [0.0]
    (spoilt / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError):
        load_predictor(spoilt)


def test_what_to_label_next(predictor: Path, workplace: Path, tmp_path: Path) -> None:
    ended = medmeta("suggest", predictor, workplace / "asked", workplace / "mine", "-n", "4",
                    "--json")  # fmt: skip
    assert ended.code == 0, ended
    found = ended.json()
    assert found["in_support"] == 20
    paths = [one["path"] for one in found["suggested"]]
    assert 1 <= len(paths) <= 4
    assert all("asked" in p for p in paths)
    Image.fromarray(np.full((40, 40), 9, np.uint8)).save(tmp_path / "blank.png")
    asked = medmeta("suggest", predictor, workplace / "asked", tmp_path / "blank.png", "--json")
    assert asked.json()["another_kind"] == 1
    assert "Label these next" in medmeta("suggest", predictor, workplace / "asked").out
    (tmp_path / "empty").mkdir()
    refused("suggest", predictor, tmp_path / "empty", says="no image")
    refused("suggest", predictor, workplace / "mine", says="in the predictor's support already")
    refused("suggest", predictor, workplace / "asked", "-n", "0", says="-n 0")


def manifest(root: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    """A manifest of pictures with a label and two readers."""
    lines = ["path,label,reader_1,reader_2,site,age"]
    for i, (label, one, two, site) in enumerate(rows):
        picture(root / f"{i}.png", i)
        lines.append(f"{i}.png,{label},{one},{two},{site},{30 + i}")
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root / "list.csv"


READ = [
    ("a", "a", "a", "X"), ("a", "b", "b", "X"), ("a", "a", "b", "Y"), ("a", "a", "a", "Y"),
    ("b", "b", "b", "X"), ("b", "b", "", "X"), ("b", "b", "b", "Y"), ("b", "a", "b", "Y"),
]  # fmt: skip


def test_readers_are_compared_and_may_decide(run: Path, tmp_path: Path) -> None:
    table = manifest(tmp_path, READ)
    given = ("adapt", table, "--model", run, "--out")
    trust = medmeta(*given, tmp_path / "p", "--json").json()["trust"]
    # Of the seven images that both read, five agree: 5/7; by chance 4/7·3/7 + 3/7·4/7... by hand:
    one, two = np.array([0, 1, 0, 0, 1, 1, 0]), np.array([0, 1, 1, 0, 1, 1, 1])
    chance = (one == 0).mean() * (two == 0).mean() + (one == 1).mean() * (two == 1).mean()
    kappa = ((one == two).mean() - chance) / (1 - chance)
    assert trust["agreement"]["kappas"]["reader_1, reader_2"] == pytest.approx(kappa)
    assert trust["agreement"]["disputed"] == [1, 2, 7]
    assert {g["column"] for g in trust["decisions"]["subgroups"]} == {"site"}
    ended = medmeta(*given, tmp_path / "q", "--readers", "majority", "--json")
    assert ended.json()["classes"] == {"a": 3, "b": 5}
    soft = medmeta(*given, tmp_path / "s", "--readers", "soft", "--json").json()
    assert soft["classes"] == {"a": 6, "b": 9}  # fifteen readings of eight images
    assert soft["trust"]["estimate"]["groups"] == 8
    refused(*given, tmp_path / "r", "--readers", "hard", says="majority or soft")
    told = medmeta("data", "inspect", table)
    assert "kappa of reader_1, reader_2" in told.out


def test_a_majority_for_a_class_that_is_not_there(tmp_path: Path) -> None:
    table = manifest(tmp_path, [*READ[:-1], ("b", "c", "c", "Y")])
    with pytest.raises(DataError, match="call some images c"):
        by_readers(open_source(table, preprocessing=Preprocessing()), "majority")
    source = open_source(manifest(tmp_path, READ), preprocessing=Preprocessing())
    names = about(source)
    assert names.columns["site"] == [row[3] for row in READ]
    assert names.columns["age"] == ["18 to 39"] * 8
    assert [age_band(t) for t in ("17", "40", "200", None)] == ["below 18", "40 to 59", None, None]


def test_without_readers_there_is_no_majority(run: Path, workplace: Path, tmp_path: Path) -> None:
    given = ("adapt", workplace / "mine", "--model", run, "--out", tmp_path / "p")
    refused(*given, "--readers", "majority", says="reader_1")
    support = open_support(workplace / "mine", load_model(run).preprocessing).source
    assert about(support).readings == {}
