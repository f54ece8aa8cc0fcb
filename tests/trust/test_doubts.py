"""Novelty, suspect labels, shortcuts, readers: planted, and found."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.covariance import ledoit_wolf_shrinkage as by_scikit_learn
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from medmeta.trust.agreement import agreement, fleiss_kappa, reader_columns
from medmeta.trust.folds import draw_folds
from medmeta.trust.looks import border, histograms, opponents
from medmeta.trust.novelty import (
    BLANK,
    IN_COLOUR,
    INVERTED,
    Detector,
    Seen,
    Shrunk,
    held_out_scores,
    judge,
    ledoit_wolf_shrinkage,
    novelty_rule,
)
from medmeta.trust.shortcuts import ridge_answers, shortcuts
from medmeta.trust.suspects import suspects

LABELS = np.repeat([0, 1], 10)


def pictures(random: np.random.Generator, n: int) -> np.ndarray:
    """Dark grey pictures with a bright blot, ``(n, 3, 32, 32)``."""
    y, x = np.mgrid[:32, :32]
    found = []
    for _ in range(n):
        cx, cy = random.uniform(12, 20, 2)
        blot = 150 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 40)
        found.append(np.repeat((30 + blot + random.normal(0, 6, (32, 32)))[None], 3, 0))
    return np.clip(np.array(found), 0, 255).astype(np.float32)


def seen(pixels: np.ndarray, far: float = 0.0, seed: int = 0) -> Seen:
    random = np.random.default_rng(seed)
    points = random.normal(far, 1, (len(pixels), 8))
    return Seen(points, points[:, :2], pixels)


def test_the_distance_is_that_of_a_shrunk_covariance() -> None:
    random = np.random.default_rng(1)
    points = random.normal(0, 1, (20, 6)) @ random.normal(0, 1, (6, 6))
    one = np.zeros(20, np.int64)
    found = Shrunk(points, one).distances(points)
    theirs = LedoitWolf().fit(points).mahalanobis(points)
    assert np.corrcoef(found, theirs)[0, 1] == pytest.approx(1.0, abs=1e-9)


def test_the_shrinkage_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(6)
    for n, d in ((3, 1), (4, 300), (30, 7), (30, 1200)):
        points = random.normal(0, random.uniform(0.5, 2, d), (n, d))
        points -= points.mean(0)
        wanted = by_scikit_learn(points, assume_centered=True)
        assert ledoit_wolf_shrinkage(points) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_limits_hold_for_ordinary_images_and_strange_ones_pass_them() -> None:
    random = np.random.default_rng(2)
    folds = draw_folds(LABELS, np.arange(20), n_folds=5, repeats=1)[0]
    support = seen(pictures(random, 20))
    rule = novelty_rule(held_out_scores(support, LABELS, folds))
    assert rule is not None
    assert rule.alarm_rate == pytest.approx(0.05)
    detector = Detector(support, LABELS)
    usual = judge(rule, detector, seen(pictures(random, 100), seed=5))
    assert usual.flagged.mean() < 0.25
    strange = {
        INVERTED: 255 - pictures(random, 10),
        BLANK: np.full((10, 3, 32, 32), 77, np.float32),
        IN_COLOUR: pictures(random, 10) * np.array([1, 0.3, 0.1], np.float32)[:, None, None],
    }
    for reason, pixels in strange.items():
        found = judge(rule, detector, seen(pixels, seed=6))
        assert found.flagged.all(), reason
        assert set(found.reasons) == {reason}
        scores = np.concatenate([usual.score, found.score])
        assert roc_auc_score(np.repeat([0, 1], [100, 10]), scores) > 0.95
    away = judge(rule, detector, seen(pictures(random, 10), far=9.0))
    assert away.flagged.all()
    assert all("blank" not in r and r for r in away.reasons)
    assert not any(r for r, f in zip(usual.reasons, usual.flagged, strict=True) if not f)


def test_colours_of_one_brightness_are_told_apart() -> None:
    """Red and blue pictures of the same grey levels: what the encoder sees is the same of both."""
    random = np.random.default_rng(7)
    grey = pictures(random, 60)

    def tinted(pixels: np.ndarray, tint: tuple[int, int, int]) -> np.ndarray:
        return pixels + np.array(tint, dtype=np.float32)[None, :, None, None]

    red, blue = tinted(grey, (25, 0, -25)), tinted(grey, (-25, 0, 25))
    assert np.allclose(red.mean(1), blue.mean(1), atol=1e-3)
    support = seen(red[:20])
    folds = draw_folds(LABELS, np.arange(20), n_folds=5, repeats=1)[0]
    rule = novelty_rule(held_out_scores(support, LABELS, folds))
    assert rule is not None
    detector = Detector(support, LABELS)
    points = np.repeat(support.embeddings[:1], 40, 0)
    ordinary, other = (
        judge(rule, detector, Seen(points, points[:, :2], p)) for p in (red[20:], blue[20:])
    )
    assert ordinary.flagged.mean() < 0.3
    assert other.flagged.all()
    assert (opponents(grey) == opponents(grey[:1])).all()  # grey images differ in nothing here
    assert opponents(np.full((1, 3, 8, 8), 90, np.float32))[0, [0, 1, 10, 11]].tolist() == [0] * 4


def test_too_few_images_set_no_limit() -> None:
    assert novelty_rule({"classes": np.zeros(3)}) is None


def test_a_wrong_label_comes_first() -> None:
    p = np.full((3, 20, 2), 0.1)
    p[:, np.arange(20), LABELS] = 0.9
    wrong = LABELS.copy()
    wrong[[4, 15]] = 1 - wrong[[4, 15]]
    found = suspects(p, wrong)
    assert {s.image for s in found if s.flagged} == {4, 15}
    assert found[0].doubt == pytest.approx(0.9)
    assert suspects(p, LABELS) == ()


def test_plain_ridge_is_scikit_learns() -> None:
    random = np.random.default_rng(3)
    x, asked = random.normal(3, 2, (30, 40)), random.normal(3, 2, (50, 40))
    labels = random.integers(0, 3, 30)
    scaler = StandardScaler().fit(x)
    theirs = RidgeClassifier(alpha=4.0).fit(scaler.transform(x), labels)
    found = ridge_answers(x, labels, asked)
    np.testing.assert_array_equal(found, theirs.predict(scaler.transform(asked)))


@pytest.mark.parametrize(("planted", "near"), [("border", "border"), ("files", "files"), ("", "")])
def test_a_planted_shortcut_raises_the_alarm(planted: str, near: str) -> None:
    random = np.random.default_rng(4)
    labels = np.repeat([0, 1], 20)
    pixels = pictures(random, 40)
    if planted == "border":
        pixels[labels == 1, :, :3, :] += 40
        pixels[labels == 0, :, -3:, :] += 40
    files = random.normal(0, 1, (40, 2)) + (5 * labels[:, None] if planted == "files" else 0)
    folds = draw_folds(labels, np.arange(40), n_folds=5, repeats=2)
    found = shortcuts(pixels, labels, np.arange(40), folds, accuracy=0.9, chance=0.5, files=files)
    assert found.alarm == bool(planted)
    assert [s.name for s in found.tried if s.near] == ([near] if near else [])
    assert ("by their source" in found.text) == bool(planted)


def test_borders_and_histograms_by_hand() -> None:
    image = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    inside = {18, 19, 20, 21, 26, 27, 28, 29, 34, 35, 36, 37, 42, 43, 44, 45}
    assert set(border(image, 2)[0].tolist()) == set(range(64)) - inside
    assert histograms(image)[0].tolist() == [0.25] * 4 + [0.0] * 12


def test_readers_agree_as_scikit_learn_says() -> None:
    a, b = list("aabbabab"), list("aabbbbaa")
    third: list[str | None] = [*"aabbaba", None]
    given = np.array([0, 0, 1, 1, 0, 1, 0, 1])
    found = agreement({"reader_1": a, "reader_2": b, "reader_3": third}, given, ("a", "b"))
    assert found.kappas["reader_1, reader_2"] == pytest.approx(cohen_kappa_score(a, b))
    assert found.images == 8
    assert found.disputed == (7,)
    same = agreement({"reader_1": ["a"] * 3, "reader_2": ["a"] * 3}, np.zeros(3, int), ("a", "b"))
    assert same.kappas == {"reader_1, reader_2": None}
    assert same.fleiss is None


def test_fleiss_kappa_of_the_textbook() -> None:
    """Fleiss 1971's arithmetic on ten subjects and fourteen raters (kappa 0.210)."""
    votes = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    codes = np.array([np.repeat(np.arange(5), row) for row in votes]).T
    assert fleiss_kappa(codes) == pytest.approx(0.210, abs=5e-4)


def test_only_readers_columns_are_readers() -> None:
    names = ["site", "reader", "reader_b", "reader1", "readership"]
    assert reader_columns(names) == ["reader", "reader1", "reader_b"]
