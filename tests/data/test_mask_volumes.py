"""Masks of volumes: round trips through NIfTI and DICOM SEG, contours, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medmeta.data import nifti
from medmeta.data.mask_sources import open_mask_source
from medmeta.data.mask_volumes import read_volume_mask
from medmeta.data.mask_writers import write_nifti_mask, write_segmentation
from medmeta.data.medical import find_scans
from medmeta.data.nifti import read_nifti_slices, scan_nifti, shown_to_stored
from medmeta.data.nifti_header import read_header
from medmeta.data.preprocess import Preprocessing
from medmeta.data.scan import Scan
from medmeta.errors import DataError
from tests.data.dicom_files import FACING_UP, dicom

AS_IS = Preprocessing(size=16)
SHAPE = (7, 6, 5)
# Axes swapped, flipped and oblique by a little.
AFFINES = [
    np.diag([2.0, 1.5, 3.0, 1.0]),
    np.array([[0, -2, 0, 5], [1.5, 0, 0, -3], [0, 0, -3, 9], [0, 0, 0, 1.0]]),
    np.array([[0, 0, 2.0, 1], [0.1, -1.5, 0, 2], [3.0, 0.1, 0, 3], [0, 0, 0, 1]]),
]


def _volume(path: Path, affine: NDArray[Any]) -> Scan:
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    scan = scan_nifti(path, root=path.parent)
    assert isinstance(scan, Scan)
    return scan


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_slice_goes_back_to_where_it_came_from(tmp_path: Path, number: int, plane: str) -> None:
    labels = np.random.default_rng(1).integers(0, 200, SHAPE).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, AFFINES[number]), tmp_path / "a.nii.gz")
    scan = scan_nifti(tmp_path / "a.nii.gz", root=tmp_path)
    assert isinstance(scan, Scan)
    cut = {"axial": scan.n_slices, "coronal": scan.shape[0], "sagittal": scan.shape[1]}
    found = read_nifti_slices(
        scan, range(cut[plane]), window="127.5,255", plane=plane,  # type: ignore[arg-type]
    )  # fmt: skip
    back = shown_to_stored(read_header(scan.files[0]), np.stack(found.pixels), plane=plane)
    np.testing.assert_array_equal(back, labels)


@pytest.mark.parametrize("number", range(3))
def test_nifti_there_and_back(tmp_path: Path, number: int) -> None:
    scan = _volume(tmp_path / "image.nii.gz", AFFINES[number])
    mask = np.random.default_rng(2).integers(0, 3, (scan.n_slices, *scan.shape)).astype(np.uint8)
    write_nifti_mask(tmp_path / "mask.nii.gz", scan, mask)
    written = nibabel.load(tmp_path / "mask.nii.gz")  # the independent reader
    np.testing.assert_allclose(written.affine, nibabel.load(tmp_path / "image.nii.gz").affine)
    assert written.shape == SHAPE
    assert sorted(np.unique(written.dataobj)) == [0, 1, 2]
    again = read_volume_mask(tmp_path / "mask.nii.gz", scan, AS_IS)
    np.testing.assert_array_equal(again.slices, mask)


def test_a_label_map_elsewhere_is_refused(tmp_path: Path) -> None:
    scan = _volume(tmp_path / "image.nii.gz", AFFINES[0])
    labels = np.zeros(SHAPE, dtype=np.uint8)
    moved = AFFINES[0].copy()
    moved[0, 3] = 4
    nibabel.save(nibabel.Nifti1Image(labels, moved), tmp_path / "moved.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels[1:], AFFINES[0]), tmp_path / "cut.nii.gz")
    half = np.full(SHAPE, 0.5, dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(half, AFFINES[0]), tmp_path / "half.nii.gz")
    for name, said in (("moved", "affine"), ("cut", "voxels"), ("half", "not whole")):
        with pytest.raises(DataError, match=said):
            read_volume_mask(tmp_path / f"{name}.nii.gz", scan, AS_IS)


def _series(folder: Path) -> Scan:
    frame = generate_uid()
    random = np.random.default_rng(3)
    for number in range(4):
        dicom(
            folder / f"{number}.dcm", random.integers(0, 900, (12, 10)).astype(np.int16),
            ImagePositionPatient=[-10.0, 4.0, 2.5 * number], ImageOrientationPatient=FACING_UP,
            PixelSpacing=[0.8, 0.6], SliceThickness=2.5, RescaleSlope=1, RescaleIntercept=0,
            InstanceNumber=number + 1, FrameOfReferenceUID=frame, PatientSex="F", StudyID="1",
            StudyDate="20200101", StudyTime="101010", AccessionNumber="7",
            ReferringPhysicianName="", SeriesNumber=1, PositionReferenceIndicator="",
            StudyInstanceUID="1.2.3.4",
        )  # fmt: skip
    scans, problems = find_scans(sorted(folder.iterdir()), root=folder)
    assert not problems
    return scans[0]


def test_dicom_seg_there_and_back(tmp_path: Path) -> None:
    scan = _series(tmp_path / "ct")
    mask = np.zeros((4, 12, 10), dtype=np.uint8)
    mask[1, 2:6, 3:7], mask[2, 3:8, 1:4] = 1, 2
    write_segmentation(tmp_path / "seg.dcm", scan, mask, ["liver", "tumour"])
    again = read_volume_mask(tmp_path / "seg.dcm", scan, AS_IS)
    assert again.names == {1: "liver", 2: "tumour"}
    np.testing.assert_array_equal(again.slices, mask)
    header = pydicom.dcmread(tmp_path / "seg.dcm")  # the independent reader
    assert header.SegmentationType == "BINARY"
    assert (header.Rows, header.Columns) == (12, 10)
    assert [s.SegmentLabel for s in header.SegmentSequence] == ["liver", "tumour"]
    referred = {
        str(item.ReferencedSOPInstanceUID)
        for item in header.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referred == {str(pydicom.dcmread(file).SOPInstanceUID) for file in scan.files}
    assert header.pixel_array.sum() == (mask > 0).sum()
    measures = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(v) for v in measures.PixelSpacing] == [0.8, 0.6]


def test_a_segmentation_of_other_images_is_refused(tmp_path: Path) -> None:
    scan, other = _series(tmp_path / "ct"), _series(tmp_path / "other")
    mask = np.ones((4, 12, 10), dtype=np.uint8)
    write_segmentation(tmp_path / "seg.dcm", other, mask, ["liver"])
    with pytest.raises(DataError, match="other images"):
        read_volume_mask(tmp_path / "seg.dcm", scan, AS_IS)
    with pytest.raises(DataError, match="nothing is marked"):
        write_segmentation(tmp_path / "none.dcm", scan, 0 * mask, ["liver"])
    assert not (tmp_path / "none.dcm").exists()


def _structures(path: Path, contours: list[list[float]], **others: list[list[float]]) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.Modality = meta.MediaStorageSOPClassUID, "RTSTRUCT"
    header.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    header.StructureSetROISequence, header.ROIContourSequence = Sequence(), Sequence()
    for number, (name, lines) in enumerate({"heart": contours, **others}.items(), start=5):
        named, drawn = Dataset(), Dataset()
        named.ROINumber, named.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        for points in lines:
            one = Dataset()
            one.ContourGeometricType, one.ContourData = "CLOSED_PLANAR", points
            one.NumberOfContourPoints = len(points) // 3
            drawn.ContourSequence.append(one)
        header.StructureSetROISequence.append(named)
        header.ROIContourSequence.append(drawn)
    header.save_as(path, enforce_file_format=True)
    return path


def _square(height: float, low: float, high: float) -> list[float]:
    """A square in pixels of the series, as points in mm."""
    corners = [(low, low), (high, low), (high, high), (low, high)]
    return [v for x, y in corners for v in (-10 + 0.6 * x, 4 + 0.8 * y, height)]


def test_contours_mark_the_pixels_whose_middles_they_hold(tmp_path: Path) -> None:
    scan = _series(tmp_path / "ct")
    path = _structures(tmp_path / "rt.dcm", [_square(2.5, 1.5, 6.5), _square(2.5, 2.5, 4.5)])
    found = read_volume_mask(path, scan, AS_IS)
    wanted = np.zeros((4, 12, 10), dtype=int)
    wanted[1, 2:7, 2:7] = 1
    wanted[1, 3:5, 3:5] = 0  # the second contour is a hole
    assert found.names == {1: "heart"}
    np.testing.assert_array_equal(found.slices, wanted)


def test_the_smaller_of_two_structures_keeps_what_they_share(tmp_path: Path) -> None:
    scan = _series(tmp_path / "ct")
    inner, outer = _square(2.5, 2.5, 4.5), _square(2.5, 1.5, 6.5)
    path = _structures(tmp_path / "rt.dcm", [inner], body=[outer])
    found = read_volume_mask(path, scan, AS_IS)
    assert found.names == {1: "heart", 2: "body"}
    wanted = np.zeros((12, 10), dtype=int)
    wanted[2:7, 2:7] = 2
    wanted[3:5, 3:5] = 1
    np.testing.assert_array_equal(found.slices[1], wanted)
    assert "structures overlap" in found.note
    assert "body by 16%" in found.note  # 4 of 25 pixels
    alike = _structures(tmp_path / "same.dcm", [inner], body=[inner])
    with pytest.raises(DataError, match="nothing left of 'heart'"):
        read_volume_mask(alike, scan, AS_IS)


def test_a_label_map_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = _volume(tmp_path / "v.nii.gz", np.eye(4))
    mask = nibabel.load(tmp_path / "v.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(np.ones(mask.shape, np.uint8), np.eye(4)), tmp_path / "m.nii.gz"
    )
    passes: list[int] = []
    plain = nifti.blocks
    monkeypatch.setattr(nifti, "blocks", lambda *given: passes.append(1) or plain(*given))
    for plane in ("axial", "sagittal"):
        found = read_volume_mask(
            tmp_path / "m.nii.gz", scan, AS_IS.model_copy(update={"plane": plane})
        )
        assert (found.slices == 1).all()
    assert len(passes) == 2


@pytest.mark.parametrize(
    ("contour", "said"),
    [(_square(40.0, 2, 6), "off the nearest slice"), (_square(2.5, 2, 60), "runs out")],
)
def test_contours_off_the_grid_are_refused(tmp_path: Path, contour: list[float], said: str) -> None:
    scan = _series(tmp_path / "ct")
    with pytest.raises(DataError, match=said):
        read_volume_mask(_structures(tmp_path / "rt.dcm", [contour]), scan, AS_IS)


def test_slices_that_are_marked_are_learned_from(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    values = np.random.default_rng(0).integers(0, 99, (16, 16, 20)).astype(np.int16)
    label = np.zeros((16, 16, 20), dtype=np.uint8)
    label[4:9, 4:9, 1:5] = 1  # near the lower end, far from the middle half
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "set" / "images" / "v.nii.gz")
    nibabel.save(nibabel.Nifti1Image(label, affine), tmp_path / "set" / "masks" / "v.nii.gz")
    for slices, wanted in ((1, [3]), (2, [2, 4]), (4, [1, 2, 3, 4]), (6, [1, 2, 3, 4, 7, 12])):
        shape = Preprocessing(size=16, channels=1, slices=slices)
        source = open_mask_source(tmp_path / "set", preprocessing=shape, cache=tmp_path / "cache")
        assert source.index.array_rows.tolist() == wanted
        assert source.masks is not None
        marked = source.gather_masks(np.arange(len(source))).any((1, 2)).tolist()
        assert marked == [1 <= number <= 4 for number in wanted]
        scan = _found(tmp_path / "set" / "images" / "v.nii.gz")
        for row, number in enumerate(wanted):
            (shown,) = read_nifti_slices(scan, [number]).pixels
            np.testing.assert_array_equal(source.gather(np.array([row]))[0, 0], shown)
    label[:] = 0  # the same slices as of any volume, and not those of the cache
    nibabel.save(nibabel.Nifti1Image(label, affine), tmp_path / "set" / "masks" / "v.nii.gz")
    plain = Preprocessing(size=16, channels=1)
    empty = open_mask_source(tmp_path / "set", preprocessing=plain, cache=tmp_path / "cache")
    assert empty.index.array_rows.tolist() == [10]


def _found(path: Path) -> Scan:
    scan = scan_nifti(path, root=path.parent)
    assert isinstance(scan, Scan)
    return scan
