"""Pixels of DICOM: equal to pydicom's in the scanner's units, and shown as the standard says."""

from __future__ import annotations

import gzip
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, convert_color_space
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEG2000Lossless, RLELossless

from medmeta.data import dicom_stored
from medmeta.data.dicom import dicom_values, looks_like_dicom, read_dicom_slice, scan_dicom
from medmeta.data.dicom_file import opened, read_header
from medmeta.data.dicom_stored import read_stored
from medmeta.data.dicom_syntax import syntax_name
from medmeta.data.scan import Scan
from medmeta.errors import UnreadableImageError
from tests.data.dicom_files import dicom

HU = {"Modality": "CT", "RescaleSlope": 2, "RescaleIntercept": -100}


def scan_of(path: Path) -> Scan:
    (scan,), _ = scan_dicom([path], root=path.parent, salt=b"0" * 32)
    return scan


def shown(path: Path, window: str | None = None) -> NDArray[np.uint8]:
    return read_dicom_slice(scan_of(path), 0, window=window)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_rescaled_values(dtype: Any, tmp_path: Path) -> None:
    pixels = np.arange(24).reshape(4, 6).astype(dtype)
    dicom(tmp_path / "it", pixels, **HU)
    assert np.array_equal(dicom_values(scan_of(tmp_path / "it"), 0), pixels * 2.0 - 100)


def test_a_window_in_numbers(tmp_path: Path) -> None:
    """Centre 50, width 100: units 0, 25, 50, 100 and 200 are 0, ¼, ½ and all of white."""
    pixels = np.array([[0, 50], [75, 100], [150, 62]], np.uint16)  # units -100, 0, 50, 100, 200, 24
    dicom(tmp_path / "it", pixels, **HU)
    assert shown(tmp_path / "it", "50,100").tolist() == [[0, 0], [128, 255], [255, 61]]


def test_the_files_own_window_is_dicoms_linear_function(tmp_path: Path) -> None:
    """PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) of white, here c 10 and w 21."""
    pixels = np.array([[0, 5, 10, 15, 20, 40]], np.uint16)
    dicom(tmp_path / "it", pixels, Modality="MR", WindowCenter=[10, 99], WindowWidth=[21, 5])
    wanted = [255 * min(1, max(0, (x - 9.5) / 20 + 0.5)) for x in (0, 5, 10, 15, 20, 40)]
    assert shown(tmp_path / "it")[0].tolist() == pytest.approx(wanted, abs=0.51)


def test_the_sigmoid_function(tmp_path: Path) -> None:
    own = {"WindowCenter": 8, "WindowWidth": 4, "VOILUTFunction": "SIGMOID", "Modality": "MR"}
    dicom(tmp_path / "it", np.array([[8, 9, 7]], np.uint16), **own)
    wanted = [255 / (1 + np.exp(-4 * x / 4)) for x in (0, 1, -1)]
    assert shown(tmp_path / "it")[0].tolist() == pytest.approx(wanted, abs=0.51)


def test_a_ct_without_a_window_is_shown_as_soft_tissue(tmp_path: Path) -> None:
    units = np.array([[-160, 40, 240, -1000, 3000]], np.int16)
    dicom(tmp_path / "it", units, Modality="CT", RescaleSlope=1, RescaleIntercept=0)
    assert shown(tmp_path / "it")[0].tolist() == [0, 128, 255, 0, 255]


def test_monochrome1_is_black_where_it_is_high(tmp_path: Path) -> None:
    pixels = np.array([[0, 255]], np.uint8)
    dicom(tmp_path / "it", pixels, Modality="DX", PhotometricInterpretation="MONOCHROME1")
    assert shown(tmp_path / "it").tolist() == [[255, 0]]


def test_a_window_for_another_modality_is_refused_by_name(tmp_path: Path) -> None:
    dicom(tmp_path / "it", np.zeros((4, 4), np.uint16), Modality="MR")
    with pytest.raises(
        UnreadableImageError, match=r"^it: the window lung is in Hounsfield units.*MR"
    ):
        shown(tmp_path / "it", "lung")


def test_padding_does_not_stretch_the_range(tmp_path: Path) -> None:
    pixels = np.full((10, 10), 60_000, np.uint16)
    pixels[:5] = np.arange(50).reshape(5, 10)
    dicom(tmp_path / "it", pixels, Modality="MR", PixelPaddingValue=60_000)
    assert shown(tmp_path / "it")[4, 9] == 255
    assert shown(tmp_path / "it")[2, 0] == pytest.approx(255 * 20 / 49, abs=3)


def test_colour_plane_by_plane(tmp_path: Path) -> None:
    colour = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    header = dicom(tmp_path / "it", colour, Modality="OT", PlanarConfiguration=1)
    header.PixelData = colour.transpose(2, 0, 1).tobytes()
    header.save_as(tmp_path / "it")
    assert np.array_equal(shown(tmp_path / "it"), colour)


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    ybr = convert_color_space(colour, "RGB", "YBR_FULL")
    dicom(tmp_path / "it", ybr, Modality="OT", PhotometricInterpretation="YBR_FULL")
    assert np.abs(shown(tmp_path / "it").astype(int) - colour).max() <= 2


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    tables = {}
    for number, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 8]
        tables[f"{name}PaletteColorLookupTableData"] = bytes(range(number * 10, number * 10 + 4))
    pixels = np.array([[0, 3]], np.uint8)
    palette = {"PhotometricInterpretation": "PALETTE COLOR", **tables}
    dicom(tmp_path / "it", pixels, Modality="US", **palette)
    assert shown(tmp_path / "it").tolist() == [[[0, 10, 20], [3, 13, 23]]]


def test_a_voi_table(tmp_path: Path) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 16])
    table.add_new("LUTData", "US", [0, 65535, 32768, 16384])
    dicom(tmp_path / "it", np.array([[0, 1, 2, 3]], np.uint16), Modality="DX",
          VOILUTSequence=[table])  # fmt: skip
    assert shown(tmp_path / "it")[0].tolist() == [0, 255, 128, 64]


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_packed_pixels_equal_what_was_packed(syntax: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, (32, 48)).astype(np.uint16)
    header = dicom(tmp_path / "it", pixels, Modality="MR", BitsStored=12, HighBit=11)
    header.compress(syntax)
    header.save_as(tmp_path / "it")
    assert np.array_equal(read_stored(tmp_path / "it").values, pixels)


@pytest.mark.parametrize(
    ("words", "signed", "values"),
    [
        ([0xC18, 0xE0C, 0x000, 0x1F4], True, [-1000, -500, 0, 500]),  # no sign in the unused bits
        ([0x1064, 0x0064, 0x8FFF, 0xF000], False, [100, 100, 4095, 0]),  # an overlay in them
    ],
)
def test_bits_that_are_not_the_picture_s(
    words: list[int], signed: bool, values: list[int], tmp_path: Path
) -> None:
    dicom(tmp_path / "it", np.array([words], np.uint16), BitsStored=12, HighBit=11,
          PixelRepresentation=int(signed), Modality="CT")  # fmt: skip
    assert read_stored(tmp_path / "it").values.tolist() == [values]
    assert pydicom.dcmread(tmp_path / "it").pixel_array.tolist() == [values]


def test_frames_that_differ_in_scale(tmp_path: Path) -> None:
    """An enhanced file: each frame has a slope of its own."""
    header = dicom(tmp_path / "it", np.ones((2, 4, 4), np.uint16), Modality="MR")
    groups = []
    for slope in (3, 5):
        scale = Dataset()
        scale.RescaleSlope, scale.RescaleIntercept = slope, 1
        frame = Dataset()
        frame.PixelValueTransformationSequence = [scale]
        groups.append(frame)
    header.PerFrameFunctionalGroupsSequence = groups
    header.save_as(tmp_path / "it")
    scan = scan_of(tmp_path / "it")
    assert [float(dicom_values(scan, i)[0, 0]) for i in (0, 1)] == [4.0, 6.0]


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_is_read_once_for_all_frames(
    packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.arange(5 * 12, dtype=np.uint16).reshape(5, 3, 4)
    dicom(tmp_path / "it", frames, Modality="MR")
    if packed:
        (tmp_path / "it").write_bytes(gzip.compress((tmp_path / "it").read_bytes()))
    scan, times = scan_of(tmp_path / "it"), []
    monkeypatch.setattr(dicom_stored, "read_header", lambda f: times.append(1) or read_header(f))
    for number in (3, 0, 4, 1, 2):
        assert np.array_equal(dicom_values(scan, number), frames[number])
    assert len(times) == 1
    dicom(tmp_path / "it", frames[:, :2] + 1, Modality="MR")  # changed meanwhile
    assert np.array_equal(dicom_values(scan, 2), frames[2, :2] + 1)


def test_short_pixels_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    dicom(tmp_path / "it", np.zeros((4, 4), np.uint16), Rows=9000, Columns=9000)
    with pytest.raises(UnreadableImageError, match=r"^it: is cut short"):
        shown(tmp_path / "it")
    dicom(tmp_path / "big", np.zeros((4, 4), np.uint16), Rows=60_000, Columns=60_000)
    with pytest.raises(UnreadableImageError, match=r"^big: says it has more than the 100 megap"):
        shown(tmp_path / "big")


@pytest.mark.parametrize(
    ("syntax", "says"),
    [
        (b"1.2.840.10008.9.9.9\0", "transfer syntax, 1.2.840.10008.9.9.9"),
        (b"1.2.826.0.1.9.9.99\0\0", r"transfer syntax\)"),
    ],
)
def test_an_unknown_packing_is_refused(syntax: bytes, says: str, tmp_path: Path) -> None:
    dicom(tmp_path / "it", np.zeros((4, 4), np.uint16))
    content = (tmp_path / "it").read_bytes()
    (tmp_path / "it").write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", syntax))
    (problem,) = scan_dicom([tmp_path / "it"], root=tmp_path, salt=b"0" * 32)[1]
    assert re.search(says, problem.what)
    with pytest.raises(UnreadableImageError, match=rf"^it: .*{says}"):
        dicom_values(Scan("dicom", "it", (tmp_path / "it",), 1, (4, 4)), 0)


def test_a_video_is_refused_as_one() -> None:
    with pytest.raises(UnreadableImageError, match=r"is a video \(MPEG\)"):
        syntax_name("1.2.840.10008.1.2.4.103")


def test_every_real_file_equals_pydicom_or_is_refused(shared_data: Path) -> None:
    """Of each file's first picture: what pydicom reads is read, with the same numbers."""
    read = 0
    for path in sorted((shared_data / "dicom").rglob("*")):
        if not path.is_file() or not looks_like_dicom(path):
            continue
        wanted = _by_pydicom(path)
        scan = Scan("dicom", path.name, (path,), 1, (1, 1))
        if wanted is None:
            with pytest.raises(UnreadableImageError, match=re.escape(path.name)):
                dicom_values(scan, 0)
            continue
        assert np.array_equal(dicom_values(scan, 0), wanted), path.name
        picture = read_dicom_slice(scan, 0)
        assert (picture.dtype, picture.shape[:2]) == (np.uint8, wanted.shape[:2])
        read += 1
    assert read >= 90


def _by_pydicom(path: Path) -> NDArray[Any] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with opened(path) as file:
                header = pydicom.dcmread(file, force=True)
            values: NDArray[Any] = pixel_array(header, index=0)
            return values if values.ndim == 3 else apply_modality_lut(values, header)
        except Exception:  # whatever pydicom raises: it does not read this file
            return None
