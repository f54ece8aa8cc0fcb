import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.data.inspection import inspect_source

RNG = np.random.default_rng(0)


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_a_folder_with_everything(tmp_path):
    twin = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
    put(tmp_path / "a/1.png", twin)
    put(tmp_path / "a/2.png", np.stack([twin] * 3, axis=-1))
    put(tmp_path / "b/3.tif", twin)
    put(tmp_path / "b/4.png", RNG.integers(0, 256, (10, 20, 3), dtype=np.uint8))
    put(tmp_path / "B/5.png", RNG.integers(0, 65536, (4, 4)).astype(np.uint16))
    (tmp_path / "b/6.png").write_bytes(b"")
    steps = []
    found = inspect_source(tmp_path, progress=lambda done, n: steps.append((done, n)))
    assert found.classes == {"a": 2, "b": 2, "B": 1}
    assert (found.images, found.grey, found.colour) == (5, 4, 1)
    assert found.sizes == {"smallest": (4, 4), "median": (8, 8), "largest": (10, 20)}
    assert found.bit_depths == {"8": 4, "16": 1}
    assert found.patients == {"known": 0, "unknown_images": 5, "in_several_classes": 0}
    twins = found.duplicates
    assert (twins.groups, twins.images, twins.within_class, twins.across_classes) == (1, 3, 0, 1)
    assert twins.pairs == (("a/1.png", "b/3.tif"),)
    assert [(p.severity, p.where) for p in found.problems] == [
        ("error", "b/6.png"),
        ("warning", tmp_path.name),
        ("warning", tmp_path.name),
        ("warning", "B, b"),
    ]
    assert not found.usable
    assert steps[-1] == (6, 6)
    assert json.loads(json.dumps(found.to_dict()))["sizes"]["largest"] == [10, 20]


def test_a_manifest_with_bad_rows_does_not_stop_it(tmp_path):
    lines = ["path,value,patient"]
    for i, value in enumerate([1, 5, 3]):
        put(tmp_path / f"{i}.png", np.full((4, 4), i, np.uint8))
        lines.append(f"{i}.png,{value},p{i % 2}")
    (tmp_path / "list.csv").write_text("\n".join([*lines, "none.png,2,p"]))
    found = inspect_source(tmp_path / "list.csv")
    assert found.values == {"smallest": 1, "median": 3, "largest": 5}
    assert found.patients == {"known": 2, "unknown_images": 0, "in_several_classes": 0}
    assert [(p.severity, p.where) for p in found.problems] == [("error", "row 5")]


def test_nothing_but_bad_images(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"x")
    found = inspect_source(tmp_path)
    assert (found.images, found.sizes, found.classes) == (0, {}, {"a": 0})
    assert json.dumps(found.to_dict())


@pytest.mark.parametrize(
    ("name", "several", "groups", "images", "across"),
    [
        ("pneumonia_cxr", 106, 0, 0, 0),
        ("oct_dme", 11, 12, 24, 0),
        ("busi_breast_us", 0, 1, 2, 1),
        ("brain_tumor_mri", 0, 300, 694, 0),
    ],
)
def test_what_is_known_of_real_sources_is_found(name, several, groups, images, across):
    shared = Path(os.environ.get("MEDMETA_SHARED_DATA", "../shared/data")) / "classification"
    if not shared.is_dir():
        pytest.skip("the shared data are not here")
    found = inspect_source(shared / f"{name}.npz")
    assert found.patients["in_several_classes"] == several
    twins = found.duplicates
    assert (twins.groups, twins.images, twins.across_classes) == (groups, images, across)
    assert len(twins.pairs) == min(groups, 10)
