"""Uploaded bytes -> pixels, or a video file that is safe to open.

Trusts nothing: formats are few and named, sizes are read from the header before anything is
decoded. Knows files and formats; nothing of requests.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from perceive_anything.decoding import count_packets, opened
from perceive_anything.errors import MediaError, RequestError
from perceive_anything.media import check_shape, load_image
from perceive_anything.server.settings import ServerSettings
from perceive_anything.video import VideoFile

Pixels = npt.NDArray[np.uint8]
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
DATA_URI = re.compile(r"data:(image|video)/[\w.+-]{1,40};base64,", re.ASCII)
# First bytes of videos, and what FFmpeg calls their containers. Playlists, which name other files
# and addresses, are none of them.
VIDEO_STARTS = (
    (4, b"ftyp", "mov,mp4,m4a,3gp,3g2,mj2"),
    (0, b"\x1aE\xdf\xa3", "matroska,webm"),
    (8, b"AVI ", "avi"),
    (0, b"GIF8", "gif"),
    (0, b"OggS", "ogg"),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image.

    Attributes:
        array: uint8 (H, W, 3).
        opaque: Bool (H, W) of an image that is transparent somewhere; else None.
    """

    array: Pixels
    opaque: npt.NDArray[np.bool_] | None = None


def from_data_uri(uri: str, kind: str) -> bytes:
    """The bytes of a data URI.

    Args:
        uri: "data:image/png;base64,..." or the like.
        kind: "image" or "video".

    Raises:
        RequestError: It is none, or of another kind.
    """
    head = DATA_URI.match(uri)
    if head is None or head[1] != kind:
        raise RequestError(
            f'this is no {kind}: "{uri[:40]}{"..." if len(uri) > 40 else ""}".\n'
            f"  Expected a data URI, data:{kind}/...;base64,... Paths are never read.",
            code="unsupported_body",
        )
    try:
        return base64.b64decode(uri[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            f"the base64 of a data URI is damaged: {error}.\n"
            "  Expected standard base64 without line breaks.",
            code="unsupported_body",
        ) from error


def open_picture(data: bytes, settings: ServerSettings) -> Image.Image:
    """An image of which only the header is read.

    Raises:
        MediaError: It is no image, of an unknown format, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large("more pixels than can be opened safely", settings) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise MediaError(
            f"{len(data)} bytes are no image that can be read.\n"
            f"  Expected one of {', '.join(FORMATS)}.",
            code="file_unreadable",
        ) from error
    if picture.width * picture.height > settings.max_pixels:
        raise _too_large(f"{picture.width}x{picture.height} pixels", settings)
    return picture


def read_picture(data: bytes, settings: ServerSettings, *, with_alpha: bool = False) -> Picture:
    """Decode an image.

    Args:
        data: Encoded.
        settings: Limits.
        with_alpha: Keep the colours of what is transparent, and say where it is; else it becomes
            white.

    Raises:
        MediaError: It is no image, damaged, too large, too small or too elongated.
    """
    with open_picture(data, settings) as picture:
        if with_alpha and "A" in picture.getbands():
            try:
                rgba = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA"))
            except (OSError, SyntaxError, ValueError):
                rgba = None  # load_image says what is wrong
            if rgba is not None and rgba[..., 3].min() < 255:
                check_shape(rgba[..., :3], "image")
                return Picture(np.ascontiguousarray(rgba[..., :3]), rgba[..., 3] > 127)
        array = load_image(picture)
    check_shape(array, "image")
    return Picture(array)


def open_video(path: Path, name: str, settings: ServerSettings) -> VideoFile:
    """An uploaded video.

    Args:
        path: Where the server put it.
        name: What the user calls it.
        settings: Limits.

    Raises:
        MediaError: It is no video, or has too many pixels.
        RequestError: It has too many frames.
    """
    try:
        num_frames = _check_container(path, settings)
        video = VideoFile(path)
    except MediaError as error:
        raise MediaError(str(error).replace(str(path), name), code=error.code) from error
    video.num_frames = video.num_frames or num_frames
    return video


def check_frames(num_frames: int, settings: ServerSettings) -> None:
    """See that a video is not too long.

    Raises:
        RequestError: It is.
    """
    if num_frames > settings.max_frames:
        raise RequestError(
            f"the video has {num_frames} frames or more.\n"
            f"  At most {settings.max_frames} are followed here; cut it into parts.",
            code="limit_exceeded",
        )


def _check_container(path: Path, settings: ServerSettings) -> int:
    """Number of frames of a video of a known kind."""
    with path.open("rb") as file:
        start = file.read(16)
    known = [name for at, magic, name in VIDEO_STARTS if start[at:].startswith(magic)]
    if known:
        with opened(str(path)) as (container, stream):
            width, height = stream.codec_context.width, stream.codec_context.height
            found = container.format.name
            num_frames = count_packets(container, stream, settings.max_frames)
        if width * height > settings.max_pixels:
            raise _too_large(f"{width}x{height} pixels a frame", settings)
        if found in known:
            check_frames(num_frames, settings)
            return num_frames
    raise MediaError(
        f'"{path}" is not a video that can be read.\n  Expected MP4, MKV, WebM, AVI, Ogg or GIF.',
        code="file_unreadable",
    )


def _too_large(got: str, settings: ServerSettings) -> MediaError:
    return MediaError(
        f"the picture is too large: {got}.\n"
        f"  Expected at most {settings.max_pixels / 1e6:g} million pixels; scale it down.",
        code="image_size",
    )
