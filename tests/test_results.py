"""Region, ImageResult and what they write."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from perceive_anything.errors import OptionError
from perceive_anything.results import ImageResult, Region
from perceive_anything.types import Box, Points

SCHEMA_FILE = Path(__file__).parents[1] / "docs" / "result.schema.json"


def make_region(region_id: int = 0, label: str | None = "cat") -> Region:
    """A rectangle of an image of 60x40."""
    mask = np.zeros((40, 60), bool)
    mask[8:29, 15:36] = True
    return Region(
        id=region_id,
        prompt=Box(14, 7, 37, 30),
        mask=mask,
        box_xyxy=(15, 8, 36, 29),
        score=0.9,
        label=label,
        caption="A cat.",
    )


def make_result(*regions: Region) -> ImageResult:
    """A result of nano in English."""
    return ImageResult(
        source="cat.png",
        size_wh=(60, 40),
        model="nano",
        language="en",
        regions=regions,
        timing_s={"load": 1.0, "encode": 0.25},
    )


@pytest.fixture
def photo() -> np.ndarray:
    """A grey image of 60x40."""
    return np.full((40, 60, 3), 128, np.uint8)


def test_a_region_is_frozen_and_prints_in_a_line() -> None:
    region = make_region()
    with pytest.raises(dataclasses.FrozenInstanceError):
        region.label = "dog"  # type: ignore[misc]
    assert repr(region) == (
        "Region(id=0, box_xyxy=(15, 8, 36, 29), score=0.90, label='cat', mask=60x40)"
    )


def test_the_json_of_a_result_is_valid_and_keeps_the_order() -> None:
    found = make_result(make_region(0), make_region(1, label=None)).to_json()
    jsonschema.validate(found, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    assert [region["id"] for region in found["regions"]] == [0, 1]
    assert "label" not in found["regions"][1]


def test_a_label_in_doubt_says_so_in_json_and_in_pictures(photo: np.ndarray) -> None:
    sure = dataclasses.replace(
        make_region(), label_confidence=0.31, log_probabilities={"label": -0.25, "caption": -1.5}
    )
    unsure = dataclasses.replace(sure, uncertain=True)
    found = make_result(sure, unsure).to_json()
    jsonschema.validate(found, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    assert [region["uncertain"] for region in found["regions"]] == [False, True]
    assert found["regions"][0]["log_probability"] == {"label": -0.25, "caption": -1.5}
    assert [sure.title, unsure.title, make_region(2, label=None).title] == [
        "cat",
        "cat?",
        "region 2",
    ]
    assert (sure.plot(photo) != unsure.plot(photo)).any()
    assert "uncertain" not in make_region().to_json()


def test_coco_of_region_and_of_result() -> None:
    region = make_region()
    assert region.to_coco(image_id=7)["image_id"] == 7
    found = make_result(region).to_coco(image_id=7)
    assert found["images"][0] == {"id": 7, "file_name": "cat.png", "width": 60, "height": 40}
    assert found["annotations"][0]["image_id"] == 7
    assert found["categories"] == [{"id": 1, "name": "cat"}]


def test_supervision_of_region_and_of_result() -> None:
    assert len(make_region().to_supervision()) == 1
    assert len(make_result(make_region(0), make_region(1)).to_supervision()) == 2


def test_plot_draws_on_a_copy(photo: np.ndarray) -> None:
    before = photo.copy()
    drawn = make_result(make_region()).plot(photo)
    np.testing.assert_array_equal(photo, before)
    assert drawn.shape == photo.shape
    assert (drawn != photo).any()


def test_save_json(tmp_path: Path) -> None:
    path = make_result(make_region()).save(tmp_path / "new" / "answer.json")
    assert json.loads(path.read_text(encoding="utf-8"))["source"] == "cat.png"


def test_save_of_chinese_text_is_readable(tmp_path: Path) -> None:
    path = make_region(label="猫").save(tmp_path / "region.json")
    assert "猫" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["overlay.png", "overlay.jpg", "OVERLAY.PNG"])
def test_save_overlay(tmp_path: Path, photo: np.ndarray, name: str) -> None:
    path = make_result(make_region()).save(tmp_path / name, photo)
    with Image.open(path) as picture:
        assert picture.size == (60, 40)


def test_a_region_without_image_saves_its_mask(tmp_path: Path) -> None:
    region = make_region()
    with Image.open(region.save(tmp_path / "mask.png")) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("L")) > 127, region.mask)


@pytest.mark.parametrize("name", ["answer.txt", "answer", "."])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=r"\.json") as caught:
        make_result(make_region()).save(tmp_path / name)
    assert caught.value.code == "out_unwritable"


def test_an_overlay_without_its_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="without the image"):
        make_result(make_region()).save(tmp_path / "overlay.png")


def test_a_path_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises(OptionError, match="cannot write"):
        make_result(make_region()).save(blocked / "answer.json")


def test_an_empty_region_still_answers(tmp_path: Path, photo: np.ndarray) -> None:
    region = Region(
        id=0,
        prompt=Points(((5, 5),)),
        mask=np.zeros((40, 60), bool),
        box_xyxy=(0, 0, 0, 0),
        score=0.0,
    )
    assert region.to_json()["box"] == [0, 0, 0, 0]
    assert region.plot(photo).shape == photo.shape
    assert region.to_coco()["area"] == 0
