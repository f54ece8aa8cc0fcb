import os
from pathlib import Path

import numpy as np
import pytest

from medmeta.data.archive import read_archive
from medmeta.errors import DataError

IMAGES = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
LABELS = np.array([1, 0, 1, 2])
NAMES = np.array(["pear", "apple", "quince"])


def save(tmp_path, **arrays):
    np.savez_compressed(tmp_path / "set.npz", **arrays)
    return tmp_path / "set.npz"


def test_own_layout(tmp_path):
    path = save(
        tmp_path,
        images=IMAGES,
        labels=LABELS,
        class_names=NAMES,
        patient_ids=np.array(["p", "", "q", " p "]),
        modality=np.array("CT"),
        file_names=np.array(["secret"] * 4),
    )
    read = read_archive(path)
    assert np.array_equal(list(read.images), IMAGES)
    assert read.index.labels is not None
    assert read.index.labels.texts() == ["apple", "pear", "apple", "quince"]
    assert read.index.class_names == ("apple", "pear", "quince")
    assert read.index.patients.texts() == ["p", None, "q", "p"]
    assert read.index.modalities.texts() == ["CT"] * 4
    assert (read.index.name, read.index.paths) == ("set", ())


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        (np.array([3, -1, 12, 3]), ["3", None, "12", "3"]),
        (np.array([3, np.nan, 12, 3]), ["3", None, "12", "3"]),
        (np.array([b"a", b"", b"b", b"a"]), ["a", None, "b", "a"]),
        (10**16 + np.arange(4), [str(10**16 + i) for i in range(4)]),
        (2.0**53 - np.arange(4), [str(2**53 - i) for i in range(4)]),
    ],
)
def test_patients_as_numbers_or_bytes(tmp_path, ids, texts):
    path = save(tmp_path, images=IMAGES, labels=LABELS, patient_ids=ids)
    assert read_archive(path).index.patients.texts() == texts


def test_patients_that_a_float_does_not_tell_apart(tmp_path):
    ids = np.array([2**24 + 1, 2**24 + 2, 3, 4], np.float32)
    with pytest.raises(DataError, match="patient_ids holds numbers above 16777216"):
        read_archive(save(tmp_path, images=IMAGES, labels=LABELS, patient_ids=ids))


def test_names_of_classes_as_bytes(tmp_path):
    names = np.array([b"pear", "äpfel".encode(), b"quince"])
    read = read_archive(save(tmp_path, images=IMAGES, labels=[0, 1, 1, 2], class_names=names))
    assert read.index.class_names == ("pear", "quince", "äpfel")


def test_values(tmp_path):
    index = read_archive(save(tmp_path, images=IMAGES, values=np.arange(4) / 2)).index
    assert index.values is not None
    assert index.values.tolist() == [0, 0.5, 1, 1.5]


def test_classes_without_an_image_are_said(tmp_path):
    index = read_archive(save(tmp_path, images=IMAGES, labels=LABELS * 0, class_names=NAMES)).index
    assert index.class_names == ("pear",)
    assert "apple, quince" in index.problems[0].what


def test_medmnist_layout(tmp_path):
    parts = {"train": [0, 1], "val": [2], "test": [3]}
    arrays = {f"{p}_images": IMAGES[rows] for p, rows in parts.items()}
    arrays |= {f"{p}_labels": LABELS[rows, None].astype(np.uint8) for p, rows in parts.items()}
    read = read_archive(save(tmp_path, **arrays))
    assert np.array_equal(list(read.images), IMAGES)
    assert read.index.labels is not None
    assert read.index.labels.texts() == ["1", "0", "1", "2"]
    assert read.index.splits.texts() == ["train", "train", "val", "test"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": IMAGES.astype(float)}, "uint8"),
        ({"images": np.zeros((4, 5, 6, 7, 8), np.uint8)}, "n, D, H, W"),
        ({"images": np.zeros((4, 8, 8, 4), np.uint8)}, "alpha channel"),
        ({"images": np.zeros((4, 3, 8, 8), np.uint8)}, "channels come first"),
        ({"labels": LABELS[:3]}, "4 images"),
        ({"labels": np.eye(4, dtype=int)}, "4 labels for each image"),
        ({"labels": LABELS - 1}, "row 1, is below zero"),
        ({"labels": LABELS + 1}, "row 3, is 3, but class_names has 3"),
        ({"labels": LABELS / 2}, "whole numbers"),
        ({"class_names": np.array(["a", "a", "b"])}, "one name twice"),
        ({"patient_ids": np.arange(3)}, "patient_ids"),
        ({"values": np.zeros(4)}, "either labels or values"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, changes, said):
    arrays = {"images": IMAGES, "labels": LABELS, "class_names": NAMES} | changes
    with pytest.raises(DataError, match=said):
        read_archive(save(tmp_path, **arrays))


def test_another_layout_says_what_is_there(tmp_path):
    with pytest.raises(DataError, match=r"expected images.*there is x, y"):
        read_archive(save(tmp_path, x=IMAGES, y=LABELS))


def test_objects_are_not_unpickled(tmp_path):
    path = save(tmp_path, images=IMAGES, labels=np.array([print] * 4, dtype=object))
    with pytest.raises(DataError, match="Python objects"):
        read_archive(path)


def test_damage_anywhere_is_said(tmp_path):
    path = save(tmp_path, images=IMAGES, labels=LABELS)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="damaged"):
            read_archive(path)


def test_real_archives():
    shared = Path(os.environ.get("MEDMETA_SHARED_DATA", "../shared/data")) / "classification"
    if not shared.is_dir():
        pytest.skip("the shared data are not here")
    chest = read_archive(shared / "pneumonia_cxr.npz")
    assert (len(chest.images), len(chest.index.patients.names)) == (1500, 1147)
    assert next(iter(chest.images)).shape == (64, 64)
    native = read_archive(shared / "pneumoniamnist.npz").index
    assert native.splits.names == ("test", "train", "val")
    assert len(native) == 5030
