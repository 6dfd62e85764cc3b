"""Regions as JSON, COCO and supervision Detections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from perceive_anything import export
from perceive_anything.masks import decode_rle
from perceive_anything.types import Box, Mask, Points

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs" / "result.schema.json").read_text(encoding="utf-8")
)


def disk(height: int = 40, width: int = 60) -> np.ndarray:
    """A filled circle: (x - 25)^2 + (y - 18)^2 <= 100."""
    rows, columns = np.mgrid[:height, :width]
    return (columns - 25) ** 2 + (rows - 18) ** 2 <= 100


def region(**changes: Any) -> dict[str, Any]:
    """A region entry; `changes` replace arguments."""
    values = {
        "region_id": 0,
        "prompt": Box(10, 8, 40, 30),
        "mask": disk(),
        "box_xyxy": (15, 8, 36, 29),
        "score": 0.93751,
        "texts": {"label": "ball", "explanation": None, "caption": "A ball.", "description": None},
    }
    return export.region_to_json(**{**values, **changes})


def check(value: object, definition: str) -> None:
    """Validate against one definition of the shipped schema."""
    schema = {"$schema": SCHEMA["$schema"], "$defs": SCHEMA["$defs"]}
    jsonschema.Draft202012Validator({**schema, "$ref": f"#/$defs/{definition}"}).validate(value)


def test_the_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (Box(800, 500.5, 1800, 1000), {"type": "box", "box": [800, 500.5, 1800, 1000]}),
        (Points(((40, 60),)), {"type": "points", "points": [[40, 60]], "labels": [1]}),
        (
            Points(((40, 60), (1.5, 2)), labels=(1, 0), box=Box(0, 0, 90, 90)),
            {
                "type": "points",
                "points": [[40, 60], [1.5, 2]],
                "labels": [1, 0],
                "box": [0, 0, 90, 90],
            },
        ),
    ],
)
def test_prompt_to_json(prompt: Box | Points, expected: dict[str, Any]) -> None:
    found = export.prompt_to_json(prompt)
    assert found == expected
    assert all(isinstance(value, int) for value in found.get("labels", []))
    check(json.loads(json.dumps(found)), "prompt")


def test_a_mask_prompt_is_run_lengths() -> None:
    found = export.prompt_to_json(Mask(disk()))
    check(found, "prompt")
    np.testing.assert_array_equal(decode_rle(found["mask"]), disk())


def test_what_is_no_prompt_is_refused() -> None:
    with pytest.raises(TypeError, match="tuple"):
        export.prompt_to_json((1, 2, 3, 4))  # type: ignore[arg-type]


def test_texts_that_were_not_asked_for_are_absent() -> None:
    found = region()
    check(found, "region")
    assert found["label"] == "ball"
    assert "explanation" not in found
    assert found["score"] == 0.9375


@pytest.mark.parametrize("mask", [np.zeros((40, 60), bool), np.ones((40, 60), bool)])
def test_empty_and_full_masks_decode_to_the_size_of_the_image(mask: np.ndarray) -> None:
    found = region(mask=mask, box_xyxy=(0, 0, 0, 0))
    check(found, "region")
    decoded = coco_mask.decode(found["mask"])
    assert decoded.shape == (40, 60)
    assert bool(decoded.all()) == bool(mask.all())


def test_a_result_is_what_the_schema_says() -> None:
    result = export.result_to_json(
        source="ball.png",
        size_wh=(60, 40),
        model="nano",
        language="zh",
        regions=[region()],
        timing_s={"load": 0.123456, "encode": 0.1},
    )
    check(result, "result")
    jsonschema.validate(result, SCHEMA)
    assert result["size"] == {"width": 60, "height": 40}
    assert result["timing_s"]["load"] == 0.1235


def test_coco_boxes_are_exclusive_xywh_and_pycocotools_reads_them(tmp_path: Path) -> None:
    mask = disk()
    annotations = [
        export.region_to_coco(
            region_id=index,
            mask=mask,
            box_xyxy=(15, 8, 36, 29),
            score=0.5,
            texts={"label": label, "caption": "A ball."},
        )
        for index, label in enumerate(["ball", "cat", "ball", None])
    ]
    dataset = export.coco_dataset(source="a.png", size_wh=(60, 40), annotations=annotations)
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(dataset), encoding="utf-8")
    coco = COCO(str(path))
    assert [coco.cats[key]["name"] for key in sorted(coco.cats)] == ["ball", "cat", "region"]
    first = coco.anns[1]
    assert first["bbox"] == [15, 8, 21, 21]
    assert first["area"] == mask.sum()
    np.testing.assert_array_equal(coco.annToMask(first).astype(bool), mask)
    assert coco.anns[3]["category_id"] == first["category_id"]


def test_detections_carry_masks_scores_and_texts() -> None:
    found = export.to_detections(
        masks=[disk()],
        boxes_xyxy=[(15, 8, 36, 29)],
        scores=[0.9],
        texts=[{"label": "ball", "caption": None}],
    )
    assert found.xyxy.tolist() == [[15, 8, 36, 29]]
    np.testing.assert_array_equal(found.mask[0], disk())
    assert found.data["class_name"].tolist() == ["ball"]
    assert found.data["caption"].tolist() == [""]


def test_no_regions_make_empty_detections() -> None:
    assert len(export.to_detections(masks=[], boxes_xyxy=[], scores=[], texts=[])) == 0
