import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from medmeta.data.preprocess import Preprocessing, as_float, content_hash, prepare
from medmeta.errors import DataError

sides = st.integers(4, 40)
grey = st.tuples(sides, sides).flatmap(lambda s: arrays(np.uint8, s))
colour = st.tuples(sides, sides, st.just(3)).flatmap(lambda s: arrays(np.uint8, s))
FITS = ("pad", "crop", "stretch")


@given(arrays(np.uint8, (16, 16, 3)), st.sampled_from(FITS))
def test_colour_of_the_right_size_is_untouched(pixels, fit):
    prepared = prepare(pixels, Preprocessing(size=16, fit=fit))
    assert np.array_equal(prepared, pixels.transpose(2, 0, 1))


@given(arrays(np.uint8, (16, 16)), st.sampled_from(FITS), st.sampled_from([1, 3]))
def test_grey_of_the_right_size_is_untouched_and_repeated(pixels, fit, channels):
    prepared = prepare(pixels, Preprocessing(size=16, fit=fit, channels=channels))
    assert prepared.shape == (channels, 16, 16)
    assert (prepared == pixels).all()


@given(grey | colour, st.sampled_from(FITS), st.sampled_from([1, 3]))
def test_shape_and_range_hold_for_any_picture(pixels, fit, channels):
    prepared = prepare(pixels, Preprocessing(size=16, fit=fit, channels=channels))
    assert prepared.shape == (channels, 16, 16)
    assert prepared.dtype == np.uint8
    assert prepared.flags.c_contiguous
    assert prepared.max() <= pixels.max()


@given(grey, st.sampled_from(FITS))
def test_grey_as_three_equal_channels_prepares_to_the_same(pixels, fit):
    for channels in (1, 3):
        wanted = Preprocessing(size=16, fit=fit, channels=channels)
        in_colour = np.repeat(pixels[:, :, None], 3, axis=2)
        assert np.array_equal(prepare(pixels, wanted), prepare(in_colour, wanted))


def test_luma_weights():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    assert prepare(red, Preprocessing(size=16, channels=1))[0, 0, 0] == round(0.299 * 200)


def test_shrinking_averages_over_areas():
    chequers = np.indices((64, 64)).sum(0) % 2 * 200
    inner = prepare(chequers.astype(np.uint8), Preprocessing(size=16, channels=1))[0, 2:-2, 2:-2]
    assert abs(inner.astype(int) - 100).max() <= 2


@pytest.mark.parametrize(
    ("fit", "row"),
    [("pad", [0, 0, 90, 90]), ("crop", [90, 90, 90, 90]), ("stretch", [90, 90, 90, 90])],
)
def test_fit_of_an_upright_picture(fit, row):
    upright = np.full((32, 16), 90, np.uint8)
    prepared = prepare(upright, Preprocessing(size=16, channels=1, fit=fit))
    assert prepared[0, 8, [0, 3, 4, 8]].tolist() == row


def test_crop_takes_the_middle():
    wide = np.repeat(np.arange(48, dtype=np.uint8)[None], 16, axis=0)
    prepared = prepare(wide, Preprocessing(size=16, channels=1, fit="crop"))
    assert np.array_equal(prepared[0, 0], np.arange(16, 32))


def test_a_thread_of_pixels_is_padded_not_lost():
    assert prepare(np.full((1, 500), 255, np.uint8), Preprocessing(size=16)).max() == 255


@pytest.mark.parametrize("shape", [(0, 4), (4, 4, 2), (4, 4, 4), (2, 4, 4, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(DataError, match=r"picture"):
        prepare(np.zeros(shape, np.uint8), Preprocessing())


@pytest.mark.parametrize("given", [{"size": 8}, {"size": 1024}, {"channels": 2}, {"colour": 1}])
def test_settings_out_of_range_are_refused(given):
    with pytest.raises(ValidationError):
        Preprocessing(**given)


@given(grey)
def test_grey_hashes_equal_in_every_layout(pixels):
    layouts = [
        pixels[None],
        pixels[..., None],
        np.stack([pixels] * 3),
        np.stack([pixels] * 3, axis=-1),
        np.asfortranarray(pixels),
    ]
    assert {content_hash(p) for p in layouts} == {content_hash(pixels)}


@given(colour)
def test_colour_hashes_equal_in_both_layouts(pixels):
    assert content_hash(pixels) == content_hash(pixels.transpose(2, 0, 1))
    assert content_hash(pixels) == content_hash(pixels.transpose(2, 0, 1).copy())


@given(grey, st.data())
def test_one_changed_pixel_changes_the_hash(pixels, data):
    other = pixels.copy()
    row = data.draw(st.integers(0, pixels.shape[0] - 1))
    other[row, 0] ^= 1
    assert content_hash(other) != content_hash(pixels)


def test_same_bytes_in_another_shape_are_another_picture():
    flat = np.zeros(48, np.uint8)
    assert content_hash(flat.reshape(6, 8)) != content_hash(flat.reshape(8, 6))


def test_hash_has_64_bits():
    hashes = [content_hash(np.full((4, 4), v, np.uint8)) for v in range(256)]
    assert len(set(hashes)) == 256
    assert 2**63 < max(hashes) < 2**64


def test_hashing_is_fast():
    pictures = np.random.default_rng(0).integers(0, 256, (3000, 1, 28, 28), dtype=np.uint8)
    start = time.process_time()
    for picture in pictures:
        content_hash(picture)
    assert time.process_time() - start < 0.3  # thirty thousand in a second is 0.1 for these


def test_as_float_is_the_same_for_every_picture():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    floats = as_float(levels)
    assert floats.dtype == torch.float32
    torch.testing.assert_close(floats, (levels / 255 - 0.5) / 0.25, atol=1e-6, rtol=0)
    assert levels.dtype == torch.uint8
