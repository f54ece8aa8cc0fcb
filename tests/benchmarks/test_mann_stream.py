"""Streams are balanced, repeatable and moved as said; a stopped run goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mann_stream
from mann_stream import Streams, load_characters, moved
from mann_stream_table import BEGIN, END


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Ninety characters with twenty drawings each; the last ten are the test's."""
    images = np.random.default_rng(0).integers(0, 256, (90 * 20, 28, 28), dtype=np.uint8)
    path = tmp_path / "characters.npz"
    order = np.random.default_rng(1).permutation(90 * 20)
    np.savez(
        path,
        images=images[order],
        labels=np.arange(90).repeat(20)[order],
        class_is_evaluation=np.arange(90) >= 80,
    )
    return path


def test_a_quarter_turn_is_exact_and_the_mean_of_areas_keeps_the_ink() -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 1, 28, 28), np.uint8))
    plain = moved(image, np.zeros(1), np.zeros((1, 2)))
    assert float(plain.mean()) == pytest.approx(float(image.float().mean() / 255), abs=0.02)
    turned = moved(image, np.full(1, np.pi / 2), np.zeros((1, 2)))
    assert any(torch.allclose(turned, torch.rot90(plain, k, (2, 3)), atol=1e-4) for k in (1, 3))


def test_a_shift_of_a_tenth_is_of_two_pixels() -> None:
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    image[..., 10:18, 10:18] = 255

    def middle(shift: list[float]) -> list[float]:
        seen = moved(image, np.zeros(1), np.array([shift]))[0, 0]
        places = torch.arange(20.0)
        return [float((seen.sum(axis) * places).sum() / seen.sum()) for axis in (0, 1)]

    assert middle([0.0, 0.0]) == pytest.approx([9.5, 9.5], abs=1e-4)
    assert middle([0.0, 0.1]) == pytest.approx([9.5, 7.5], abs=0.1)
    assert middle([-0.1, 0.0]) == pytest.approx([11.5, 9.5], abs=0.1)


def test_streams_are_repeatable_and_of_five_classes_with_ten_drawings(archive: Path) -> None:
    characters, held_out, test = load_characters(archive)
    assert [len(part) for part in (characters, held_out, test)] == [16, 64, 10]
    streams = Streams(characters, 3)
    (episode,) = streams.batches(7, 8)
    again = streams.batch(7)
    assert isinstance(episode.support.inputs, torch.Tensor)
    assert isinstance(again.support.inputs, torch.Tensor)
    assert torch.equal(episode.support.inputs, again.support.inputs)
    assert episode.support.inputs.shape == (16, 50, 400)
    counts = torch.stack([row.bincount() for row in episode.support.labels])
    assert counts.tolist() == [[10] * 5] * 16
    assert not torch.equal(episode.support.inputs, Streams(characters, 4).batch(7).support.inputs)


def test_characters_are_put_together_by_their_labels(archive: Path) -> None:
    _, _, test = load_characters(archive)
    plain = np.random.default_rng(0).integers(0, 256, (90, 20, 28, 28), dtype=np.uint8)
    found = {drawing.tobytes() for drawing in test[3]}
    assert found == {drawing.tobytes() for drawing in 255 - plain[83]}


def test_a_stopped_run_goes_on_and_writes_what_it_has(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mann_stream, "STREAMS", 2)
    monkeypatch.setattr(mann_stream, "TEST_STREAMS", 4)
    monkeypatch.setattr(mann_stream, "CURVE_STREAMS", 2)
    page = tmp_path / "results.md"
    page.write_text(f"before {BEGIN}{END} after")
    options = ["--data", str(archive), "--run", str(tmp_path / "run"), "--page", str(page)]
    options += ["--results", str(tmp_path / "r.json"), "--curve-every", "1", "--test-every", "2"]
    for steps in (2, 3):
        monkeypatch.setattr(sys, "argv", ["mann_stream.py", *options, "--steps", str(steps)])
        mann_stream.main()
        (result,) = json.loads((tmp_path / "r.json").read_text())
        assert result["steps"] == steps
        assert [point[0] for point in result["held_out_curve"]] == list(range(1, steps + 1))
    assert len(result["accuracy_by_instance"]) == 10
    known = result["known_alphabets"]
    assert (result["characters"], known["characters"]) == (10, 64)
    assert len(known["accuracy_by_instance"]) == 10
    plain = [*options, "--run", str(tmp_path / "plain"), "--without-strengths", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["mann_stream.py", *plain])
    mann_stream.main()
    rows = json.loads((tmp_path / "r.json").read_text())
    assert [(row["key_strengths"], row["steps"]) for row in rows] == [(True, 3), (False, 2)]
    lines = page.read_text().splitlines()
    assert sum("alphabets known" in line for line in lines) == 2
    assert "| paper | 100,000 | – | 36.4 | 82.8 |" in page.read_text()
    assert page.read_text().endswith(" after")
