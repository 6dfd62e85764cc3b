"""Pictures of every kind become the same array; what is no picture says so."""

import io

import numpy as np
import pytest
from PIL import Image

from perceive_anything import media
from perceive_anything.errors import MediaError
from perceive_anything.media import check_shape, load_image, load_mask, save_image

RGB = np.zeros((6, 8, 3), np.uint8)
RGB[:, :4] = (200, 40, 10)


def picture(suffix, image=None, **options):
    stream = io.BytesIO()
    (image or Image.fromarray(RGB)).save(stream, suffix, **options)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP", "BMP"])
def test_formats(suffix):
    array = load_image(picture(suffix))
    assert array.shape == (6, 8, 3)
    assert array.dtype == np.uint8
    assert array.flags["C_CONTIGUOUS"]
    assert np.abs(array[3, 0].astype(int) - RGB[3, 0]).max() < 60


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_modes(mode):
    suffix = "TIFF" if mode == "CMYK" else "PNG"
    assert load_image(picture(suffix, Image.fromarray(RGB).convert(mode))).shape == (6, 8, 3)


def test_transparent_pixels_become_white():
    clear = Image.fromarray(np.dstack([RGB, np.zeros((6, 8), np.uint8)]))
    assert (load_image(picture("PNG", clear)) == 255).all()


def test_sixteen_bits_are_scaled():
    deep = Image.fromarray(np.full((4, 5), 32768, np.uint16))
    assert (load_image(picture("PNG", deep)) == 127).all()
    dark = Image.fromarray(np.full((4, 5), 200, np.uint16))
    assert (load_image(picture("PNG", dark)) == 0).all()


def test_exif_rotation_is_applied_once():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise to view
    rotated = load_image(picture("JPEG", exif=exif))
    assert rotated.shape == (8, 6, 3)
    assert rotated[0, 0, 0] > 150
    assert rotated[-1, 0, 0] < 60
    assert np.array_equal(load_image(Image.fromarray(rotated)), rotated)


@pytest.mark.parametrize("shape", [(1, 1), (7, 8), (200, 12000), (401, 20)])
def test_too_small_and_too_elongated_images_are_refused(shape):
    array = load_image(np.zeros((*shape, 3), np.uint8))
    with pytest.raises(MediaError, match=rf"x\.png.*{shape[1]}x{shape[0]}") as caught:
        check_shape(array, "x.png")
    assert caught.value.code == "image_size"


@pytest.mark.parametrize("shape", [(8, 8), (400, 20), (200, 4000)])
def test_small_and_elongated_images_are_taken(shape):
    check_shape(load_image(np.zeros((*shape, 3), np.uint8)), "x.png")


def test_what_is_no_picture(tmp_path):
    text, cut = tmp_path / "text.jpg", tmp_path / "cut.jpg"
    text.write_text("hello")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    cut.write_bytes(picture("JPEG", noise)[:1500])
    cases = {
        tmp_path / "missing.jpg": "file_missing",
        text: "file_unreadable",
        cut: "image_truncated",
        tmp_path: "file_unreadable",
    }
    for source, code in cases.items():
        with pytest.raises(MediaError) as caught:
            load_image(source)
        assert caught.value.code == code
        assert str(source) in str(caught.value)
    with Image.open(cut) as opened, pytest.raises(MediaError, match="damaged"):
        load_image(opened)


@pytest.mark.parametrize("size_wh", [(0, 5), (200, 100)])
def test_pictures_without_pixels_or_with_too_many(size_wh, monkeypatch):
    monkeypatch.setattr(media, "MAX_PIXELS", 10_000)
    with pytest.raises(MediaError, match="x".join(map(str, size_wh))) as caught:
        load_image(Image.new("RGB", size_wh))
    assert caught.value.code == "image_size"


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 2), np.uint8), 5]
)
def test_arrays_that_are_no_pictures(array):
    with pytest.raises(MediaError) as caught:
        load_image(array)
    assert caught.value.code == "unsupported_source"


def test_masks_by_alpha_by_two_values_and_by_grey():
    half = np.zeros((4, 6), np.uint8)
    half[:, 3:] = 1
    expected = half.astype(bool)
    alpha = Image.fromarray(np.dstack([RGB[:4, :6], half * 255]))
    grey = np.linspace(0, 255, 24).reshape(4, 6).astype(np.uint8)
    assert np.array_equal(load_mask(picture("PNG", Image.fromarray(half))), expected)
    assert np.array_equal(load_mask(picture("PNG", alpha)), expected)
    assert np.array_equal(load_mask(picture("PNG", Image.fromarray(grey))), grey > 127)
    deep = grey.astype(np.uint16) * 257
    assert np.array_equal(load_mask(picture("PNG", Image.fromarray(deep))), grey > 127)


HALF = np.zeros((4, 6), np.uint8)
HALF[:, 3:] = 1


def palette_mask():
    image = Image.fromarray(HALF, "P")
    image.putpalette([255, 255, 255, 0, 200, 0])
    return picture("PNG", image, transparency=0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(palette_mask(), id="clear colour of a palette"),
        pytest.param(picture("PNG", Image.fromarray(HALF * 255), transparency=0), id="clear grey"),
        pytest.param(picture("PNG", Image.fromarray(HALF.astype(bool))), id="one bit"),
        pytest.param(
            picture("PNG", Image.fromarray(HALF.astype(np.uint16)), transparency=0), id="deep clear"
        ),
        pytest.param(picture("PNG", Image.fromarray(HALF.astype(np.uint16))), id="16 bits, 0 1"),
        pytest.param(
            picture("PNG", Image.fromarray(HALF.astype(np.uint16) * 256)), id="16 bits, 0 256"
        ),
        pytest.param(
            picture("PNG", Image.fromarray(np.dstack([HALF * 0, HALF * 0, HALF * 4]))), id="dark"
        ),
    ],
)
def test_masks_of_other_kinds(content):
    assert np.array_equal(load_mask(content), HALF.astype(bool))


@pytest.mark.parametrize("source", ["missing.png", b"", b"no picture", HALF, None])
def test_masks_that_are_no_pictures(source):
    with pytest.raises(MediaError):
        load_mask(source)


@pytest.mark.parametrize("name", ["no/such/folder.png", "picture.nonsense"])
def test_pictures_that_cannot_be_written(name, tmp_path):
    with pytest.raises(MediaError) as caught:
        save_image(RGB, tmp_path / name)
    assert caught.value.code == "out_unwritable"
