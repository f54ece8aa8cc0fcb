"""``medmeta evaluate --shift``: what a planted difference between sites costs, and worse images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medmeta.app.baselines import untrained_model
from medmeta.app.evaluate_run import EvaluationRequest
from medmeta.app.shift_run import shift_model
from medmeta.data.index import Column
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.errors import SamplingError
from tests.app._typed import medmeta, picture, refused

REQUEST = EvaluationRequest(shots=(3,), query=5, episodes=40, baselines=False)


def model():  # type: ignore[no-untyped-def]
    options = {"encoder": {"name": "pixels"}}
    prepared = Preprocessing(size=16, channels=1)
    return untrained_model("ridge", options, prepared, Target("classes", 2))


def mirrored_sites() -> Source:
    """At site a what is ill is bright on the left, at site b on the right; c is like a."""
    random = np.random.default_rng(0)
    pixels, labels, sites = [], [], []
    for site in "abc":
        for label in ("ill", "well"):
            for _ in range(20):
                image = random.integers(0, 60, (1, 16, 16)).astype(np.uint8)
                left = (label == "ill") == (site != "b")
                image[0, :, : 8 if left else None][:, -8 if not left else 0 :] += 120
                pixels.append(image)
                labels.append(label)
                sites.append(site)
    made = Source.from_arrays("made", np.stack(pixels), labels)
    return replace(made, index=replace(made.index, sites=Column.from_texts(sites)))


def test_a_site_that_differs_loses_and_is_told_with_its_interval() -> None:
    rows, notes = shift_model(model(), [mirrored_sites()], REQUEST, "site")
    found = {row.what: row.to_dict() for row in rows}
    assert found["a"]["home"]["mean"] > 0.95
    assert found["b"]["away"]["mean"] < 0.1  # a and c say the opposite
    assert found["b"]["difference"]["high"] < -0.8
    assert any("patients are not all known" in note for note in notes)


def test_worse_images_beside_the_same_as_they_were_taken() -> None:
    rows, _ = shift_model(model(), [mirrored_sites()], REQUEST, "quality")
    assert {row.what for row in rows} == {"noise", "blur", "motion", "compression", "exposure"}
    assert sorted({row.severity for row in rows}) == [1, 2, 3, 4, 5]
    home = {row.to_dict()["home"]["mean"] for row in rows}
    assert len(home) == 1


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(SamplingError, match="nothing is known of device"):
        shift_model(model(), [mirrored_sites()], REQUEST, "device")


def test_the_command(tmp_path: Path) -> None:
    lines = ["path,label,ward"]
    for ward in ("east", "west"):
        for label, centre in (("ill", 200), ("well", 60)):
            for i in range(12):
                name = f"{ward}-{label}-{i}.png"
                picture(tmp_path / name, len(lines), centre=centre)
                lines.append(f"{name},{label},{ward}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    given = ["evaluate", "--learner", "ridge", "--encoder", "pixels", "--source", table, "--shot",
             "1", "--query", "3", "--episodes", "10", "--size", "16"]  # fmt: skip
    out = tmp_path / "shift.json"
    medmeta(*given, "--shift", "ward", "--out", out)
    rows = json.loads(out.read_text())["rows"]
    assert [row["what"] for row in rows] == ["east", "west"]
    assert all(row["home"]["tasks"] == 10 for row in rows)
    refused(*given, "--shift", "scanner", says=("nothing is known of scanner", "ward"))
