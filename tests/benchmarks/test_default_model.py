from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from default_model import protocol
from default_model_bound import _folds, accuracy_from_all_images
from default_model_table import BEGIN, END, table, write_rows
from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.learners import build_head


def row(method: str, source: str, shot: int, accuracy: float) -> dict[str, object]:
    return {
        "method": method, "source": source, "shot": shot, "accuracy": accuracy,
        "low": accuracy - 1, "high": accuracy + 1,
    }  # fmt: skip


def test_methods_stand_by_their_means_and_what_is_incomplete_has_none() -> None:
    rows = [row("a", "x", 5, 50.0), row("a", "y", 5, 60.0), row("b", "x", 5, 70.0)]
    lines = table([*rows, row("b", "y", 5, 71.0), row("c", "x", 5, 10.0)]).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == ["b", "a", "c"]
    assert "**55.00**" in lines[3]
    assert "70.0 ± 1.0" in lines[2]
    assert "**" not in lines[4]


def test_a_row_replaces_its_like_and_the_page_gets_the_table(tmp_path: Path) -> None:
    page, results = tmp_path / "page.md", tmp_path / "rows.json"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n", "utf-8")
    write_rows(results, page, [row("a", "x", 1, 50.0), row("a", "x", 5, 60.0)])
    write_rows(results, page, [row("a", "x", 1, 55.0)])
    assert [r["accuracy"] for r in json.loads(results.read_text())] == [55.0, 60.0]
    assert "55.0 ± 1.0" in page.read_text("utf-8")
    assert page.read_text("utf-8").startswith("before\n")


def test_folds_part_no_group() -> None:
    groups = np.repeat(np.arange(30), 3)
    folds = _folds(groups)
    assert set(folds) == set(range(5))
    assert all(len(set(folds[groups == g])) == 1 for g in range(30))


def test_the_bound_is_one_where_classes_lie_apart_and_chance_where_they_do_not() -> None:
    chance = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 40)
    pixels = chance.integers(0, 256, (120, 1, 8, 8), dtype=np.uint8)
    source = Source.from_arrays("s", pixels, [f"c{c}" for c in codes])
    apart = torch.from_numpy(np.eye(3)[codes] * 9 + chance.normal(size=(120, 3))).float()
    head = build_head("ridge", None, InputSpec(3, ()), Target("classes", 2))
    mean, half = accuracy_from_all_images(head, apart, source, [0, 2])
    assert mean == pytest.approx(100)
    assert half == pytest.approx(0)
    blind = torch.from_numpy(chance.normal(size=(120, 3))).float()
    mean, half = accuracy_from_all_images(head, blind, source, [0, 2])
    assert abs(mean - 50) < max(15, half)


def test_all_shots_have_the_same_classes() -> None:
    labels = ["a"] * 30 + ["b"] * 30 + ["few"] * 12
    source = Source.from_arrays("s", np.zeros((72, 1, 4, 4), dtype=np.uint8), labels)
    ways = {protocol(source, shot, 5).n_way for shot in (1, 5, 10)}
    assert ways == {(2, 2)}
