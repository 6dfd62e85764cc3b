"""Overlays: what is painted where, at any image size, in any script."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perceive_anything import draw
from perceive_anything.masks import encode_rle

GREY = 128


def blank(height: int, width: int) -> np.ndarray:
    """A grey image."""
    return np.full((height, width, 3), GREY, np.uint8)


def rectangle(height: int, width: int, box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
    """A mask that fills a box."""
    mask = np.zeros((height, width), bool)
    x1, y1, x2, y2 = box_xyxy
    mask[y1:y2, x1:x2] = True
    return mask


def draw_one(
    image: np.ndarray,
    box_xyxy: tuple[int, int, int, int],
    prompt: dict[str, Any],
    label: str = "cat",
) -> np.ndarray:
    """One rectangular region with its prompt."""
    mask = rectangle(*image.shape[:2], box_xyxy)
    return draw.draw_regions(image, [mask], [box_xyxy], [label], [prompt])


def test_mask_box_and_label_are_painted_on_a_copy() -> None:
    image = blank(240, 320)
    box_xyxy = (100, 80, 200, 160)
    drawn = draw_one(image, box_xyxy, {"type": "box", "box": list(box_xyxy)})
    assert (image == GREY).all()
    assert drawn.dtype == np.uint8
    assert (drawn[120, 150] != GREY).any(), "mask fill"
    assert (drawn[80, 150] != drawn[120, 150]).any(), "outline"
    assert (drawn[60:80, 100:140] != GREY).any(), "label above the box"
    assert (drawn[200:, :80] == GREY).all(), "nothing far from the region"


def test_two_regions_have_two_colours() -> None:
    image = blank(200, 400)
    boxes_xyxy = [(20, 40, 120, 160), (220, 40, 320, 160)]
    drawn = draw.draw_regions(
        image,
        [rectangle(200, 400, box) for box in boxes_xyxy],
        boxes_xyxy,
        ["cat", "dog"],
        [{"type": "box", "box": list(box)} for box in boxes_xyxy],
    )
    assert (drawn[100, 70] != drawn[100, 270]).any()


def test_points_are_green_for_the_thing_and_red_beside_it() -> None:
    prompt = {"type": "points", "points": [[60, 60], [250, 200]], "labels": [1, 0]}
    drawn = draw_one(blank(240, 320), (40, 40, 120, 120), prompt)
    red, green, _ = drawn[60, 60].astype(int)
    assert green > red
    red, green, _ = drawn[200, 250].astype(int)
    assert red > green


def test_a_mask_prompt_is_outlined() -> None:
    prompt = {"type": "mask", "mask": encode_rle(rectangle(240, 320, (10, 150, 60, 200)))}
    drawn = draw_one(blank(240, 320), (100, 40, 200, 120), prompt)
    assert (drawn[148:153, 10:60] == 255).any()


def test_a_mask_that_is_its_own_answer_is_outlined_once() -> None:
    box_xyxy = (100, 40, 200, 120)
    prompt = {"type": "mask", "mask": encode_rle(rectangle(240, 320, box_xyxy))}
    drawn = draw_one(blank(240, 320), box_xyxy, prompt)
    assert not (drawn == 255).all(axis=2).any()  # prompts are white


@pytest.mark.parametrize("shape", [(1, 1), (2, 50), (200, 3000), (7, 5)])
def test_any_image_size_can_be_drawn_on(shape: tuple[int, int]) -> None:
    height, width = shape
    prompt = {"type": "points", "points": [[0, 0]], "labels": [1], "box": [0, 0, width, height]}
    drawn = draw_one(blank(height, width), (0, 0, width, height), prompt, "a rather long label")
    assert drawn.shape == (height, width, 3)


def test_an_empty_mask_leaves_only_its_prompt() -> None:
    image = blank(100, 100)
    prompt = {"type": "points", "points": [[80, 80]], "labels": [1]}
    drawn = draw.draw_regions(image, [np.zeros((100, 100), bool)], [(0, 0, 0, 0)], ["?"], [prompt])
    assert (drawn[:50, :50] == GREY).all()
    assert (drawn[80, 80] != GREY).any()


def test_nothing_to_draw_gives_the_image_back() -> None:
    np.testing.assert_array_equal(draw.draw_regions(blank(9, 9), [], [], [], []), blank(9, 9))


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        draw.draw_regions(blank(9, 9), [np.ones((9, 9), bool)], [], [], [])


def test_larger_images_get_thicker_lines() -> None:
    small, large = draw._Sizes.of(blank(200, 300)), draw._Sizes.of(blank(2000, 3000))
    assert small.line_px < large.line_px
    assert small.font_px < large.font_px


def test_without_a_font_chinese_labels_become_numbers_and_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(draw, "find_font", lambda _: None)
    prompt = {"type": "box", "box": [40, 60, 160, 160]}
    with pytest.warns(UserWarning, match="fonts-noto-cjk"):
        drawn = draw_one(blank(200, 200), (40, 60, 160, 160), prompt, "猫")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = draw_one(blank(200, 200), (40, 60, 160, 160), prompt, "#0")
    np.testing.assert_array_equal(drawn, expected)


def test_latin_labels_ask_for_no_font(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> Path:
        raise AssertionError("looked for a font")

    monkeypatch.setattr(draw, "find_font", refuse)
    draw_one(blank(100, 100), (40, 40, 80, 80), {"type": "box", "box": [40, 40, 80, 80]})


@pytest.fixture
def greek_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A font that has Greek and no Chinese, as the only one of the machine."""
    matplotlib = pytest.importorskip("matplotlib")
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    monkeypatch.setattr(draw, "_system_fonts", lambda: (path,))
    draw._find_font.cache_clear()
    yield path
    draw._find_font.cache_clear()


def test_a_font_is_chosen_by_the_glyphs_it_has(greek_font: Path) -> None:
    assert draw.find_font("γάτα") == greek_font
    assert draw.find_font(draw.CJK_SAMPLE) is None


def test_the_named_font_comes_first(
    greek_font: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named = tmp_path / "named.ttf"
    named.write_bytes(greek_font.read_bytes())
    monkeypatch.setenv(draw.FONT_VARIABLE, str(named))
    assert draw.find_font("γάτα") == named


def test_a_named_font_that_cannot_be_read_is_passed_over(
    greek_font: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(draw.FONT_VARIABLE, str(tmp_path / "missing.ttf"))
    assert draw.find_font("γάτα") == greek_font


def build_font(path: Path, characters: str) -> Path:
    """A font whose n-th character is a bar of height n; missing ones are a full square."""
    font_builder = pytest.importorskip("fontTools.fontBuilder")
    pens = pytest.importorskip("fontTools.pens.ttGlyphPen")

    def bar(height: int) -> object:
        pen = pens.TTGlyphPen(None)
        pen.moveTo((100, 0))
        for corner in ((100, height), (800, height), (800, 0)):
            pen.lineTo(corner)
        pen.closePath()
        return pen.glyph()

    names = [f"uni{ord(character):04X}" for character in characters]
    builder = font_builder.FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap(dict(zip(map(ord, characters), names, strict=True)))
    glyphs = {name: bar(100 * (index + 1)) for index, name in enumerate(names)}
    builder.setupGlyf({".notdef": bar(900), **glyphs})
    builder.setupHorizontalMetrics({name: (900, 100) for name in [".notdef", *names]})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Bars", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def test_chinese_labels_are_drawn_with_a_font_that_has_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    font = build_font(tmp_path / "bars.ttf", "Tg猫狗")
    monkeypatch.setenv(draw.FONT_VARIABLE, str(font))
    assert draw.find_font("狗猫") == font
    prompt = {"type": "box", "box": [40, 60, 160, 160]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = draw_one(blank(200, 200), (40, 60, 160, 160), prompt, "猫")
        other = draw_one(blank(200, 200), (40, 60, 160, 160), prompt, "狗")
    assert (one != other).any()
