"""Pictures of an npz come in order, a block at a time, as NumPy would read them whole."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from medmeta.data import npz
from medmeta.data.archive import read_archive
from medmeta.errors import DataError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (7, 5, 6), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)


def save(tmp_path, how=np.savez, **arrays):
    how(tmp_path / "set.npz", **arrays)
    return tmp_path / "set.npz"


def pictures(path):
    return list(read_archive(path).images)


@pytest.mark.parametrize("how", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("rows", [1, 3, 7, 100])
@pytest.mark.parametrize("images", [IMAGES, COLOUR, COLOUR[..., :1], np.asfortranarray(IMAGES)])
def test_pictures_are_those_that_numpy_reads_whole(tmp_path, monkeypatch, how, rows, images):
    monkeypatch.setattr(npz, "_BLOCK_BYTES", rows * images[0].nbytes)
    path = save(tmp_path, how, images=images, labels=np.zeros(7, int))
    with np.load(path) as whole:
        wanted = whole["images"]
    wanted = wanted[..., 0] if wanted.shape[3:] == (1,) else wanted
    found = pictures(path)
    assert len(read_archive(path).images) == len(found) == 7
    assert np.array_equal(np.stack(found), wanted)


def test_parts_follow_each_other_and_may_differ_in_the_grey_axis(tmp_path):
    arrays = {"train_images": IMAGES[:4], "test_images": IMAGES[4:, ..., None]}
    labels = {"train_labels": np.zeros(4, int), "test_labels": np.zeros(3, int)}
    assert np.array_equal(pictures(save(tmp_path, **arrays, **labels)), IMAGES)


def test_parts_of_different_shapes_are_refused(tmp_path):
    arrays = {"train_images": IMAGES[:4], "test_images": IMAGES[4:, 1:]}
    labels = {"train_labels": np.zeros(4, int), "test_labels": np.zeros(3, int)}
    with pytest.raises(DataError, match="different shapes"):
        read_archive(save(tmp_path, **arrays, **labels))


def test_pictures_are_gone_through_as_often_as_asked_and_left_early(tmp_path):
    images = read_archive(save(tmp_path, images=IMAGES, labels=np.zeros(7, int))).images
    assert np.array_equal(next(iter(images)), IMAGES[0])
    assert np.array_equal(list(images), list(images))


@pytest.mark.parametrize("how", [np.savez, np.savez_compressed])
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path, how):
    path = save(
        tmp_path, how, images=np.zeros((4000, 64, 64), np.uint8), labels=np.zeros(4000, int)
    )
    tracemalloc.start()
    assert sum(1 for _ in read_archive(path).images) == 4000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000  # of 16 MB


def test_damaged_pictures_are_said_when_they_are_read(tmp_path):
    path = save(tmp_path, np.savez_compressed, images=IMAGES, labels=np.zeros(7, int))
    whole = path.read_bytes()
    middle = whole.index(b"images.npy") + 200  # within the deflated picture
    path.write_bytes(whole[:middle] + b"\xff" * 20 + whole[middle + 20 :])
    with pytest.raises(DataError, match="damaged"):
        pictures(path)


def test_one_wrong_bit_of_a_stored_picture_is_found(tmp_path):
    path = save(tmp_path, images=IMAGES, labels=np.zeros(7, int))
    whole = path.read_bytes()
    place = whole.index(IMAGES[3].tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(DataError, match=r"damaged.*CRC"):
        pictures(path)


def test_another_file_in_its_place_is_said(tmp_path):
    images = read_archive(save(tmp_path, images=IMAGES, labels=np.zeros(7, int))).images
    save(tmp_path, images=IMAGES[:5], labels=np.zeros(5, int))
    with pytest.raises(DataError, match="images has changed meanwhile"):
        list(images)
    (tmp_path / "set.npz").unlink()
    with pytest.raises(DataError, match="No such file"):
        list(images)


def test_declared_shape_is_held_against_the_true_one(tmp_path):
    header = io.BytesIO()
    claimed = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6)}
    np.lib.format.write_array_header_1_0(header, claimed)
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as file:
        file.writestr("images.npy", header.getvalue() + b"\0" * 100)
        file.writestr("labels.npy", header.getvalue())
    with pytest.raises(DataError, match="not as long as it says"):
        read_archive(tmp_path / "set.npz")


def test_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "MAX_ARCHIVE_BYTES", 100)
    with pytest.raises(DataError, match="more than the"):
        read_archive(save(tmp_path, images=IMAGES, labels=np.zeros(7, int)))


def test_a_header_that_ends_within_a_statement_is_damage(tmp_path):
    """NumPy parses an array's header as Python, and so fails as Python does."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2), " + b" " * 60 + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8)
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("images.npy", content)
    with pytest.raises(DataError, match=r"set\.npz: "):
        read_archive(tmp_path / "set.npz")
