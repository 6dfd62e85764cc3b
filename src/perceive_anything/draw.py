"""Regions onto pixels, through supervision's annotators.

Takes arrays, boxes, labels and prompts as JSON dicts; knows no Region class, no file and no model.
Colours follow the position of the region; positive points are green, negative ones red.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from perceive_anything.masks import decode_rle

if TYPE_CHECKING:
    import numpy.typing as npt
    import supervision

FONT_VARIABLE = "PERCEIVE_FONT"
CJK_SAMPLE = "图像中的猫"
FONT_SUFFIXES = (".ttf", ".ttc", ".otf")
# Parts of file names of fonts that hold Chinese, tried before all others.
CJK_FONT_HINTS = ("cjk", "sourcehan", "wqy", "pingfang", "msyh", "simhei", "droidsansfall")
MASK_OPACITY = 0.4
POSITIVE, NEGATIVE, PROMPT_COLOR = "#12B76A", "#F04438", "#FFFFFF"


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Pixel sizes of what is drawn, in proportion to the image."""

    line_px: int
    point_px: int
    font_px: int

    @classmethod
    def of(cls, image: npt.NDArray[np.uint8]) -> _Sizes:
        short, long = sorted(image.shape[:2])
        side = min(long, 4 * short)  # a panorama is read at its height
        return cls(
            line_px=max(1, round(side / 300)),
            point_px=max(2, round(side / 110)),
            font_px=max(10, round(side / 40)),
        )


def draw_regions(
    image: npt.NDArray[np.uint8],
    masks: Sequence[npt.NDArray[np.bool_]],
    boxes_xyxy: Sequence[tuple[float, float, float, float]],
    labels: Sequence[str],
    prompts: Sequence[Mapping[str, Any]],
) -> npt.NDArray[np.uint8]:
    """Draw each region's mask, outline, box, label and prompt on a copy of the image.

    Args:
        image: uint8 RGB (H, W, 3).
        masks: Boolean (H, W), one a region; an empty one leaves only its prompt.
        boxes_xyxy: Pixel boxes, one a region.
        labels: Text beside each box.
        prompts: The prompts in the JSON form of a result.

    Returns:
        uint8 RGB (H, W, 3).

    Example:
        >>> blank = np.zeros((40, 60, 3), np.uint8)
        >>> mask = np.zeros((40, 60), bool)
        >>> mask[10:20, 10:30] = True
        >>> prompt = {"type": "box", "box": [10, 10, 30, 20]}
        >>> draw_regions(blank, [mask], [(10, 10, 30, 20)], ["cat"], [prompt]).shape
        (40, 60, 3)
    """
    counts = {len(masks), len(boxes_xyxy), len(labels), len(prompts)}
    if counts != {len(masks)}:
        raise ValueError(f"masks, boxes, labels and prompts differ in number: {sorted(counts)}")
    sv = load_supervision()
    sizes = _Sizes.of(image)
    scene = np.ascontiguousarray(image[..., ::-1])  # supervision paints arrays as BGR
    drawn = [index for index, mask in enumerate(masks) if mask.any()]
    if drawn:
        scene = _draw_found(
            sv,
            scene,
            sizes,
            masks=np.stack([masks[index] for index in drawn]),
            boxes_xyxy=np.array([boxes_xyxy[index] for index in drawn], dtype=np.float32),
            color_ids=np.array(drawn),
            labels=_drawable([labels[index] for index in drawn], drawn),
        )
    for prompt in prompts:
        scene = _draw_prompt(sv, scene, sizes, prompt)
    return np.ascontiguousarray(scene[..., ::-1])


def find_font(text: str) -> Path | None:
    """A font file of this machine that has every character of a text.

    The environment variable PERCEIVE_FONT, when set, is tried first.

    Args:
        text: What has to be drawn.

    Returns:
        Path of the font, or None when no font has all the characters.
    """
    characters = "".join(sorted({char for char in text if not char.isspace()}))
    return _find_font(characters, os.environ.get(FONT_VARIABLE))


def load_supervision() -> ModuleType:
    """supervision, imported on first use and without its notice about OpenCV."""
    with warnings.catch_warnings():  # `perceive doctor` is where OpenCV is spoken of
        warnings.simplefilter("ignore", UserWarning)
        import supervision

        return supervision


def _draw_found(
    sv: ModuleType,
    scene: npt.NDArray[np.uint8],
    sizes: _Sizes,
    *,
    masks: npt.NDArray[np.bool_],
    boxes_xyxy: npt.NDArray[np.float32],
    color_ids: npt.NDArray[np.int_],
    labels: list[str],
) -> npt.NDArray[np.uint8]:
    found: supervision.Detections = sv.Detections(
        xyxy=boxes_xyxy, mask=masks, class_id=color_ids.astype(int)
    )
    scene = sv.MaskAnnotator(opacity=MASK_OPACITY).annotate(scene, found)
    scene = sv.PolygonAnnotator(thickness=sizes.line_px).annotate(scene, found)
    scene = sv.BoxAnnotator(thickness=sizes.line_px).annotate(scene, found)
    font = None if _default_font_has("".join(labels)) else find_font("".join(labels))
    annotator = sv.RichLabelAnnotator(
        font_path=str(font) if font else None,
        font_size=sizes.font_px,
        text_padding=max(2, sizes.font_px // 3),
        smart_position=True,
    )
    labelled: npt.NDArray[np.uint8] = annotator.annotate(scene, found, labels=labels)
    return labelled


def _draw_prompt(
    sv: ModuleType, scene: npt.NDArray[np.uint8], sizes: _Sizes, prompt: Mapping[str, Any]
) -> npt.NDArray[np.uint8]:
    """Box and mask prompts as thin white outlines, points as ringed dots."""
    thin_px = max(1, sizes.line_px // 2)
    color = sv.Color.from_hex(PROMPT_COLOR)
    if "box" in prompt:
        scene = sv.BoxAnnotator(color=color, thickness=thin_px).annotate(
            scene, _detections(sv, [prompt["box"]])
        )
    if "mask" in prompt:
        mask = decode_rle(prompt["mask"])
        rows, columns = np.any(mask, axis=1).nonzero()[0], np.any(mask, axis=0).nonzero()[0]
        box_xyxy = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        scene = sv.PolygonAnnotator(color=color, thickness=thin_px).annotate(
            scene, _detections(sv, [box_xyxy], mask[None])
        )
    labels = prompt.get("labels", [])
    for wanted, hex_color in ((1, POSITIVE), (0, NEGATIVE)):
        chosen = [
            [x, y, x, y]
            for (x, y), label in zip(prompt.get("points", []), labels, strict=True)
            if label == wanted
        ]
        if chosen:
            scene = sv.DotAnnotator(
                color=sv.Color.from_hex(hex_color),
                radius=sizes.point_px,
                outline_thickness=max(1, sizes.point_px // 3),
                outline_color=color,
            ).annotate(scene, _detections(sv, chosen))
    return scene


def _detections(
    sv: ModuleType, boxes_xyxy: list[list[float]], masks: npt.NDArray[np.bool_] | None = None
) -> supervision.Detections:
    found: supervision.Detections = sv.Detections(
        xyxy=np.array(boxes_xyxy, dtype=np.float32),
        mask=masks,
        class_id=np.zeros(len(boxes_xyxy), dtype=int),
    )
    return found


def _drawable(labels: list[str], region_ids: list[int]) -> list[str]:
    """Labels as they are, or region numbers in place of those that no font can draw."""
    text = "".join(labels)
    if _default_font_has(text) or find_font(text) is not None:
        return labels
    warnings.warn(
        "no font of this machine can draw these labels; region numbers are drawn instead. "
        "Install one (Debian: apt-get install fonts-noto-cjk) or set "
        f"{FONT_VARIABLE}=/path/to/font.ttf.",
        UserWarning,
        stacklevel=4,
    )
    return [
        label if _default_font_has(label) else f"#{region_id}"
        for label, region_id in zip(labels, region_ids, strict=True)
    ]


def _default_font_has(text: str) -> bool:
    """Pillow's built-in font is Latin; ASCII is what is certain in every build of it."""
    return text.isascii()


@lru_cache(maxsize=64)
def _find_font(characters: str, preferred: str | None) -> Path | None:
    first = [Path(preferred)] if preferred else []
    for path in chain(first, _system_fonts()):
        if _font_has(path, characters):
            return path
    return None


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[Path, ...]:
    """Font files of the usual folders, those that promise Chinese first."""
    files = sorted(path for folder in _font_folders() for path in _files_under(folder))
    return tuple(sorted(files, key=lambda path: not _promises_cjk(path)))


def _promises_cjk(path: Path) -> bool:
    name = path.name.lower().replace("-", "").replace("_", "")
    return any(hint in name for hint in CJK_FONT_HINTS)


def _files_under(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.rglob("*") if path.suffix.lower() in FONT_SUFFIXES)


def _font_folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts"]


def _font_has(path: Path, characters: str) -> bool:
    """Whether no character is drawn as the font's "missing" glyph."""
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(str(path), 24)
        missing = bytes(font.getmask("\U0010fffe"))  # a code point that no font may assign
        return all(bytes(font.getmask(char)) != missing for char in characters)
    except OSError:
        return False
