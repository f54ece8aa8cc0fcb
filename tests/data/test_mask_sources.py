"""Pictures with masks: paired by name, numbered, brought to one shape; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.data.mask_shape import prepare_mask, restored
from medmeta.data.mask_sources import open_mask_source
from medmeta.data.preprocess import Preprocessing
from medmeta.errors import DataError, ManifestError
from tests.data.masked_files import pictures, write_pairs

SIZE = Preprocessing(size=32)


def test_a_folder_is_paired_by_name(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path / "set")
    source = open_mask_source(tmp_path / "set", preprocessing=SIZE)
    rows = np.arange(6)
    assert source.index.structures == ("structure",)
    np.testing.assert_array_equal(source.gather_masks(rows), masks)
    np.testing.assert_array_equal(source.gather(rows)[:, 0], images)


def test_sub_folders_have_masks_of_their_own(tmp_path: Path) -> None:
    """Two patients whose files are called alike: each image has the mask of its own folder."""
    images, masks = pictures(4)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        patient, name = f"P{number // 2}", f"slice{number % 2}.png"
        for kind, picture in (("images", image), ("masks", mask)):
            (tmp_path / kind / patient).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / kind / patient / name)
    source = open_mask_source(tmp_path, preprocessing=Preprocessing(size=32, channels=1))
    assert source.masks is not None
    np.testing.assert_array_equal(source.masks, masks)
    # Where only one is called so, another sub-folder is no hindrance.
    (tmp_path / "masks" / "P1" / "slice0.png").rename(tmp_path / "masks" / "other.png")
    (tmp_path / "images" / "P1" / "slice0.png").rename(tmp_path / "images" / "P1" / "other.png")
    again = open_mask_source(tmp_path, preprocessing=Preprocessing(size=32, channels=1))
    assert len(again) == 4


@pytest.mark.parametrize(
    ("twice", "says"),
    [("masks/0_gt.png", "has 2 masks of its name (0_gt.png and 0_mask.png)"),
     ("images/0.bmp", "has the name of another image")],
)  # fmt: skip
def test_a_name_that_is_there_twice(twice: str, says: str, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    with Image.open(tmp_path / ("masks/0_mask.png" if "gt" in twice else "images/0.png")) as one:
        one.save(tmp_path / twice)
    assert says in _refused(tmp_path)


def test_255_alone_beside_masks_of_1_is_said(tmp_path: Path) -> None:
    write_pairs(tmp_path, value=1)
    with Image.open(tmp_path / "masks" / "0_mask.png") as one:
        Image.fromarray(np.asarray(one) * np.uint8(255)).save(tmp_path / "masks" / "0_mask.png")
    source = open_mask_source(tmp_path, preprocessing=Preprocessing(size=32, channels=1))
    (problem,) = source.index.problems
    assert "of 1 of its 6 masks the only number is 255" in problem.what


def test_no_program_is_started_for_a_mask(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    mask = tmp_path / "masks" / "0_mask.png"
    mask.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n%%EOF\n")
    assert "UnidentifiedImageError" in _refused(tmp_path)


def test_a_part_keeps_the_masks_of_its_own_images(tmp_path: Path) -> None:
    _, masks = write_pairs(tmp_path / "set")
    part = open_mask_source(tmp_path / "set", preprocessing=SIZE).take(np.array([4, 1]))
    np.testing.assert_array_equal(part.gather_masks(np.arange(2)), masks[[4, 1]])


def test_a_manifest_names_masks_and_patients(tmp_path: Path) -> None:
    _, masks = write_pairs(tmp_path)
    lines = [f"images/{i}.png,masks/{i}_mask.png,p{i // 2}" for i in range(6)]
    (tmp_path / "table.csv").write_text("\n".join(["path,mask,patient", *lines]))
    source = open_mask_source(tmp_path / "table.csv", preprocessing=SIZE)
    assert source.index.patients.texts() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert "mask" not in source.index.others  # paths may name a patient
    np.testing.assert_array_equal(source.gather_masks(np.arange(6)), masks)


def test_an_npz_of_several_small_sets(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path / "set")
    masks[3:] *= 2
    names = {"task": np.array([0, 0, 0, 1, 1, 1]), "task_names": np.array(["liver", "lung"])}
    np.savez(tmp_path / "a.npz", images=images, masks=masks, **names)
    source = open_mask_source(tmp_path / "a.npz", preprocessing=SIZE)
    assert source.index.structures == ("1", "2")
    assert source.index.column("family").texts() == ["liver"] * 3 + ["lung"] * 3
    assert source.marked[:, 1:].tolist() == [[True, False]] * 3 + [[False, True]] * 3


def test_names_are_declared_beside_the_masks(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", value=7)
    (tmp_path / "set" / "structures.csv").write_text("value,name\n3,kidney\n7,liver\n")
    source = open_mask_source(tmp_path / "set", preprocessing=SIZE)
    assert source.index.structures == ("kidney", "liver")
    assert set(np.unique(source.gather_masks(np.arange(6)))) == {0, 2}


def test_255_beside_others_is_not_labelled(tmp_path: Path) -> None:
    _, masks = write_pairs(tmp_path / "set", value=1)
    masks[0, 0, 0] = 255
    Image.fromarray(masks[0]).save(tmp_path / "set" / "masks" / "0_mask.png")
    source = open_mask_source(tmp_path / "set", preprocessing=SIZE)
    assert source.gather_masks(np.array([0]))[0, 0, 0] == 255
    assert source.index.structures == ("structure",)


def _refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_mask_source(folder, preprocessing=SIZE)
    return str(caught.value)


def test_another_size_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set")
    Image.new("L", (30, 32)).save(tmp_path / "set" / "masks" / "2_mask.png")
    said = _refused(tmp_path / "set")
    assert "images/2.png" in said
    assert "2_mask.png has 30 x 32 pixels, but its image 32 x 32" in said
    source = open_mask_source(tmp_path / "set", preprocessing=SIZE, skip_bad=True)
    assert len(source) == 5
    assert not any("2_mask" in problem.what for problem in source.index.problems)


def test_what_is_not_declared_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", value=9)
    (tmp_path / "set" / "structures.csv").write_text("value,name\n1,liver\n")
    assert "holds the number 9" in _refused(tmp_path / "set")


def test_ringing_is_refused_or_cut_when_told(tmp_path: Path) -> None:
    _, masks = write_pairs(tmp_path / "set")
    for path in (tmp_path / "set" / "masks").iterdir():
        Image.open(path).save(path.with_suffix(".jpg"), quality=50)
        path.unlink()
    assert "--clean-masks" in _refused(tmp_path / "set")
    source = open_mask_source(tmp_path / "set", preprocessing=SIZE, clean=True)
    wrong = (source.gather_masks(np.arange(6)) != masks).mean()
    assert wrong < 0.01


def test_partners_that_are_missing_are_named(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set")
    (tmp_path / "set" / "masks" / "3_mask.png").rename(tmp_path / "set" / "masks" / "x.png")
    said = _refused(tmp_path / "set")
    assert "images/3.png" in said
    assert "masks/x.png" in said
    source = open_mask_source(tmp_path / "set", preprocessing=SIZE, skip_bad=True)
    assert len(source) == 5


def test_a_manifest_without_masks_says_so(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (tmp_path / "t.csv").write_text("path,label\nimages/0.png,a\n")
    with pytest.raises(ManifestError, match="mask"):
        open_mask_source(tmp_path / "t.csv", preprocessing=SIZE)


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_an_answer_lies_where_the_mask_was(fit: str) -> None:
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:30, 20:40] = 1
    shaped = Preprocessing(size=64, fit=fit)  # type: ignore[arg-type]
    small = prepare_mask(mask, shaped)
    sure = np.stack([small == 0, small == 1]).astype(np.float32)
    back = restored(sure, 40, 60, shaped).argmax(0)
    both = ((back == 1) & (mask == 1)).sum()
    assert 2 * both / ((back == 1).sum() + (mask == 1).sum()) > 0.95


def test_real_masks_are_read(shared_data: Path) -> None:
    path = shared_data / "segmentation" / "wbc1.npz"
    source = open_mask_source(path, preprocessing=Preprocessing(size=128))
    with np.load(path, allow_pickle=False) as held:
        np.testing.assert_array_equal(source.gather_masks(np.arange(200)), held["masks"])
    assert source.index.structures == ("1", "2")
