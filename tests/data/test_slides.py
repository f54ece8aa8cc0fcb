from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.data.inspection import inspect_source
from medmeta.data.preprocess import Preprocessing
from medmeta.data.slices import slices_in_words
from medmeta.data.slide_file import opened_slide
from medmeta.data.slide_tiles import overview, read_tiles, tile_count
from medmeta.data.sources import open_source
from medmeta.errors import DataError, UnreadableImageError
from tests.data.slide_files import on_glass, stained, write_pyramid

PINK, VIOLET = (220, 130, 170), (110, 60, 150)
HALF = Preprocessing(size=32, mpp=0.5, tissue=0)


def ramp(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Red tells the row, green the column, in steps of eight pixels."""
    rows, columns = np.mgrid[:height, :width] // 8
    return np.stack([rows, columns, np.full_like(rows, 128)], axis=2).astype(np.uint8)


def test_tiles_at_the_slides_own_scale_are_its_pixels(tmp_path: Path) -> None:
    pixels = ramp(160, 224)
    path = write_pyramid(tmp_path / "s.tif", pixels, mpp=0.5)
    assert tile_count(path, HALF) == 5 * 7
    tiles = read_tiles(path, [0, 8, 34], HALF)
    np.testing.assert_array_equal(tiles[0], pixels[:32, :32])
    np.testing.assert_array_equal(tiles[1], pixels[32:64, 32:64])
    np.testing.assert_array_equal(tiles[2], pixels[128:160, 192:224])


def test_microns_per_pixel_decide_how_much_a_tile_shows(tmp_path: Path) -> None:
    pixels = ramp(256, 256)
    path = write_pyramid(tmp_path / "s.tif", pixels, mpp=0.25)
    for mpp, n in ((0.25, 64), (0.5, 16), (1.0, 4), (2.0, 1)):
        wanted = Preprocessing(size=32, mpp=mpp, tissue=0)
        assert tile_count(path, wanted) == n
        shown = round(32 * mpp / 0.25)
        (last,) = read_tiles(path, [n - 1], wanted)
        mean = pixels[-shown:, -shown:].reshape(32, shown // 32, 32, shown // 32, 3).mean((1, 3))
        assert np.abs(last - mean).max() <= 1.5  # each smaller copy is rounded


def test_tiles_reach_from_edge_to_edge_and_share_what_they_must(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "s.tif", ramp(100, 90), mpp=0.5, levels=1)
    # 100 rows take ⌈(100 - 32) / 32⌉ + 1 = 4 rows of tiles, 90 columns 3; by half as many again.
    assert tile_count(path, HALF) == 12
    (first, last) = read_tiles(path, [0, 11], HALF)
    np.testing.assert_array_equal(first, ramp(100, 90)[:32, :32])
    np.testing.assert_array_equal(last, ramp(100, 90)[68:, 58:])
    overlapping = HALF.model_copy(update={"overlap": 0.5})
    assert tile_count(path, overlapping) == 6 * 5  # ⌈68 / 16⌉ + 1 and ⌈58 / 16⌉ + 1


def test_only_tissue_is_used(tmp_path: Path) -> None:
    pixels = on_glass(256, 320, stained(64, 96, PINK), y=64, x=128)
    pixels[:, :32] = 0  # a scanner's black border
    path = write_pyramid(tmp_path / "s.tif", pixels)
    wanted = Preprocessing(size=32, mpp=0.5)
    assert tile_count(path, wanted) == 2 * 3
    for tile in read_tiles(path, range(6), wanted):
        assert tile.mean((0, 1)) == pytest.approx(PINK, abs=8)
    glass = write_pyramid(tmp_path / "glass.tif", np.full((128, 128, 3), 250, np.uint8))
    with pytest.raises(UnreadableImageError, match=r"shows no tissue.*--tissue"):
        tile_count(glass, wanted)


def test_a_slide_smaller_than_a_tile_lies_on_white(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "s.tif", stained(64, 64, PINK), mpp=0.5, levels=1)
    wide = Preprocessing(size=64, mpp=1.0, tissue=0)
    (tile,) = read_tiles(path, [0], wide)
    assert tile[:32, :32].mean((0, 1)) == pytest.approx(PINK, abs=6)
    assert (tile[32:] == 255).all()


def test_other_large_pictures_are_cut_by_their_own_pixels(tmp_path: Path) -> None:
    pixels = ramp(128, 192)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    wanted = Preprocessing(size=32, tile=64, tissue=0)
    assert tile_count(tmp_path / "p.png", wanted) == 6
    (tile,) = read_tiles(tmp_path / "p.png", [5], wanted)
    mean = pixels[64:, 128:].reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(tile - mean).max() <= 0.5


@pytest.mark.parametrize(
    ("mpp", "wanted", "says"),
    [
        (None, {"mpp": 0.5}, r"does not say its microns per pixel.*--slide-mpp.*--tile"),
        (1.0, {"mpp": 0.25}, "has pixels of 1 microns, coarser than the 0.25"),
    ],
)
def test_scales_that_cannot_be(
    tmp_path: Path, mpp: float | None, wanted: dict[str, float], says: str
) -> None:
    path = write_pyramid(tmp_path / "s.tif", stained(128, 128, PINK), mpp=mpp)
    with pytest.raises(UnreadableImageError, match=says):
        tile_count(path, Preprocessing(size=32, **wanted))  # type: ignore[arg-type]


def test_microns_may_be_told(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "s.tif", stained(128, 128, PINK), mpp=None)
    assert tile_count(path, Preprocessing(size=32, mpp=0.5, slide_mpp=0.25, tissue=0)) == 4
    known = write_pyramid(tmp_path / "k.tif", stained(128, 128, PINK), mpp=0.5)
    told = Preprocessing(size=32, mpp=0.5, slide_mpp=0.25, tissue=0)
    assert tile_count(known, told) == 16  # what the slide says goes before


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    whole = write_pyramid(tmp_path / "s.tif", stained(512, 512, PINK))
    content = whole.read_bytes()
    for name, part in (("half.tif", content[: len(content) // 2]), ("none.svs", b""),
                       ("text.svs", b"no slide"), ("tail.tif", content[-1000:])):  # fmt: skip
        (tmp_path / name).write_bytes(part)
        with pytest.raises(UnreadableImageError):
            read_tiles(tmp_path / name, [0], HALF)
    with (
        pytest.raises(UnreadableImageError, match="no such file"),
        opened_slide(tmp_path / "x.svs"),
    ):
        pass
    spoilt = bytearray(content)
    spoilt[len(spoilt) // 3 : len(spoilt) // 2] = bytes(len(spoilt) // 2 - len(spoilt) // 3)
    (tmp_path / "spoilt.tif").write_bytes(spoilt)
    with pytest.raises(UnreadableImageError, match="damaged"):
        read_tiles(tmp_path / "spoilt.tif", range(tile_count(whole, HALF)), HALF)


def write_cases(folder: Path, each: int = 3) -> Path:
    for kind, colour in (("benign", PINK), ("malignant", VIOLET)):
        for number in range(each):
            piece = stained(160, 160, colour, seed=number)
            slide = on_glass(256, 320, piece, y=32, x=64 + 32 * number)
            write_pyramid(folder / kind / f"{number}.tif", slide)
    return folder


def test_a_source_of_tiles_keeps_slides_together(tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "slides")
    wanted = Preprocessing(size=32, mpp=0.5, slices=4)
    source = open_source(folder, preprocessing=wanted, cache=tmp_path / "c")
    assert source.pixels.shape == (24, 3, 32, 32)
    assert source.n_volumes == 6
    assert len(np.unique(source.groups)) == 6
    assert source.index.class_names == ("benign", "malignant")
    many = wanted.model_copy(update={"slices": 500})
    assert len(open_source(folder, preprocessing=many, cache=tmp_path / "c")) > 6 * 16
    assert slices_in_words(wanted) == "4 tiles of 0.5 µm a pixel, spread over its tissue"


def test_a_slide_as_one_bag_of_tiles(tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "slides")
    wanted = Preprocessing(size=32, mpp=0.5, depth=8)
    source = open_source(folder, preprocessing=wanted, cache=tmp_path / "c")
    assert source.pixels.shape == (6, 3, 8, 32, 32)
    means = source.pixels.mean((2, 3, 4))
    assert means[0] == pytest.approx(PINK, abs=8)
    assert means[-1] == pytest.approx(VIOLET, abs=8)


def test_slides_and_other_inputs_are_not_taken_for_each_other(tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "slides", each=1)
    with pytest.raises(UnreadableImageError, match=r"a slide, of which --mpp takes tiles"):
        open_source(folder, preprocessing=Preprocessing(), cache=tmp_path / "c")
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 32, 32), np.uint8), labels=np.arange(4) % 2)
    with pytest.raises(DataError, match="tiles are cut of files"):
        open_source(tmp_path / "a.npz", preprocessing=HALF, cache=tmp_path)


def test_slides_are_looked_at(tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "slides", each=2)
    found = inspect_source(folder)
    assert found.usable, found.problems
    assert found.sizes["largest"] == (256, 320)
    size, pixels = overview(folder / "benign" / "0.tif", side=160)
    assert (size, pixels.shape) == ((256, 320), (128, 160, 3))
    assert pixels[0, 0].tolist() == [250, 250, 250]


def test_memory_is_that_of_the_tiles(tmp_path: Path) -> None:
    piece = stained(512, 512, PINK, grain=2)
    pixels = np.tile(piece, (6, 8, 1))  # 12 megapixels, 38 MB
    path = write_pyramid(tmp_path / "s.tif", pixels, mpp=0.25, levels=4)
    del pixels
    wanted = Preprocessing(size=64, mpp=0.5, slices=16)
    tracemalloc.start()
    n = tile_count(path, wanted)
    for first in range(0, n, 16):
        read_tiles(path, range(first, min(n, first + 16)), wanted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 24 * 32
    assert peak < 12_000_000
