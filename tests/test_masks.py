"""RLE, boxes, polygons: every conversion keeps odd masks."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perceive_anything import masks

SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))


def odd_masks():
    empty = np.zeros((7, 9), bool)
    pixel, row, holed = empty.copy(), empty.copy(), ~empty
    pixel[6, 8], row[3] = True, True
    holed[2:4, 3:6] = False
    return {"empty": empty, "full": ~empty, "pixel": pixel, "row": row, "holed": holed}


@given(SHAPES.flatmap(lambda shape: arrays(bool, shape)))
@settings(max_examples=60, deadline=None)
def test_rle_round_trip(mask):
    rle = json.loads(json.dumps(masks.encode_rle(mask)))
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(masks.decode_rle(rle), mask)


@pytest.mark.parametrize("name", odd_masks())
def test_odd_masks_round_trip(name):
    mask = odd_masks()[name]
    assert np.array_equal(masks.decode_rle(masks.encode_rle(mask)), mask)
    assert masks.mask_area(mask) == mask.sum()
    assert masks.mask_iou(mask, mask) == 1


def test_rle_is_column_major():
    mask = np.zeros((2, 3), bool)
    mask[:, 0] = True
    assert masks.encode_rle(mask) == masks.encode_rle(np.asfortranarray(mask))
    assert masks.encode_rle(mask)["counts"] == "024"


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("empty", None),
        ("full", (0, 0, 9, 7)),
        ("pixel", (8, 6, 9, 7)),
        ("row", (0, 3, 9, 4)),
        ("holed", (0, 0, 9, 7)),
    ],
)
def test_boxes_are_exclusive(name, box):
    assert masks.mask_to_box_xyxy(odd_masks()[name]) == box


def test_supervision_boxes_are_inclusive_so_ours_are_not_theirs():
    from supervision.detection.utils.converters import mask_to_xyxy

    mask = odd_masks()["row"]
    assert mask_to_xyxy(mask[None])[0].tolist() == [0, 3, 8, 3]
    assert masks.mask_to_box_xyxy(mask) == (0, 3, 9, 4)


def test_polygons_lose_only_holes():
    mask = np.zeros((40, 50), bool)
    mask[5:30, 10:40] = True
    back = masks.polygons_to_mask(masks.mask_to_polygons(mask), mask.shape)
    assert masks.mask_iou(mask, back) > 0.9
    assert not masks.polygons_to_mask([], (4, 5)).any()
    holed = np.ones((30, 30), bool)
    holed[10:20, 10:20] = False
    filled = masks.polygons_to_mask(masks.mask_to_polygons(holed), holed.shape)
    assert filled[15, 15]
    assert masks.mask_iou(filled, np.ones_like(holed)) > 0.9


@pytest.mark.parametrize("name", ["empty", "pixel"])
def test_polygons_cannot_say_nothing_nor_a_pixel(name):
    assert masks.mask_to_polygons(odd_masks()[name]) == []


def test_rle_takes_views_and_bytes():
    mask = np.random.default_rng(0).random((10, 12)) > 0.5
    view = mask[::2, ::-1]
    rle = masks.encode_rle(view)
    assert np.array_equal(masks.decode_rle(rle), view)
    assert np.array_equal(masks.decode_rle({**rle, "counts": rle["counts"].encode()}), view)


def test_iou_of_overlapping_and_of_apart_masks():
    left, right = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    left[:, :3], right[:, 1:] = True, True
    assert masks.mask_iou(left, right) == 0.5
    assert masks.mask_iou(left, ~left) == 0


@given(SHAPES.flatmap(lambda shape: arrays(bool, shape)).filter(np.any))
@settings(max_examples=40, deadline=None)
def test_the_central_point_is_inside(mask):
    x, y = masks.central_point(mask)
    assert mask[int(y), int(x)]


def test_the_central_point_of_a_square_and_of_nothing():
    mask = np.zeros((20, 20), bool)
    mask[4:15, 2:13] = True
    assert masks.central_point(mask) == (7.5, 9.5)
    with pytest.raises(ValueError, match="empty"):
        masks.central_point(np.zeros((3, 3), bool))
