from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tifffile", reason="the extra features brings it")
pytest.importorskip("openslide", reason="the extra slides")

from made_slide import load_pictures, write_slide
from medmeta.data.preprocess import Preprocessing
from medmeta.data.slide_file import opened_slide
from medmeta.data.slide_tiles import read_tiles, tile_count
from slides import measured

COLOURS = [(200, 90, 140), (120, 60, 160), (230, 180, 200)]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "slides" / "tissue" / "s.tif"
    path.parent.mkdir(parents=True)
    write_slide(path, [Image.new("RGB", (256, 256), c) for c in COLOURS], side=4096)
    return path


def test_a_made_slide_is_a_pyramid_with_glass_around_it(slide: Path) -> None:
    with opened_slide(slide) as opened:
        assert opened.size == (4096, 4096)
        assert opened.mpp == pytest.approx(0.25)
        assert opened.scales == pytest.approx((1, 2, 4, 8))
    # An eighth of 16 tiles is glass at each edge: 12 × 12 of 256 pixels are left.
    whole = Preprocessing(size=64, mpp=1.0)
    assert tile_count(slide, whole) == 144
    for tile in read_tiles(slide, range(144), whole):
        near = min(np.abs(tile.reshape(-1, 3).mean(0) - colour).max() for colour in COLOURS)
        assert near < 4  # JPEG is not exact


def test_memory_in_a_child_process_stays_within_200_mb_of_the_idle_one(slide: Path) -> None:
    found = measured("tiles", slide)
    assert found["tiles"] == 24 * 24
    assert found["mb"] < 200


def test_pictures_of_one_task(tmp_path: Path) -> None:
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[1] = 7
    np.savez(tmp_path / "a.npz", images=images, task=np.array([0, 1, 0]),
             task_names=np.array(["CT", "GlaS-MICCAI"]))  # fmt: skip
    (picture,) = load_pictures(tmp_path / "a.npz")
    assert picture.size == (256, 256)
    assert np.asarray(picture).max() == 7


def test_a_slide_of_real_histology(shared_data: Path, tmp_path: Path) -> None:
    pictures = load_pictures(shared_data / "segmentation" / "multi_tasks.npz")
    assert len(pictures) == 18
    path = tmp_path / "s.tif"
    write_slide(path, pictures, side=2048)
    shape = Preprocessing(size=64, mpp=0.5)
    n = tile_count(path, shape)
    assert 100 < n <= 6 * 6 * 4  # six of eight pictures along each side, of four tiles each
    means = np.array([tile.mean() for tile in read_tiles(path, range(n), shape)])
    assert 60 < means.mean() < 220
