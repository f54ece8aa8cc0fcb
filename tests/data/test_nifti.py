"""NIfTI files that the tests write, held against nibabel's own canonical arrays."""

import gzip
import itertools

import nibabel
import numpy as np
import pytest

from medmeta.data.index import Problem
from medmeta.data.nifti import (
    nifti_values,
    read_nifti_slice,
    read_nifti_slices,
    scan_nifti,
    slice_count,
)
from medmeta.data.nifti_header import is_body, is_nifti
from medmeta.data.scan import Scan
from medmeta.errors import UnreadableImageError

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
TURNED = np.array([[0, -2.0, 0, 5], [0, 0, 3.0, -7], [1.5, 0, 0, 2], [0, 0, 0, 1]])


def written(path, values, affine=TURNED, *, change=None, kind=nibabel.Nifti1Image):
    image = kind(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    if change is not None:  # after nibabel has written it, for it mends what is odd
        packed = path.suffix == ".gz"
        whole = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        header = image.header.__class__(whole[:348], check=False)
        change(header)
        whole = header.binaryblock + whole[348:]
        path.write_bytes(gzip.compress(whole) if packed else whole)
    return path


def scanned(path):
    found = scan_nifti(path, root=path.parent)
    assert isinstance(found, Scan), found
    return found


def refused(path):
    """Why a file is refused: by its header, or when its middle slice is read."""
    found = scan_nifti(path, root=path.parent)
    if isinstance(found, Problem):
        return found.what
    with pytest.raises(UnreadableImageError) as error:
        read_nifti_slice(found, found.n_slices // 2)
    assert str(error.value).startswith(f"{path.name}: ")
    return str(error.value)


def as_shown(path, plane, number, time_point=1):
    """A slice from nibabel's whole array: right and front first, so flipped both ways."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    values = image.get_fdata()
    values = values[..., time_point - 1] if values.ndim == 4 else values
    return values.take(number, axis=PLANES[plane])[::-1, ::-1].T


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_values_are_nibabels_whatever_the_axes(tmp_path, axes, suffix):
    random = np.random.default_rng(sum(axes))
    affine = np.zeros((4, 4))
    affine[:3, 3], affine[3, 3] = (10, -20, 30), 1
    for file_axis, axis in enumerate(axes):
        affine[axis, file_axis] = (2.0, -3.0, 1.5)[file_axis]
    affine[:3, :3] += random.uniform(-0.2, 0.2, (3, 3))  # oblique
    values = random.integers(-900, 900, (5, 7, 6)).astype(np.int16)

    def scale(header):
        header.set_slope_inter(0.5, -3)

    path = written(tmp_path / f"a{suffix}", values, affine, change=scale)
    scan = scanned(path)
    for plane in PLANES:
        for number in range(slice_count(scan, plane)):
            (got,) = nifti_values(scan, [number], plane=plane)
            assert np.array_equal(got, as_shown(path, plane, number))
    canonical = nibabel.as_closest_canonical(nibabel.load(path))
    assert (*scan.shape[::-1], scan.n_slices) == canonical.shape
    assert np.allclose(scan.spacing, canonical.header.get_zooms()[::-1], atol=1e-5)


def test_the_patients_right_is_on_the_left(tmp_path):
    """A voxel far right, in front and on top, found by its millimetres."""
    values = np.zeros((9, 11, 5), np.uint8)
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])  # the file's first axis runs to the left
    affine[:3, 3] = (8, -10, -6)
    right_front_top = np.round(np.linalg.inv(affine) @ (8, 10, 6, 1)).astype(int)[:3]
    values[tuple(right_front_top)] = 200
    scan = scanned(written(tmp_path / "a.nii", values, affine))
    assert read_nifti_slice(scan, scan.n_slices - 1)[0, 0] == 255
    assert read_nifti_slice(scan, 10, plane="coronal")[0, 0] == 255
    assert read_nifti_slice(scan, 8, plane="sagittal")[0, 0] == 255


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair])
def test_every_kind_of_number(tmp_path, dtype, kind):
    values = np.random.default_rng(1).integers(-100, 100, (4, 5, 3))
    values = (values + 100 if dtype[-2] == "u" else values).astype(dtype)
    end = "hdr" if kind is nibabel.Nifti1Pair else "nii"
    path = written(tmp_path / f"a.{end}", values, kind=kind)
    assert np.array_equal(nifti_values(scanned(path), [1])[0], as_shown(path, "axial", 1))


def test_a_named_volume_of_four_axes(tmp_path):
    values = np.random.default_rng(2).normal(size=(4, 5, 3, 6)).astype(np.float32)
    path = written(tmp_path / "a.nii.gz", values)
    scan = scanned(path)
    assert "holds 6 volumes" in scan.problems[0].what
    for time_point in (1, 4, 6):
        (got,) = nifti_values(scan, [2], time_point=time_point)
        assert np.array_equal(got, as_shown(path, "axial", 2, time_point))
    with pytest.raises(UnreadableImageError, match="no number 7"):
        nifti_values(scan, [2], time_point=7)


def test_a_header_pair_is_one_volume(tmp_path):
    path = written(tmp_path / "a.hdr", np.ones((4, 5, 3), np.uint8), kind=nibabel.Nifti1Pair)
    body = path.with_suffix(".img")
    assert scanned(path).files == (path, body)
    assert is_nifti(path)
    assert is_body(body)
    assert not is_body(path)
    body.unlink()
    assert "without its voxels" in refused(path)


def test_one_range_for_the_whole_volume(tmp_path):
    values = np.zeros((10, 10, 4), np.int16)
    values[..., 1], values[..., 3] = 500, 1000
    path = written(tmp_path / "a.nii", values, np.eye(4))
    found = read_nifti_slices(scanned(path), (0, 1, 3))
    assert [int(p[0, 0]) for p in found.pixels] == [0, 128, 255]


def test_the_files_own_range_and_a_named_window(tmp_path):
    values = np.full((6, 6, 3), 60, np.int16)

    def show(header):
        header["cal_min"], header["cal_max"] = 20, 100

    scan = scanned(written(tmp_path / "a.nii", values, np.eye(4), change=show))
    assert (read_nifti_slice(scan, 1) == 128).all()  # (60 - 20) / 80
    # The brain window is 80 wide around 40: from 0 to 80.
    assert (read_nifti_slice(scan, 1, window="brain") == 191).all()


def test_label_maps_are_known(tmp_path):
    labels = np.zeros((20, 20, 4), np.uint8)
    labels[4:10, 4:10], labels[10:16, 10:16] = 1, 2
    image = np.random.default_rng(0).integers(0, 200, (20, 20, 4)).astype(np.uint8)
    for name, values, expected in (("l", labels, "label map"), ("i", image, "image")):
        scan = scanned(written(tmp_path / f"{name}.nii", values))
        assert read_nifti_slices(scan, (1,)).look == expected

    def named(header):
        header.set_intent("label")

    scan = scanned(written(tmp_path / "n.nii", labels, change=named))
    assert "label map" in scan.problems[0].what


def test_colours(tmp_path):
    colours = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    values = np.zeros((4, 5, 3), colours)
    values["R"], values["B"] = 200, np.arange(3)
    scan = scanned(written(tmp_path / "a.nii", values, np.eye(4)))
    assert scan.photometric == "RGB"
    assert read_nifti_slice(scan, 2)[0, 0].tolist() == [200, 0, 2]


def test_what_is_no_number_is_black(tmp_path):
    values = np.full((4, 5, 3), 7, np.float32)
    values[0], values[1] = np.nan, -7
    scan = scanned(written(tmp_path / "a.nii", values, np.eye(4)))
    assert read_nifti_slice(scan, 1)[0].tolist() == [255, 255, 0, 0]
    path = written(tmp_path / "b.nii", np.full((4, 5, 3), np.nan, np.float32))
    assert "only NaN" in refused(path)
    with pytest.raises(UnreadableImageError, match="only NaN"):
        read_nifti_slice(scanned(path), 1, window="40,400")


def test_how_it_lies_may_be_unknown(tmp_path):
    def unplaced(header):
        header["qform_code"] = header["sform_code"] = 0

    path = written(tmp_path / "a.nii", np.ones((4, 5, 3), np.uint8), change=unplaced)
    assert "left and right" in scanned(path).problems[0].what


def _singular(header):
    header["srow_x"] = header["srow_y"]


@pytest.mark.parametrize(
    ("values", "change", "says"),
    [
        (np.ones((4, 5, 3, 2, 2), np.uint8), None, "has 5 axes (4 × 5 × 3 × 2 × 2)"),
        (np.ones((4, 5, 3), np.uint8), _singular, "affine that is singular"),
        (np.ones((4, 5, 3), np.complex64), None, "complex numbers"),
        (np.ones((1, 5, 3), np.uint8), None, "1 × 5 voxels"),
    ],
)
def test_what_is_refused_by_its_header(tmp_path, values, change, says):
    path = written(tmp_path / "a.nii", values, change=change)
    assert says in refused(path)


def test_a_fifth_axis_of_one_is_none(tmp_path):
    path = written(tmp_path / "a.nii", np.ones((4, 5, 3, 1, 1), np.uint8))
    assert scanned(path).n_slices == 4  # the file's first axis runs upwards


def test_sizes_that_the_file_does_not_hold(tmp_path):
    path = written(tmp_path / "a.nii", np.ones((40, 50, 30), np.int16))
    whole = path.read_bytes()
    (tmp_path / "cut.nii").write_bytes(whole[:-1000])
    assert "cut short" in refused(tmp_path / "cut.nii")
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(whole)[:-30])
    assert "cut short" in refused(tmp_path / "cut.nii.gz")
    (tmp_path / "short.nii.gz").write_bytes(gzip.compress(whole[:-5000]))
    assert "cut short" in refused(tmp_path / "short.nii.gz")
    (tmp_path / "plain.nii.gz").write_bytes(whole)
    assert "not packed" in refused(tmp_path / "plain.nii.gz")
    (tmp_path / "head.nii").write_bytes(whole[:300])
    assert "cut short" in refused(tmp_path / "head.nii")
    (tmp_path / "empty.nii").write_bytes(b"")
    assert "empty" in refused(tmp_path / "empty.nii")
    (tmp_path / "text.nii").write_bytes(b"no volume at all " * 100)
    assert "no NIfTI" in refused(tmp_path / "text.nii")


@pytest.mark.parametrize("sides", [(32767, 32767, 32767), (2000, 2000, 100), (0, 5, 5), (-3, 5, 5)])
def test_declared_sizes_are_bounded_before_anything_is_allocated(tmp_path, sides):
    def grow(header):
        header["dim"][1:4] = sides

    for name in ("a.nii", "a.nii.gz"):
        said = refused(written(tmp_path / name, np.ones((4, 5, 3), np.int16), change=grow))
        assert any(t in said for t in ("more than are read", "cut short", "can hold", "no voxels"))


@pytest.mark.parametrize("plane", list(PLANES))
@pytest.mark.parametrize("window", ["file", "100,400"])
def test_many_slices_are_those_that_are_read_one_by_one(tmp_path, plane, window):
    values = np.random.default_rng(3).integers(-100, 300, (21, 22, 23)).astype(np.int16)
    scan = scanned(written(tmp_path / "a.nii.gz", values))
    numbers = range(slice_count(scan, plane))
    many = read_nifti_slices(scan, numbers, window=window, plane=plane).pixels
    for number in numbers:
        one = read_nifti_slice(scan, number, window=window, plane=plane)
        assert np.array_equal(many[number], one)


def test_a_scale_that_is_no_number(tmp_path):
    path = written(tmp_path / "a.nii", np.ones((4, 5, 3), np.int16))
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([2.0, np.nan], "<f4").tobytes()  # scl_slope and scl_inter
    path.write_bytes(content)
    assert "no number" in refused(path)
