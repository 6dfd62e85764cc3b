"""The second look at small regions: which are looked at, where, and what comes of it."""

import numpy as np
import pytest

from perceive_anything import Box, Mask, Perceiver, Points
from perceive_anything.masks import closer_window
from perceive_anything.results import Region
from perceive_anything.sessions.closer import look_closer, moved
from perceive_anything.tasks import RECOGNIZE, SEGMENT

PICTURE = np.zeros((100, 200, 3), np.uint8)


def region(prompt, box=(0, 0, 0, 0)):
    mask = np.zeros((100, 200), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return Region(0, prompt, mask, box, 0.5)


class Asked:
    """Answers with masks that cover the whole crop; remembers what it was asked."""

    def __init__(self):
        self.crops, self.prompts = [], []

    def __call__(self, crops, prompts):
        self.crops += crops
        self.prompts += prompts
        return [np.ones(crop.shape[:2], bool) for crop in crops], [0.9] * len(crops)


@pytest.mark.parametrize(
    ("box", "context", "window"),
    [
        ((90, 40, 100, 50), 4, (75, 25, 115, 65)),
        ((0, 0, 10, 10), 4, (0, 0, 40, 40)),
        ((190, 90, 200, 100), 4, (160, 60, 200, 100)),
        ((50, 50, 52, 52), 4, (35, 35, 67, 67)),
        ((20, 10, 60, 90), 4, (0, 0, 200, 100)),
    ],
    ids=["middle", "corner", "other corner", "tiny", "large"],
)
def test_windows_fit_the_picture(box, context, window):
    assert closer_window(box, (200, 100), context) == window


def test_prompts_move_with_the_window():
    window = (10, 20, 50, 60)
    assert moved(Box(15, 25, 40, 55), window) == Box(5, 5, 30, 35)
    box = Box(15, 25, 40, 55)
    points = moved(Points([(20, 30), (90, 90), (11, 59)], labels=[1, 0, 0], box=box), window)
    assert points == Points([(10, 10), (1, 39)], labels=[1, 0], box=Box(5, 5, 30, 35))
    far = Points([(90, 90)], labels=[0], box=box)
    assert moved(far, window) == Box(5, 5, 30, 35)


def test_small_regions_get_the_mask_of_their_surroundings():
    ask = Asked()
    small, large = region(Box(90, 40, 100, 50)), region(Box(0, 0, 150, 90))
    both = region(Points([(5, 5)], box=Box(2, 2, 12, 12)))
    click, known = region(Points([(5, 5)])), region(Mask(np.eye(100, 200, dtype=bool)))
    found = look_closer(PICTURE, [small, large, both, click, known], 0.2, ask)
    assert found[0].box_xyxy == (75, 25, 115, 65)
    assert found[2].box_xyxy == (0, 0, 40, 40)
    assert [one.score for one in found] == [0.9, 0.5, 0.9, 0.5, 0.5]
    assert found[1] is large
    assert found[3] is click
    assert found[4] is known
    assert [crop.shape for crop in ask.crops] == [(40, 40, 3), (40, 40, 3)]
    assert ask.prompts == [Box(15, 15, 25, 25), Points([(5, 5)], box=Box(2, 2, 12, 12))]


def test_many_are_asked_in_batches_and_none_twice():
    ask = Asked()
    many = [region(Box(n, n, n + 5, n + 5)) for n in range(20)]
    found = look_closer(PICTURE, many, 0.2, ask)
    assert len(ask.crops) == 20
    assert [one.prompt for one in found] == [one.prompt for one in many]


def test_models_that_look_once_never_ask():
    look_closer(PICTURE, [region(Box(90, 40, 100, 50))], 0.0, lambda *_: pytest.fail("asked"))


def test_texts_come_from_the_whole_picture(monkeypatch):
    skimage = pytest.importorskip("skimage")
    pam = Perceiver.from_pretrained()
    picture, prompt = skimage.data.chelsea(), Box(160, 120, 190, 145)
    monkeypatch.setattr(pam.model.config, "look_closer_below", 0.0)
    once = pam.image(picture).perceive(prompt, tasks=[SEGMENT, RECOGNIZE])
    monkeypatch.setattr(pam.model.config, "look_closer_below", 0.5)
    session = pam.image(picture)
    twice = session.perceive([prompt, Points([(170, 130)])], tasks=[SEGMENT, RECOGNIZE])
    assert twice[0].label == once.label
    assert not np.array_equal(twice[0].mask, once.mask)
    left, top, right, bottom = closer_window(prompt.xyxy, (451, 300), 4)
    assert not np.delete(twice[0].mask, np.s_[left:right], axis=1).any()
    assert not np.delete(twice[0].mask, np.s_[top:bottom], axis=0).any()
