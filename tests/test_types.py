"""Prompts are checked at the door."""

import numpy as np
import pytest

from perceive_anything.errors import PromptError
from perceive_anything.types import Box, Mask, Points

SIZE_WH = (100, 50)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: Box(10, 10, 5, 20), "box_inverted"),
        (lambda: Box(10, 10, 10, 20), "box_inverted"),
        (lambda: Box(float("nan"), 0, 1, 1), "bad_number"),
        (lambda: Box(0, 0, float("inf"), 1), "bad_number"),
        (lambda: Box("a", 0, 1, 1), "bad_number"),
        (lambda: Box(0, 0, 10**400, 1), "bad_number"),
        (lambda: Points([]), "prompt_missing"),
        (lambda: Points([(1, 2, 3)]), "prompt_syntax"),
        (lambda: Points([(1, float("nan"))]), "bad_number"),
        (lambda: Points([(1, 2)], labels=[1, 0]), "bad_label_count"),
        (lambda: Points([(1, 2)], labels=[2]), "bad_label_count"),
        (lambda: Points([(1, 2)], labels=[0.5]), "bad_label_count"),
        (lambda: Points([(1, 2)], labels=["inside"]), "bad_label_count"),
        (lambda: Points([(1, 2), (3, 4)], labels=np.eye(2)), "bad_label_count"),
        (lambda: Points((1, 2)), "prompt_syntax"),
        (lambda: Points([(1, 2)], box=(0, 0, 5, 5)), "prompt_syntax"),
        (lambda: Mask(np.zeros((4, 4))), "mask_empty"),
        (lambda: Mask(np.ones((4, 4, 3))), "mask_size"),
        (lambda: Mask(np.ones((0, 5))), "mask_empty"),
        (lambda: Mask([[1], [1, 2]]), "mask_size"),
    ],
)
def test_malformed_prompts(make, code):
    with pytest.raises(PromptError) as caught:
        make()
    assert caught.value.code == code
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("prompt", "code", "mend"),
    [
        (Box(0, 0, 102, 40), "box_outside_image", "x2 <= 100 and y2 <= 50"),
        (Box(-3, 0, 10, 40), "box_outside_image", "multiply by 100 and 50"),
        (Box(100.1, 0, 100.4, 10), "box_outside_image", "x2 <= 100"),
        (Box(-0.4, 0, -0.1, 10), "box_outside_image", "x2 <= 100"),
        (Box(0, 50, 10, 50.4), "box_outside_image", "y2 <= 50"),
        (Points([(100, 10)]), "point_outside_image", "0 <= x < 100"),
        (Points([(10, -1)]), "point_outside_image", "0 <= y < 50"),
        (Points([(10, 10)], box=Box(0, 0, 200, 10)), "box_outside_image", "x2 <= 100"),
        (Mask(np.ones((100, 50))), "mask_size", "resize it with nearest neighbour"),
    ],
)
def test_prompts_outside_name_the_image_its_size_and_the_mend(prompt, code, mend):
    with pytest.raises(PromptError, match=r'100x50.*"street.jpg"|"street.jpg".*100x50') as caught:
        prompt.validate_for(SIZE_WH, "street.jpg")
    assert caught.value.code == code
    assert mend in str(caught.value).splitlines()[1]


@pytest.mark.parametrize(
    "prompt",
    [
        Box(0, 0, 100, 50),
        Box(-0.4, 0, 100.4, 50),
        Points([(0, 0), (99.9, 49.9)], labels=[1, 0]),
        Points([(10, 10)], box=Box(0, 0, 20, 20)),
        Mask(np.ones((50, 100))),
    ],
)
def test_prompts_inside_pass(prompt):
    prompt.validate_for(SIZE_WH)


def test_labels_are_inside_by_default():
    assert Points([(1, 2), (3, 4)]).labels == (1, 1)


def test_points_keep_their_box_and_take_arrays():
    points = Points(np.array([[1, 2], [3, 4]]), labels=np.array([1, 0]), box=Box(0, 0, 5, 5))
    assert points == Points([(1, 2), (3, 4)], labels=[1, 0], box=Box(0, 0, 5, 5))
    assert points != Points([(1, 2), (3, 4)], labels=[1, 0])


def test_values_are_frozen_equal_and_hashable():
    mask = np.eye(3)
    assert Mask(mask) == Mask(mask > 0)
    assert len({Box(1, 2, 3, 4), Box(1.0, 2, 3, 4), Points([(1, 2)]), Mask(mask), Mask(mask)}) == 3
    with pytest.raises(ValueError, match="read-only"):
        Mask(mask).array[0, 0] = False
    mask_prompt = Mask(mask)
    mask[:] = 0
    assert mask_prompt.array.sum() == 3
