"""Prompts back from what the tools wrote and from our own exports; what is damaged is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from export_fixtures import HEIGHT, RECORDED, WIDTH, exported, make_result, odd_masks
from perceive_anything import export
from perceive_anything.errors import PromptError
from perceive_anything.export.prompts_cvat import cvat_prompts
from perceive_anything.types import Box, Mask, Points, Prompt

PROMPTS: list[Prompt] = [
    Box(1, 2, 20.5, 18),
    Points([(3, 4), (5, 6)], labels=[1, 0], box=Box(1, 1, 9, 9)),
    Mask(odd_masks()["ring"]),
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_our_prompts_come_back(prompt: Prompt) -> None:
    entry = json.loads(json.dumps(export.prompt_to_json(prompt)))
    assert export.prompt_from_json(entry) == prompt


@pytest.mark.parametrize("name", ["coco", "labelstudio", "cvat"])
def test_what_was_exported_comes_back_as_the_same_masks(tmp_path: Path, name: str) -> None:
    images = [exported("a.png", odd_masks()), exported("night/b c.png", {})]
    first, *_ = export.write_export(name, images, tmp_path)
    table = export.read_prompts(first)
    found = table["a.png"]
    expected = [mask for key, mask in odd_masks().items() if key != "empty"]
    assert all(isinstance(prompt, Mask) for prompt in found)
    for prompt, mask in zip(found, expected, strict=True):
        np.testing.assert_array_equal(prompt.array, mask)
    assert table["night/b c.png"] == []


@pytest.mark.parametrize("name", ["json", "one"])
def test_our_results_give_the_prompts_they_answered(tmp_path: Path, name: str) -> None:
    result = make_result("a.png", {"ring": odd_masks()["ring"]})
    if name == "json":
        (path,) = result.export("json", tmp_path)
    else:
        path = result.save(tmp_path / "one.json")
    assert export.read_prompts(path) == {"a.png": [Box(1, 2, 20, 18)]}


def test_coco_boxes_and_polygons(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    image = {"id": 9, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}
    annotations = [
        {"image_id": 9, "bbox": [2, 3, 10, 5]},
        {"image_id": 9, "bbox": [0, 0, 9, 9], "segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]},
    ]
    path.write_text(json.dumps({"images": [image], "annotations": annotations}), "utf-8")
    box, mask = export.read_prompts(path)["a.png"]
    assert box == Box(2, 3, 12, 8)
    assert mask.array[:9, :9].all()
    assert mask.array.sum() == 81


def test_what_people_drew_in_label_studio() -> None:
    table = export.read_prompts(RECORDED / "label_studio.json")
    box, ring, polygon, point, turned = table["data/upload/3/street.png"]
    assert box == Box(3, 5, 18, 15)
    np.testing.assert_array_equal(ring.array, odd_masks()["ring"])
    assert polygon.array[10, 15]
    assert not polygon.array[0].any()
    assert point == Points([(15, 8)])
    rows, columns = np.nonzero(turned.array)  # 6 x 6 pixels, a quarter turn around (15, 2)
    assert (columns.min(), columns.max() + 1) == (9, 15)
    assert (rows.min(), rows.max() + 1) == (2, 8)
    assert table["day/two cars.png"] == [Box(0, 0, WIDTH, HEIGHT)]


def test_what_people_drew_in_cvat() -> None:
    with pytest.warns(UserWarning, match="polyline"):
        table = export.read_prompts(RECORDED / "cvat.xml")
    box, mask, polygon, points = table["day/street.png"]
    assert box == Box(1.5, 2, 6, 5.25)
    expected = np.zeros((8, 12), bool)
    expected[1, 2:5] = expected[2, 4] = expected[3, 2:5] = True
    np.testing.assert_array_equal(mask.array, expected)
    assert polygon.array.sum() == 40
    assert points == Points([(3, 4), (5.5, 4)])
    assert table["empty.png"] == []


def test_images_are_found_by_the_end_of_their_path() -> None:
    one, two = [Box(0, 0, 1, 1)], [Box(0, 0, 2, 2)]
    table = {"day/a.png": one, "night/a.png": two, "b.png": one, "empty.png": []}
    assert export.prompts_for("photos/night/a.png", table) == two
    assert export.prompts_for("deep/down/b.png", table) == one
    with pytest.raises(PromptError, match="2 images of that name"):
        export.prompts_for("a.png", table)
    for name in ("c.png", "empty.png"):
        with pytest.raises(PromptError, match="no region for it") as caught:
            export.prompts_for(name, table)
        assert caught.value.code == "prompt_missing"


BOMB = '<!DOCTYPE a [<!ENTITY b "cc">]><annotations/>'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "Expecting value"),
        ("12", "neither an object nor a list"),
        ('{"a": 1}', "none of the formats"),
        ('{"annotations": [{}], "images": []}', "'image_id' is missing"),
        ('{"schema": "perceive.result/1", "source": "a", "regions": [{"prompt": {}}]}', "None"),
        ('[{"data": {"image": "a.png"}, "annotations": [{"result": [{"id": 1}]}]}]', "'type'"),
        ("<annotations", "broken XML"),
        ("<html/>", "<html>"),
        (BOMB, "document type"),
    ],
)
def test_files_of_no_such_format_are_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "file"
    path.write_text(content, "utf-8")
    with pytest.raises(PromptError, match=says) as caught:
        export.read_prompts(path)
    assert caught.value.code == "prompt_syntax"
    assert len(str(caught.value).splitlines()) == 2
    with pytest.raises(PromptError, match="No such file"):
        export.read_prompts(tmp_path / "no.json")


@pytest.mark.parametrize(
    "shape",
    [
        '<mask rle="1, 2" left="0" top="0" width="2" height="2"/>',
        '<mask rle="0, 4" left="3" top="0" width="2" height="2"/>',
        '<mask rle="0, -1, 5" left="0" top="0" width="2" height="2"/>',
        '<mask rle="0, 4" left="-1" top="0" width="2" height="2"/>',
        '<box xtl="3" ytl="0" xbr="1" ybr="2"/>',
        '<points points="1,2;3"/>',
    ],
)
def test_damaged_shapes_are_refused(shape: str) -> None:
    page = f'<annotations><image name="a" width="4" height="4">{shape}</image></annotations>'
    with pytest.raises(ValueError, match=r"."):
        cvat_prompts(page.encode())
