import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.data.listing import scan
from medmeta.data.npz import Pictures
from medmeta.data.preprocess import Preprocessing, content_hash
from medmeta.data.sources import open_source
from medmeta.errors import DataError, ManifestError, UnreadableImageError

WANTED = Preprocessing(size=16, channels=1)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 16, 16), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    for i, pixels in enumerate(PIXELS):
        path = tmp_path / "set" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "set"


def test_the_three_kinds_give_the_same_source(folder, tmp_path):
    index = scan(folder).index
    lines = [f"{p.relative_to(folder)},{p.parent.name}" for p in index.paths]
    (folder / "list.csv").write_text("\n".join(["path,label", *lines]))
    rows = [0, 2, 4, 1, 3, 5]
    np.savez(
        tmp_path / "set.npz",
        images=PIXELS[rows],
        labels=[0, 0, 0, 1, 1, 1],
        class_names=np.array(["a", "b"]),
    )
    cache = tmp_path / "cache"
    manifest = open_source(folder / "list.csv", preprocessing=WANTED, cache=cache)
    (folder / "list.csv").unlink()
    opened = [
        manifest,
        open_source(folder, preprocessing=WANTED, cache=cache),
        open_source(tmp_path / "set.npz", preprocessing=WANTED, cache=cache),
    ]
    for source in opened:
        assert source.name == "set"
        assert source.index.labels is not None
        assert source.index.labels.texts() == list("aaabbb")
        assert np.array_equal(source.gather(np.arange(6)), PIXELS[rows, None])
        assert source.hashes.tolist() == [content_hash(PIXELS[r]) for r in rows]


@pytest.mark.parametrize("names", [("images", "masks"), ("IMG", "Labels", "other")])
@pytest.mark.parametrize("zipped", [False, True])
def test_images_and_their_masks_are_not_taken_for_classes(names, zipped, folder, tmp_path):
    for name in names:
        shutil.copytree(folder / "a", tmp_path / "pairs" / name)
    path = tmp_path / "pairs"
    if zipped:
        path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", path))
    with pytest.raises(DataError, match=r"--task segmentation.*--target masks") as raised:
        open_source(path, preprocessing=WANTED, cache=tmp_path / "c")
    assert all(repr(name) in str(raised.value) for name in names[:2])
    assert str(path) in str(raised.value)


def test_classes_of_a_manifest_may_be_called_images_and_masks(folder, tmp_path):
    index = scan(folder).index
    rows = [f"{p},{'images' if p.parent.name == 'a' else 'masks'}" for p in index.paths]
    (folder / "list.csv").write_text("\n".join(["path,label", *rows]))
    source = open_source(folder / "list.csv", preprocessing=WANTED, cache=tmp_path / "c")
    assert source.index.class_names == ("images", "masks")


def test_the_pictures_of_an_npz_are_read_once(tmp_path, monkeypatch):
    labels = [0, 0, 0, 1, 1, 1]
    np.savez_compressed(tmp_path / "set.npz", images=PIXELS, labels=labels)
    first = open_source(tmp_path / "set.npz", preprocessing=WANTED, cache=tmp_path / "c")

    def never(pictures):
        raise AssertionError("read once more")

    monkeypatch.setattr(Pictures, "__iter__", never)
    again = open_source(tmp_path / "set.npz", preprocessing=WANTED, cache=tmp_path / "c")
    assert np.array_equal(again.gather(np.arange(6)), first.gather(np.arange(6)))
    assert again.hashes.tolist() == first.hashes.tolist()


def test_a_damaged_npz_leaves_nothing_in_the_cache(tmp_path):
    many = np.tile(PIXELS, (100, 1, 1))  # so many that the header is read without the last
    np.savez(tmp_path / "set.npz", images=many, labels=np.arange(600) % 2)
    whole = (tmp_path / "set.npz").read_bytes()
    place = whole.rindex(PIXELS[5].tobytes())
    (tmp_path / "set.npz").write_bytes(whole[:place] + b"\0" * 9 + whole[place + 9 :])
    with pytest.raises(DataError, match="damaged"):
        open_source(tmp_path / "set.npz", preprocessing=WANTED, cache=tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []


def test_the_hash_is_of_the_picture_before_resizing(folder, tmp_path):
    shrunk = Preprocessing(size=16, channels=3)
    big = np.kron(PIXELS[0], np.ones((2, 2), np.uint8))
    Image.fromarray(big).save(folder / "a" / "0.png")
    source = open_source(folder, preprocessing=shrunk, cache=tmp_path / "cache")
    assert source.hashes[0] == content_hash(big)
    assert source.pixels.shape == (6, 3, 16, 16)


def test_a_changed_file_is_read_again(folder, tmp_path):
    cache = tmp_path / "cache"
    open_source(folder, preprocessing=WANTED, cache=cache)
    Image.fromarray(PIXELS[0] // 2).save(folder / "a" / "0.png")
    source = open_source(folder, preprocessing=WANTED, cache=cache)
    assert np.array_equal(source.gather(np.array([0]))[0, 0], PIXELS[0] // 2)


def test_the_cache_holds_no_names(folder, tmp_path):
    secret = folder / "a" / "miller_john.png"
    secret.write_bytes(b"no picture")
    cache = tmp_path / "cache"
    open_source(folder, preprocessing=WANTED, cache=cache, skip_bad=True)
    written = [p for p in cache.rglob("*") if p.is_file()]
    assert len(written) == 3
    for file in written:
        assert b"miller" not in file.read_bytes()
        assert "miller" not in str(file.relative_to(cache))


def test_bad_images_are_all_named_once_or_left_out(folder, tmp_path):
    for i in range(12):
        (folder / "b" / f"bad{i:02}.png").write_bytes(b"" if i % 2 else b"nothing")
    cache = tmp_path / "cache"
    for _ in range(2):  # decoded, then found in the store
        with pytest.raises(UnreadableImageError) as caught:
            open_source(folder, preprocessing=WANTED, cache=cache)
        said = str(caught.value)
        assert "12 of 18 images" in said
        assert "b/bad09.png: is empty (0 bytes)" in said
        assert "bad10" not in said
        assert "and 2 more" in said
        assert "--skip-bad" in said
    source = open_source(folder, preprocessing=WANTED, cache=cache, skip_bad=True)
    assert len(source) == len(source.index.paths) == 6
    assert np.array_equal(source.gather(np.arange(6)), PIXELS[[0, 2, 4, 1, 3, 5], None])
    assert [p.severity for p in source.index.problems] == ["warning"] * 12


def test_a_class_lost_with_its_images_is_said(folder, tmp_path):
    (folder / "c").mkdir()
    (folder / "c" / "x.png").write_bytes(b"x")
    source = open_source(folder, preprocessing=WANTED, cache=tmp_path / "c", skip_bad=True)
    assert source.index.class_names == ("a", "b")
    assert ("c", "no image of the class is left.") in [
        (p.where, p.what) for p in source.index.problems
    ]


def test_a_set_without_one_good_image_is_refused(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "x.png").write_bytes(b"x")
    with pytest.raises(UnreadableImageError, match="not one of its 1 images"):
        open_source(tmp_path / "set", preprocessing=WANTED, cache=tmp_path, skip_bad=True)


def test_what_lies_wrong_stops_learning_unless_skipped(folder, tmp_path):
    (folder / "a" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"a/notes\.txt: is not an image"):
        open_source(folder, preprocessing=WANTED, cache=tmp_path / "c")
    source = open_source(folder, preprocessing=WANTED, cache=tmp_path / "c", skip_bad=True)
    assert [(p.severity, p.where) for p in source.index.problems] == [("warning", "a/notes.txt")]


def test_a_manifest_of_nothing_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="no image"):
        open_source(tmp_path / "a.csv", preprocessing=WANTED, cache=tmp_path)
    (tmp_path / "a.csv").write_text("path,label\nx.png,a\n")
    with pytest.raises(ManifestError, match="row 2"):
        open_source(tmp_path / "a.csv", preprocessing=WANTED, cache=tmp_path)


@pytest.mark.parametrize("name", ["none", "none.npz", "none.csv", "a.txt"])
def test_what_is_no_source(tmp_path, name):
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"no such file|no source"):
        scan(tmp_path / name)


def test_without_a_cache_it_works_and_says_so(folder, tmp_path):
    (tmp_path / "file").touch()
    source = open_source(folder, preprocessing=WANTED, cache=tmp_path / "file")
    assert np.array_equal(source.gather(np.arange(6)), PIXELS[[0, 2, 4, 1, 3, 5], None])
    assert [p.where for p in source.index.problems] == ["cache"]
