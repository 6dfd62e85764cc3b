"""Pictures on disk or in memory <-> uint8 arrays.

Knows files and formats (Pillow); nothing of regions or models. EXIF rotation is applied here, once.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from perceive_anything.errors import MediaError

Pixels = npt.NDArray[np.uint8]
ImageSource = str | Path | bytes | Image.Image | np.ndarray
MAX_PIXELS = 178_000_000
MIN_SIDE_PX, MAX_ASPECT = 8, 20
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")


def load_image(source: ImageSource) -> Pixels:
    """Read a picture.

    Args:
        source: Path, encoded bytes, PIL image or array: uint8 (H, W, 3), (H, W, 4) or (H, W).
            Transparent pixels become white; 16-bit pictures are scaled to 8 bits.

    Returns:
        RGB, uint8 (H, W, 3), contiguous.

    Raises:
        MediaError: The source is missing, damaged, empty, too large or no picture.
    """
    if isinstance(source, np.ndarray):
        image = _from_array(source)
    elif isinstance(source, Image.Image):
        image = _loaded(source, "PIL image")
    else:
        image = _decode(source)
    return np.ascontiguousarray(_to_rgb(image))


def check_shape(array: Pixels, name: str) -> None:
    """Refuse a picture that a model which sees squares cannot answer about.

    Args:
        array: (H, W, 3).
        name: What to call it in the message.

    Raises:
        MediaError: A side has fewer than 8 pixels, or is more than 20 times as long as the other.
    """
    height, width = array.shape[:2]
    short, long = sorted((width, height))
    if short < MIN_SIDE_PX:
        raise MediaError(
            f'the image "{name}" is too small: {width}x{height} pixels.\n'
            f"  Expected at least {MIN_SIDE_PX} pixels a side.",
            code="image_size",
        )
    if long > MAX_ASPECT * short:
        raise MediaError(
            f'the image "{name}" is too elongated: {width}x{height} pixels.\n'
            f"  Expected one side at most {MAX_ASPECT} times the other; cut it into tiles.",
            code="image_size",
        )


def load_mask(source: str | Path | bytes) -> npt.NDArray[np.bool_]:
    """Read a mask picture as bool (H, W).

    With transparency, what is opaque is inside. Otherwise what is not black is inside; a picture
    with more than two grey values is cut at the middle.

    Raises:
        MediaError: As `load_image`.
    """
    image = _decode(source)
    if _has_alpha(image):
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        if alpha.min() < 255:
            return alpha > 127
    rgb = _to_rgb(image)
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    # Small 16-bit values vanish in 8 bits and dark colours in grey, so few values are not scaled.
    deep = np.asarray(image) if image.mode in DEEP_MODES else None
    if len(np.unique(grey if deep is None else deep)) > 2:
        return grey > 127
    stored: np.ndarray = rgb.max(axis=2) if deep is None else deep
    return stored.astype(bool)


def save_image(array: Pixels, path: str | Path) -> None:
    """Write uint8 (H, W, 3) to a file; the suffix chooses the format.

    Raises:
        MediaError: The folder does not exist, is not writable, or the suffix is unknown.
    """
    try:
        Image.fromarray(array).save(path)
    except (OSError, ValueError) as error:
        raise MediaError(
            f'cannot write the image "{path}": {error}.\n'
            "  Expected a file ending in .png, .jpg or .webp in a folder that exists.",
            code="out_unwritable",
        ) from error


def _decode(source: str | Path | bytes) -> Image.Image:
    name, stream = _open(source)
    try:
        image = Image.open(stream)
    except Image.DecompressionBombError as error:
        raise _too_large(name, "more pixels than can be opened safely") from error
    except UnidentifiedImageError as error:
        raise MediaError(
            f'"{name}" is not an image that can be read.\n'
            "  Expected PNG, JPEG, WebP or another still format of Pillow.",
            code="file_unreadable",
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(name, error) from error
    return _loaded(image, name)


def _loaded(image: Image.Image, name: str) -> Image.Image:
    """The pixels, turned as EXIF says; Pillow reads them late, so a cut file shows here."""
    _check_size(image.size, name)
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> MediaError:
    return MediaError(
        f'the image "{name}" is damaged: {error}.\n'
        "  It ends too early or holds broken data; copy or export it again.",
        code="image_truncated",
    )


def _open(source: str | Path | bytes) -> tuple[str, io.BytesIO]:
    if isinstance(source, bytes):
        return "image bytes", io.BytesIO(source)
    if not isinstance(source, (str, Path)):
        raise MediaError(
            f"cannot read an image from {type(source).__name__}.\n"
            "  Expected a path, bytes, a PIL image or a uint8 array (H, W, 3).",
            code="unsupported_source",
        )
    path = Path(source)
    try:
        return str(path), io.BytesIO(path.read_bytes())
    except FileNotFoundError as error:
        raise MediaError(
            f'there is no file "{path}".\n  Check the path; it is relative to {Path.cwd()}.',
            code="file_missing",
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(
            f'"{path}" cannot be read: {reason}.\n  Expected an image file.',
            code="file_unreadable",
        ) from error


def _check_size(size_wh: tuple[int, int], name: str) -> None:
    width, height = size_wh
    if width * height == 0:
        raise MediaError(
            f'the image "{name}" has no pixels: {width}x{height}.\n  Expected at least 1x1.',
            code="image_size",
        )
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width}x{height} pixels")


def _too_large(name: str, got: str) -> MediaError:
    return MediaError(
        f'the image "{name}" is too large: {got}.\n'
        f"  Expected at most {MAX_PIXELS // 10**6} million pixels; scale it down or crop it.",
        code="image_size",
    )


def _from_array(array: np.ndarray) -> Image.Image:
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shaped or array.size == 0:
        raise MediaError(
            f"cannot read an image from an array of {array.dtype} {array.shape}.\n"
            "  Expected uint8 (H, W, 3), (H, W, 4) or (H, W). Floats 0..1? multiply by 255.",
            code="unsupported_source",
        )
    return Image.fromarray(array)


def _has_alpha(image: Image.Image) -> bool:
    """Whether there is an alpha channel, or a colour that stands for transparent."""
    if image.mode in DEEP_MODES:  # Pillow cannot convert their transparent value
        return False
    return "A" in image.getbands() or "transparency" in image.info


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode in DEEP_MODES:
        return _from_deep(np.asarray(image))
    if _has_alpha(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _from_deep(values: np.ndarray) -> Pixels:
    """16-bit, 32-bit or float grey -> 8-bit RGB.

    What is not 16-bit names no range: it is taken as 0..1, 0..255 or 0..65535 by its maximum.
    """
    sixteen_bits = values.dtype.itemsize == 2
    values = values.astype(np.float64)
    peak = values.max(initial=0.0)
    top = 65535.0 if sixteen_bits or peak > 255 else (255.0 if peak > 1 else 1.0)
    grey = np.clip(values / top * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
