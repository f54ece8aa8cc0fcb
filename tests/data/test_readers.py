import contextlib
import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from medmeta.data.readers import ReadLimits, read_image
from medmeta.errors import UnreadableImageError

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
grey8 = arrays(np.uint8, (5, 7))
grey16 = arrays(np.uint16, (5, 7))
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write_png16(path, pixels, *, colour_type, extra=b""):
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_tiff(path, pixels, *, order="<", photometric=1, sample_format=1, planar=1):
    """Write a plain TIFF of one strip (or one for each plane), by hand from TIFF 6.0."""
    height, width, samples = (*pixels.shape, 1)[:3]
    planes = pixels.transpose(2, 0, 1) if planar == 2 else pixels
    data = planes.astype(pixels.dtype.newbyteorder(order)).tobytes()
    n_strips = samples if planar == 2 else 1
    strip = len(data) // n_strips
    where = 8 + len(data)
    arrays_after = b""
    entries = []

    def entry(tag, kind, values):
        nonlocal arrays_after
        body = struct.pack(order + {3: "H", 4: "I"}[kind] * len(values), *values)
        if len(body) > 4:
            offset = where + len(arrays_after)
            arrays_after += body + b"\0" * (len(body) % 2)
            body = struct.pack(order + "I", offset)
        entries.append(struct.pack(order + "HHI", tag, kind, len(values)) + body.ljust(4, b"\0"))

    entry(256, 4, [width])
    entry(257, 4, [height])
    entry(258, 3, [pixels.dtype.itemsize * 8] * samples)
    entry(259, 3, [1])
    entry(262, 3, [photometric])
    entry(273, 4, [8 + i * strip for i in range(n_strips)])
    entry(277, 3, [samples])
    entry(278, 4, [height])
    entry(279, 4, [strip] * n_strips)
    entry(284, 3, [planar])
    entry(339, 3, [sample_format] * samples)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(
        order + "I", where + len(arrays_after)
    )
    table = struct.pack(order + "H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    path.write_bytes(start + data + arrays_after + table)


def scaled(values, bits):
    return np.floor(values.astype(np.float64) * 255 / (2**bits - 1) + 0.5)


# What is read


@in_one_folder
@given(grey8)
def test_16_bit_of_257_times_8_bit_reads_as_the_8_bit(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "8.png")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "16.png")
    eight, sixteen = read_image(tmp_path / "8.png"), read_image(tmp_path / "16.png")
    assert np.array_equal(eight.pixels, pixels)
    assert np.array_equal(sixteen.pixels, pixels)
    assert (eight.bit_depth, sixteen.bit_depth) == (8, 16)


@in_one_folder
@given(grey16, st.sampled_from([8, 12, 16]), st.sampled_from(["png", "tiff"]))
def test_full_range_is_the_smallest_that_holds_the_maximum(tmp_path, pixels, bits, kind):
    pixels = pixels >> (16 - bits)
    pixels[0, 0], pixels[0, 1] = 2**bits - 1, 1
    Image.fromarray(pixels).save(tmp_path / f"a.{kind}")
    read = read_image(tmp_path / f"a.{kind}")
    assert read.bit_depth == bits
    assert np.array_equal(read.pixels, scaled(pixels, bits))


@in_one_folder
@given(arrays(np.uint16, (5, 7, 3)), st.sampled_from([12, 16]))
def test_16_bit_colour_png_keeps_both_bytes(tmp_path, pixels, bits):
    pixels = pixels >> (16 - bits)
    pixels[0, 0] = 2**bits - 1, 1, 2
    write_png16(tmp_path / "a.png", pixels, colour_type=2)
    read = read_image(tmp_path / "a.png")
    assert read.bit_depth == bits
    assert np.array_equal(read.pixels, scaled(pixels, bits))


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_colour_tiff_in_both_byte_orders(tmp_path, order):
    pixels = RNG.integers(0, 4096, (9, 7, 3)).astype(np.uint16)
    pixels[0, 0, 0] = 4095
    write_tiff(tmp_path / "a.tif", pixels, order=order, photometric=2)
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, scaled(pixels, 12))


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_tiff_in_both_byte_orders(tmp_path, order):
    pixels = RNG.integers(0, 65536, (9, 7)).astype(np.uint16)
    write_tiff(tmp_path / "a.tif", pixels, order=order)
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, scaled(pixels, 16))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_that_counts_from_white_is_turned_over(tmp_path, dtype):
    pixels = RNG.integers(0, 256, (9, 7)).astype(dtype) * (np.iinfo(dtype).max // 255)
    write_tiff(tmp_path / "a.tif", pixels.astype(dtype), photometric=0)
    assert np.array_equal(
        read_image(tmp_path / "a.tif").pixels, 255 - pixels // (np.iinfo(dtype).max // 255)
    )


def test_16_bit_grey_with_alpha_is_laid_over_black(tmp_path):
    pixels = RNG.integers(0, 65536, (9, 7, 2)).astype(np.uint16)
    pixels[0, 0] = 65535, 65535
    write_png16(tmp_path / "a.png", pixels, colour_type=4)
    laid = np.rint(pixels[..., 0].astype(float) * pixels[..., 1] / 65535)
    assert abs(read_image(tmp_path / "a.png").pixels - scaled(laid, 16)).max() <= 1


def test_16_bit_colour_with_alpha_is_laid_over_black(tmp_path):
    pixels = RNG.integers(0, 65536, (9, 7, 4)).astype(np.uint16)
    pixels[0, 0] = 65535
    write_png16(tmp_path / "a.png", pixels, colour_type=6)
    laid = np.rint(pixels[..., :3].astype(float) * pixels[..., 3:] / 65535)
    assert abs(read_image(tmp_path / "a.png").pixels - scaled(laid, 16)).max() <= 1


def test_16_bit_transparent_colour_becomes_black(tmp_path):
    pixels = np.full((4, 4, 3), 50_000, np.uint16)
    pixels[0] = 1000, 2000, 60_000
    key = chunk(b"tRNS", struct.pack(">HHH", 1000, 2000, 60_000))
    write_png16(tmp_path / "a.png", pixels, colour_type=2, extra=key)
    read = read_image(tmp_path / "a.png").pixels
    assert read[0].tolist() == [0] * 4
    assert read[1:].min() > 190


def test_32_bit_whole_numbers(tmp_path):
    pixels = np.array([[0, 2**20 - 1], [2**19, 70_000]], np.int32)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif")
    assert (read.mode, read.bit_depth) == ("I", 20)
    assert read.pixels.tolist() == [[0, 255], [128, 17]]


def test_floats_go_from_minimum_to_maximum(tmp_path):
    Image.fromarray(np.array([[-1.0, 0.0], [0.5, 3.0]], np.float32)).save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif")
    assert read.pixels.tolist() == [[0, 64], [96, 255]]
    assert read.bit_depth == 32


def test_floats_that_are_all_equal_are_black(tmp_path):
    Image.fromarray(np.full((3, 3), 0.7, np.float32)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").pixels.max() == 0


@pytest.mark.parametrize("kind", ["png", "tif", "bmp", "webp", "ppm"])
def test_8_bit_colour_is_read_exactly(tmp_path, kind):
    options = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(COLOUR).save(tmp_path / f"a.{kind}", **options)
    read = read_image(tmp_path / f"a.{kind}")
    assert np.array_equal(read.pixels, COLOUR)
    assert (read.size, read.bit_depth) == ((9, 7), 8)


def test_one_bit(tmp_path):
    bits = COLOUR[..., 0] > 127
    Image.fromarray(bits).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert np.array_equal(read.pixels, bits * 255)
    assert read.bit_depth == 1


def test_palette_of_colours(tmp_path):
    picture = Image.fromarray(COLOUR).quantize(63)
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, np.asarray(picture.convert("RGB")))


def test_palette_of_greys_is_grey(tmp_path):
    picture = Image.fromarray(COLOUR[..., 0]).convert("P")
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, COLOUR[..., 0])


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128])])
def test_palette_with_transparency_is_laid_over_black(tmp_path, transparency):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    picture.putpalette([200, 100, 0, 10, 20, 30, 100, 50, 255])
    picture.save(tmp_path / "a.png", transparency=transparency)
    last = [100, 50, 255] if transparency == 1 else [50, 25, 128]
    assert read_image(tmp_path / "a.png").pixels.tolist() == [[[200, 100, 0], [0, 0, 0], last]]


def test_alpha_is_laid_over_black(tmp_path):
    alpha = RNG.integers(0, 256, (9, 7, 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([COLOUR, alpha], 2)).save(tmp_path / "rgba.png")
    Image.fromarray(np.concatenate([COLOUR[..., :1], alpha], 2), "LA").save(tmp_path / "la.png")
    laid = np.floor(COLOUR.astype(float) * alpha / 255 + 0.5)
    assert np.array_equal(read_image(tmp_path / "rgba.png").pixels, laid)
    assert np.array_equal(read_image(tmp_path / "la.png").pixels, laid[..., 0])


def test_cmyk(tmp_path):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.tif")
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, COLOUR)


def test_ycbcr(tmp_path):
    Image.new("RGB", (8, 8), (200, 40, 90)).convert("YCbCr").save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif").pixels[0, 0].astype(int)
    assert abs(read - [200, 40, 90]).max() <= 3


@pytest.mark.parametrize(("lightness", "grey"), [(255, 255), (0, 0), (137, 128)])
def test_lab(tmp_path, lightness, grey):
    neutral = (lightness, 128, 128)  # a* and b* of nought; L* of 53.6 is the grey 128 of sRGB
    Image.merge("LAB", [Image.new("L", (8, 8), v) for v in neutral]).save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif").pixels[0, 0].astype(int)
    assert abs(read - grey).max() <= 2


@pytest.mark.parametrize(
    ("kind", "options"),
    [("png", {}), ("jpg", {}), ("tif", {}), ("tif", {"compression": "tiff_deflate"})],
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, kind, options, orientation):
    blocks = np.kron(
        np.array([[0, 80], [160, 240], [40, 120]], np.uint8), np.ones((8, 8), np.uint8)
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {
        1: blocks,
        2: blocks[:, ::-1],
        3: blocks[::-1, ::-1],
        4: blocks[::-1],
        5: blocks.T,
        6: np.rot90(blocks),
        7: np.rot90(blocks, 2).T,
        8: np.rot90(blocks, -1),
    }[orientation]
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"a.{kind}", exif=exif, **options)
    read = read_image(tmp_path / f"a.{kind}").pixels
    assert read.shape == blocks.shape
    assert abs(read.astype(int) - blocks).max() <= 3


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0" * 40]
)
def test_broken_exif_does_not_stop_reading(tmp_path, exif):
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").size == (9, 7)


# What is refused


def refused(path, match, **limits):
    with pytest.raises(UnreadableImageError, match=match) as caught:
        read_image(path, limits=ReadLimits(**limits))
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_folder_and_empty(tmp_path):
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "none.png", "no such file")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "empty.png", "0 bytes")


@pytest.mark.parametrize("body", [b"hello", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0" * 99])
def test_what_is_no_picture(tmp_path, body):
    (tmp_path / "a.png").write_bytes(body)
    refused(tmp_path / "a.png", "not a picture")


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "bmp", "gif", "webp"])
def test_cut_short_anywhere_never_ends_in_a_foreign_error(tmp_path, kind):
    buffer = io.BytesIO()
    noise = RNG.integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(kind, kind))
    whole = buffer.getvalue()
    path = tmp_path / f"a.{kind}"
    for length in range(1, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        if length < len(whole) * 3 // 4:
            refused(path, ".")
            continue
        with contextlib.suppress(UnreadableImageError):
            read_image(path)


@in_one_folder
@given(st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"]), st.data())
def test_damaged_anywhere_never_ends_in_a_foreign_error(tmp_path, kind, data):
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, kind)
    body = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a").write_bytes(body)
    with contextlib.suppress(UnreadableImageError):
        read_image(tmp_path / "a", limits=ReadLimits(max_pixels=1_000_000))


@pytest.mark.parametrize("side", [9_700, 12_000, 50_000])
def test_too_many_pixels_are_refused_by_the_header(tmp_path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10**6))
    )
    tracemalloc.start()
    start = time.process_time()
    refused(path, "megapixels", max_pixels=90_000_000)
    assert time.process_time() - start < 0.5
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_limits(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "megapixels", max_pixels=62)
    refused(tmp_path / "a.png", "MB", max_bytes=50)
    assert read_image(tmp_path / "a.png", limits=ReadLimits(max_pixels=63)).size == (9, 7)


@pytest.mark.parametrize("kind", ["gif", "tiff", "webp", "png"])
def test_several_frames_are_refused(tmp_path, kind):
    first, second = Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=[second])
    refused(tmp_path / f"a.{kind}", "holds 2 pictures")


def test_values_without_a_known_black_are_refused(tmp_path):
    write_tiff(tmp_path / "a.tif", np.array([[-5, 9]], np.int16), sample_format=2)
    refused(tmp_path / "a.tif", "below zero")
    Image.fromarray(np.array([[1.0, np.nan]], np.float32)).save(tmp_path / "b.tif")
    refused(tmp_path / "b.tif", "not numbers")


def test_deep_colours_plane_by_plane_are_refused(tmp_path):
    pixels = RNG.integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    write_tiff(tmp_path / "a.tif", pixels, photometric=2, planar=2)
    refused(tmp_path / "a.tif", "plane by plane")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [None, "zlib"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "i4", "f4"])
def test_tiff_of_either_order_of_bytes(tmp_path, order, packed, kind):
    """Against tifffile, another library: shades of a ramp, by one rule of three."""
    tifffile = pytest.importorskip("tifffile", reason="comes with the extra features")
    ramp = np.add.outer(np.arange(30), np.arange(40)) + 20
    values = (ramp * 0.37 - 9 if kind == "f4" else ramp).astype(kind)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, byteorder=order, compression=packed, photometric="minisblack")
    assert np.array_equal(tifffile.imread(path), values)
    exact = ramp
    if kind == "f4":
        exact = (ramp - ramp.min()) / np.ptp(ramp) * 255
    assert np.abs(read_image(path).pixels - exact).max() <= 0.51


def test_signed_bytes_below_zero_are_refused(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="comes with the extra features")
    values = np.arange(-50, 50, dtype=np.int8).reshape(10, 10)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    with pytest.raises(UnreadableImageError, match="below zero"):
        read_image(tmp_path / "a.tif")
