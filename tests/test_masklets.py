"""Made-up clips: the same for a seed, exact masks, objects that are seen, leave and return."""

import random

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pack_fixtures import encoded, make_packs, write_tar
from perceive_anything.data.masklets import MIN_VISIBLE_FIRST, MaskletMaker
from perceive_anything.data.packs import read_pack
from perceive_anything.masks import encode_rle

SIDE, BLUE = 64, np.array((20, 40, 220))


def photo(name, color, region=None):
    """An annotated 120x90 picture of one colour and, maybe, one region."""
    row = {"id": name, "source": "COCO", "license": "CC BY 2.0", "split": "train"}
    row |= {"width": 120, "height": 90, "file": f"images/{name}.png", "regions": []}
    image = np.full((90, 120, 3), color, dtype=np.uint8)
    if region is not None:
        image[region] = BLUE
        x, y = np.nonzero(region.any(0))[0], np.nonzero(region.any(1))[0]
        box = [int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1]
        row["regions"] = [
            {"id": 0, "label": "disc", "box": box, "mask": encode_rle(region), "kind": "part"}
        ]
    return row, {row["file"]: encoded(image)}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Blue discs to cut out, plain yellow backgrounds."""
    rows, columns = np.mgrid[:90, :120]
    disc = np.hypot(columns - 60, rows - 45) < 35
    made = [photo("disc", (230, 210, 90), disc), photo("plain", (230, 210, 90))]
    path = tmp_path_factory.mktemp("packs") / "discs.tar"
    files = {name: data for _, contents in made for name, data in contents.items()}
    write_tar(path, [row for row, _ in made], files)
    return list(read_pack(path))


@pytest.fixture(scope="module")
def clips(records):
    maker = MaskletMaker(records, SIDE, 8, seed=3)
    return [maker.make(index) for index in range(60)]


def test_a_clip_follows_from_its_seed(records, clips):
    again = MaskletMaker(records, SIDE, 8, seed=3).make(7)
    assert np.array_equal(again.frames, clips[7].frames)
    assert np.array_equal(again.masks, clips[7].masks)
    other = MaskletMaker(records, SIDE, 8, seed=4).make(7)
    assert not np.array_equal(other.frames, clips[7].frames)
    assert clips[7].frames.shape == (8, SIDE, SIDE, 3)
    assert clips[7].frames.dtype == np.uint8
    assert clips[7].masks.shape[2:] == (SIDE, SIDE)
    assert {clip.masks.shape[1] for clip in clips} == {1, 2}


def test_object_pixels_are_where_the_mask_says(records):
    """Of one object alone: blue wherever its mask is (but its edge), and nowhere else."""
    checked = 0
    for index in range(40):
        maker = MaskletMaker(records, SIDE, 4, seed=5)
        maker.backgrounds = records[1:]
        layers, tracked, picked = [], [0], maker._layers

        def alone(rng, picked=picked, layers=layers, tracked=tracked):
            layers[:], tracked[:] = picked(rng)
            return [layers[0], layers[tracked[0]]], [1]

        maker._layers = alone
        clip = maker.make(index)
        for frame, mask in zip(clip.frames, clip.masks[:, 0], strict=True):
            image = Image.fromarray(mask * np.uint8(255))
            inside = np.asarray(image.filter(ImageFilter.MinFilter(7))) > 0
            outside = np.asarray(image.filter(ImageFilter.MaxFilter(7))) == 0
            blueness = frame[..., 2].astype(int) - frame[..., 0]
            assert (blueness[inside] > 0).all()
            assert (blueness[outside] < 0).all()
            checked += inside.sum()
    assert checked > 10_000


def test_companions_are_one_layer_more_and_tracked_objects_stay_what_they_were(records):
    """The same chance without and with them: only the layer beside the object is new."""
    plain = MaskletMaker(records, SIDE, 8, seed=3)
    maker = MaskletMaker(records, SIDE, 8, seed=3, companions=1.0)
    followed = 0
    for seed in range(40):
        before, tracked_before = plain._layers(random.Random(seed))
        after, tracked = maker._layers(random.Random(seed))
        assert len(after) == len(before) + 1
        for old, new in zip(tracked_before, tracked, strict=True):
            assert np.array_equal(before[old].centres, after[new].centres)
        clip = maker.make(seed)
        assert clip.masks[0].any((1, 2)).all()
        assert (clip.masks.sum(1) <= 1).all()
        paths = [layer.centres - after[tracked[-1]].centres for layer in after]
        followed += sum(0 < np.ptp(path, 0).max() < 0.2 for path in paths)
    assert followed >= 15  # two thirds move along, the rest are copies with a path of their own


def test_objects_cover_each_other_and_never_share_a_pixel(clips):
    for clip in clips:
        assert clip.masks.sum(1).max() == 1


def test_objects_are_seen_first_and_some_leave_and_return(clips):
    gone = 0
    for clip in clips:
        areas = clip.masks.sum((2, 3))
        assert (areas[0] > 0).all()
        gone += any((areas[:, n] == 0).any() and areas[-1, n] > 0 for n in range(areas.shape[1]))
    assert 3 <= gone <= 20


def test_the_first_frame_shows_most_of_each_object(records):
    maker = MaskletMaker(records, SIDE, 8, seed=3)
    kept, layers_of = [], maker._layers
    maker._layers = lambda rng: kept.append(layers_of(rng)) or kept[-1]
    for index in range(10):
        masks = maker.make(index).masks[0]
        layers, tracked = kept[-1]
        for mask, layer in zip(masks, tracked, strict=True):
            assert mask.sum() >= MIN_VISIBLE_FIRST * layers[layer].own_area(0)


def test_regions_of_ordinary_packs_become_clips(tmp_path):
    records = list(read_pack(make_packs(tmp_path) / "room.tar", "train"))
    clip = MaskletMaker(records, SIDE, 3, seed=0).make(0)
    assert clip.masks.any((2, 3))[0].all()
