import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.data.folder import read_folder
from medmeta.errors import DataError


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(root / name)


def wrong(index):
    return {p.where: p.what for p in index.problems}


def test_classes_are_sub_folders_and_nested_images_are_found(tmp_path):
    put(tmp_path, "b/2.png", "a/deep/er/1.JPG", "a/1.png")
    index = read_folder(tmp_path)
    assert index.labels is not None
    assert index.labels.texts() == ["a", "a", "b"]
    assert [p.name for p in index.paths] == ["1.png", "1.JPG", "2.png"]
    assert index.file_sizes.tolist() == [p.stat().st_size for p in index.paths]
    assert (index.name, index.problems) == (tmp_path.name, ())


def test_litter_is_passed_over(tmp_path):
    put(tmp_path, "a/1.png", "__MACOSX/a/1.png", ".git/x.png", "a/._1.png")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "a/.DS_Store", "a/Thumbs.db"):
        (tmp_path / name).touch()
    index = read_folder(tmp_path)
    assert (len(index), index.class_names, index.problems) == (1, ("a",), ())


def test_each_wrong_thing_is_named(tmp_path):
    put(tmp_path, "a/1.png", "lost.png")
    (tmp_path / "a/notes.txt").touch()
    (tmp_path / "empty").mkdir()
    found = wrong(read_folder(tmp_path))
    assert set(found) == {"lost.png", "a/notes.txt", "empty/"}
    assert "beside the class folders" in found["lost.png"]
    assert "not an image" in found["a/notes.txt"]
    assert "no image" in found["empty/"]


def test_a_class_that_may_not_be_read_is_not_called_empty(tmp_path, monkeypatch):
    put(tmp_path, "a/1.png", "b/1.png", "c/deep/1.png")
    listed = os.scandir

    def forbidding(folder):
        if Path(folder).name in ("b", "deep"):
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(os, "scandir", forbidding)
    found = wrong(read_folder(tmp_path))
    assert set(found) == {"b", "c/deep"}
    assert found["b"].startswith("the folder may not be read (Permission denied)")


def test_links_that_leave_or_lead_nowhere_are_refused(tmp_path):
    root = tmp_path / "set"
    put(root, "a/1.png")
    put(tmp_path, "elsewhere/secret.png")
    (root / "a/out.png").symlink_to(tmp_path / "elsewhere/secret.png")
    (root / "a/none.png").symlink_to(root / "gone.png")
    (root / "a/circle").symlink_to(root / "a")
    (root / "a/inside.png").symlink_to(root / "a/1.png")
    index = read_folder(root)
    assert [p.name for p in index.paths] == ["1.png", "inside.png"]
    assert set(wrong(index)) == {"a/out.png", "a/none.png", "a/circle"}
    assert "leaves the folder" in wrong(index)["a/out.png"]


@pytest.mark.parametrize("names", [(), ("1.png", "2.png")])
def test_without_class_folders_the_layout_is_explained(tmp_path, names):
    put(tmp_path, *names)
    with pytest.raises(DataError, match="one sub-folder for each class"):
        read_folder(tmp_path)


def test_parts_of_a_split_are_not_taken_for_classes(tmp_path):
    put(tmp_path, "train/a/1.png", "Test/a/1.png")
    with pytest.raises(DataError, match="parts of a split"):
        read_folder(tmp_path)
    put(tmp_path, "healthy/1.png")
    assert len(read_folder(tmp_path)) == 3


def test_names_that_are_no_text_stand(tmp_path):
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    except OSError:
        pytest.skip("this disk takes names of UTF-8 only")
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(os.fsencode(tmp_path) + b"/caf\xe9/1.png")
    assert read_folder(tmp_path).class_names == ("caf\ufffd",)
