"""Everything mode: which masks count, by hand; what nano finds; what the command line says."""

import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data

from perceive_anything import Box, Mask, Perceiver, Points, RegionFound
from perceive_anything.cli import main
from perceive_anything.errors import OptionError, PromptError
from perceive_anything.masks import mask_iou, without_small_parts
from perceive_anything.modeling.segmenter import RegionFeatures
from perceive_anything.sessions.everything import (
    MaskGeneration,
    distinct,
    filled_side,
    find_masks,
    good_masks,
    point_grid,
)
from perceive_anything.video_writer import VideoWriter

SIDE = 16
ALL = MaskGeneration(points_per_side=2, pred_iou_thresh=0.5, stability_score_thresh=0.9)


def square(top, left, size, sure=9.0):
    logits = torch.full((SIDE, SIDE), -sure)
    logits[top : top + size, left : left + size] = sure
    return logits


def answers(rows):
    """Rows of ((logits, score) of the masks 0 to 3)."""
    logits = torch.stack([torch.stack([mask for mask, _ in row]) for row in rows])
    scores = torch.tensor([[score for _, score in row] for row in rows])
    nothing = torch.zeros(len(rows))
    return RegionFeatures(logits[:, 0], logits, scores, nothing, nothing, nothing, scores[:, 0])


def test_masks_need_a_score_and_a_firm_edge():
    soft = square(0, 0, 8, sure=0.5)
    empty = torch.full((SIDE, SIDE), -9.0)
    row = [(square(0, 0, 9), 0.9), (square(0, 0, 8), 0.6), (soft, 0.9), (empty, 0.9)]
    logits, scores, prompts = good_masks(answers([row, row]), ALL)
    assert scores.tolist() == pytest.approx([0.6, 0.6])
    assert prompts.tolist() == [0, 1]
    assert torch.equal(logits[0], square(0, 0, 8))
    single = replace(ALL, multimask_output=False)
    assert good_masks(answers([row]), single)[1].tolist() == pytest.approx([0.9])


def test_of_two_that_are_nearly_one_the_surer_stays():
    masks = torch.stack([square(0, 0, 8), square(0, 0, 9), square(8, 8, 4)]) > 0
    assert distinct(masks, torch.tensor([0.7, 0.8, 0.6]), 0.7).tolist() == [1, 2]
    assert distinct(masks, torch.tensor([0.7, 0.8, 0.6]), 0.9).tolist() == [1, 0, 2]
    assert distinct(masks[:0], torch.zeros(0), 0.7).tolist() == []


def test_the_largest_come_first_and_seen_once():
    asked = []

    def decode(points):
        asked.extend(point.xy[0] for point in points)
        small, large = (square(10, 10, 3), 0.9), (square(0, 0, 8), 0.8)
        return answers([[small, small, large, small] for _ in points])

    found = find_masks(decode, (32, 32), ALL)
    assert asked == [(8.0, 8.0), (24.0, 8.0), (8.0, 24.0), (24.0, 24.0)]
    assert [item.score for item in found] == [0.8, 0.9]
    assert [item.mask.sum() for item in found] == [256, 36]
    assert len(find_masks(decode, (32, 32), ALL, most=1)) == 1


def test_boxes_refine_what_points_found():
    asked = []

    def decode(prompts):
        asked.extend(prompts)
        if isinstance(prompts[0], Box):
            return answers([[(square(2, 4, 6), 0.9)] * 4 for _ in prompts])
        return answers([[(square(2, 4, 5), 0.3)] * 4 for _ in prompts])

    refined = replace(ALL, box_refinement=True, multimask_output=False)
    (found,) = find_masks(decode, (32, 16), refined)
    assert asked[4:] == [Box(8, 2, 18, 7)]
    assert found.score == 0.9
    assert found.mask.sum() == 12 * 6


def test_what_its_box_cuts_off_goes():
    thing, rectangle = square(2, 2, 10), square(10, 10, 3)

    def decode(prompts):
        if isinstance(prompts[0], Points):
            return answers([[(square(2, 2, 4), 0.9)] * 4, [(rectangle, 0.9)] * 4])
        rows = []
        for box in prompts:  # as much of the thing as the box holds; the rectangle is whole
            part = torch.full((SIDE, SIDE), -9.0)
            y, x = slice(int(box.y1), round(box.y2)), slice(int(box.x1), round(box.x2))
            part[y, x] = (rectangle if box.x1 > 8 else thing)[y, x]
            rows.append([(part, 0.9)] * 4)
        return answers(rows)

    grid = MaskGeneration(points_per_side=1, box_refinement=True, multimask_output=False)
    asked = []

    def two(prompts):
        asked.append(len(prompts))
        return decode(prompts)

    every = find_masks(two, (SIDE, SIDE), grid)
    assert [item.mask.sum() for item in every] == [16, 9]
    whole = find_masks(two, (SIDE, SIDE), replace(grid, side_fill_thresh=0.5))
    assert [item.mask.sum() for item in whole] == [9]
    assert asked == [1, 2, 1, 2, 2]


def test_sides_of_the_picture_cut_nothing():
    mask = square(0, 4, 6) > 0
    assert filled_side(mask, Box(4, 0, 10, 6), (SIDE, SIDE)) == 1
    assert filled_side(mask, Box(3, 0, 11, 7), (SIDE, SIDE)) == 0
    whole = torch.ones(SIDE, SIDE, dtype=torch.bool)
    assert filled_side(whole, Box(0, 0, SIDE, SIDE), (SIDE, SIDE)) == 0
    assert filled_side(mask, Box(8, 0, 32, 8), (32, 16)) == 0.75  # half as wide in the model


def test_a_users_settings_go_before_the_models():
    models = {"pred_iou_thresh": 0.6, "box_refinement": True}
    own = MaskGeneration.of(models, {"pred_iou_thresh": 0.3})
    assert (own.pred_iou_thresh, own.box_refinement) == (0.3, True)
    assert own.stability_score_thresh == MaskGeneration().stability_score_thresh == 0.95


def test_the_grid_covers_the_picture():
    points = np.array(point_grid((60, 30), 3))
    assert points.min(0).tolist() == [10, 5]
    assert points.max(0).tolist() == [50, 25]
    assert len(points) == 9


@pytest.mark.parametrize("most_iou", [0.3, 0.5, 0.7])
def test_suppression_is_that_of_a_plain_loop(most_iou):
    random = np.random.default_rng(0)
    corners = random.integers(0, 10, (60, 2))
    masks = torch.stack([square(*corner, 5) for corner in corners.tolist()]) > 0
    scores = torch.tensor(random.random(60))
    kept = []
    for row in sorted(range(60), key=lambda r: -scores[r]):
        if all(mask_iou(masks[row].numpy(), masks[k].numpy()) <= most_iou for k in kept):
            kept.append(row)
    assert distinct(masks, scores, most_iou).tolist() == kept
    assert 1 < len(kept) < 60


def test_small_parts_are_those_of_a_plain_flood_fill():
    random = np.random.default_rng(1)
    for _ in range(5):
        mask = random.random((24, 24)) < 0.5
        mask[4:10, 4:10] = True
        expected = flooded(flooded(mask, 6, inside=False), 6, inside=True)
        assert np.array_equal(without_small_parts(mask, 6), expected)
        assert not np.array_equal(mask, expected)


def flooded(mask, least, *, inside):
    """Parts (8 neighbours) of fewer than `least` cells turned over, the slow way."""
    waiting, parts = set(map(tuple, np.argwhere(mask == inside).tolist())), []
    while waiting:
        part, edge = set(), [waiting.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & waiting
            waiting -= near
            edge += near
        parts.append(part)
    turned = mask.copy()
    for part in parts:
        if len(part) < least:
            turned[tuple(np.array(list(part)).T)] = not inside
    return turned


def test_small_holes_and_islands_go():
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5, 5] = False
    mask[16:18, 16:18] = True
    cleaned = without_small_parts(mask, 5)
    assert cleaned.sum() == 100
    assert cleaned[5, 5]
    assert np.array_equal(without_small_parts(mask, 0), mask)
    only = np.zeros((20, 20), bool)
    only[3, 3] = True
    assert without_small_parts(only, 5).sum() == 1  # the largest island stays


@pytest.mark.parametrize(
    "wrong", [{"points_per_side": 0}, {"pred_iou_thresh": 1.5}, {"min_mask_region_area": -1}]
)
def test_settings_out_of_range_are_an_error(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        MaskGeneration(**wrong)


def test_nano_finds_and_names_regions():
    image = Perceiver.from_pretrained().image(data.coffee())
    regions = image.everything(max_regions=3, tasks=["recognize"], points_per_side=6)
    assert 1 <= len(regions) <= 3
    areas = [region.mask.sum() for region in regions]
    assert areas == sorted(areas, reverse=True)
    for region in regions:
        assert region.label
        assert isinstance(region.prompt, Mask)
        assert 0 < region.score <= 1
    assert image.everything(points_per_side=2, pred_iou_thresh=1.0) == []
    with pytest.raises(OptionError, match="point_per_side"):
        image.everything(point_per_side=2)
    with pytest.raises(OptionError, match="max_regions is 0"):
        image.everything(max_regions=0)


def test_masks_come_before_texts_and_texts_add_up():
    image = Perceiver.from_pretrained().image(data.coffee())
    how = {"max_regions": 2, "tasks": ["recognize", "caption"], "points_per_side": 4}
    regions = image.everything(**how)
    events = list(image.everything(**how, stream=True))
    found = [event.region for event in events[: len(regions)]]
    for region, expected in zip(found, regions, strict=True):
        assert (region.id, region.score, region.label) == (expected.id, expected.score, None)
        assert np.array_equal(region.mask, expected.mask)
    texts = defaultdict(str)
    for chunk in events[len(regions) :]:
        texts[chunk.region, chunk.task] += chunk.text
    assert texts == {
        (region.id, task): text
        for region in regions
        for task, text in (("recognize", region.label), ("caption", region.caption))
    }
    masks_only = list(image.everything(tasks=["segment"], points_per_side=4, stream=True))
    assert all(isinstance(event, RegionFound) for event in masks_only)
    with pytest.raises(OptionError, match="max_regions is 0"):
        image.everything(max_regions=0, stream=True)  # before anything is asked of it


def test_a_video_is_looked_at_once_and_followed():
    picture = data.coffee()[::2, ::2]
    pam = Perceiver.from_pretrained()
    video = pam.video([np.roll(picture, 4 * i, axis=1) for i in range(3)])
    how = {"frame": 1, "max_regions": 2, "points_per_side": 4}
    tracks = video.everything(**how, tasks=["recognize"])
    still = pam.image(np.roll(picture, 4, axis=1)).everything(
        max_regions=2, points_per_side=4, tasks=["segment"]
    )
    assert len(tracks) == len(still) > 0
    for track, region in zip(tracks, still, strict=True):
        assert track.frames.tolist() == [0, 1, 2]
        assert np.array_equal(track.masks[1], region.mask)
        assert track.prompt_frame == 1
        assert track.visible.all()
        assert track.label
    assert video.everything(frame=0, points_per_side=2, pred_iou_thresh=1.0) == []
    with pytest.raises(PromptError, match="no frame 9"):
        video.add_everything(frame=9)
    with pytest.raises(OptionError, match="point_per_side"):
        video.add_everything(point_per_side=2)


def test_the_command_line_follows_what_it_finds(tmp_path, capsys):
    path = tmp_path / "clip.mp4"
    picture = data.coffee()[::2, ::2]
    with VideoWriter(path, 10.0, (300, 200)) as writer:
        for i in range(3):
            writer.write(np.roll(picture, 4 * i, axis=1))
    arguments = ["video", str(path), "--everything", "--max-regions", "2", "--frame", "2"]
    assert main([*arguments, "--task", "segment", "--quiet", "--json", "-"]) == 0
    regions = json.loads(capsys.readouterr().out)["regions"]
    assert 1 <= len(regions) <= 2
    assert [[seen["frame"] for seen in region["track"]] for region in regions] == [
        [0, 1, 2] for _ in regions
    ]
    assert main([*arguments, "--box", "1,1,50,50"]) == 2
    assert "Leave one of the two out" in capsys.readouterr().err


def test_the_command_line_finds_regions_too(tmp_path, capsys):
    from PIL import Image

    path = tmp_path / "coffee.png"
    Image.fromarray(data.coffee()).save(path)
    arguments = ["image", str(path), "--everything", "--task", "segment", "--json", "-"]
    assert main([*arguments, "--max-regions", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 1 <= len(found["regions"]) <= 2
    assert main([*arguments, "--box", "1,1,50,50"]) == 2
    assert "Leave one of the two out" in capsys.readouterr().err
