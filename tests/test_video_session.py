"""Videos: prompts on any frame, both directions, several regions, corrections, texts."""

import numpy as np
import pytest

from conftest import FIRST, FRAMES, SECOND, SIZE_WH
from perceive_anything import Box, Mask, Perceiver, Points
from perceive_anything.errors import MediaError, OptionError, PromptError
from perceive_anything.modeling.tracking import Tracker

SEGMENT = ["segment"]


@pytest.fixture(scope="module")
def pam(released):
    return Perceiver.from_pretrained(released)


def test_a_track_has_one_entry_a_frame(pam):
    track = pam.video(FRAMES, fps=10).perceive(FIRST, tasks=SEGMENT)
    assert track.frames.tolist() == list(range(20))
    assert list(track.times_s) == pytest.approx([i / 10 for i in range(20)])
    assert len(track.masks) == len(track.scores) == len(track.visible) == 20
    assert track.masks[3].shape == FRAMES[0].shape[:2]
    assert (track.prompt, track.prompt_frame, track.fps) == (FIRST, 0, 10)
    assert track.caption is None


def test_masks_are_those_of_the_tracker(pam):
    track = pam.video(FRAMES).perceive(FIRST, tasks=SEGMENT)
    tracker = Tracker(pam.model.sam)
    tracker.add(0, 0, pam.processor.prompt_tensors([FIRST], [SIZE_WH]))
    for index, frame in enumerate(FRAMES):
        seen = tracker.push(index, pam.processor.pixel_values([frame]))[0]
        visible = bool(seen.object_logit > 0)
        assert track.visible[index] == (visible and track.masks[index].any())


def test_a_prompt_in_the_middle_is_followed_both_ways(pam):
    session = pam.video(FRAMES)
    session.add(FIRST, frame=7)
    order = [frame.index for frame, _ in session.propagate()]
    assert order == [*range(7, 20), *range(6, -1, -1)]
    track = session.track(0)
    assert track.frames.tolist() == list(range(20))
    forward = pam.video(FRAMES[7:]).perceive(FIRST, tasks=SEGMENT)
    for index in range(13):
        assert np.array_equal(track.masks[7 + index], forward.masks[index])
    backward = pam.video(FRAMES[7::-1]).perceive(FIRST, tasks=SEGMENT)
    agree = [(track.masks[7 - i] == backward.masks[i]).mean() for i in range(8)]
    assert min(agree) > 0.999


def test_each_region_comes_once_with_each_frame(pam):
    session = pam.video(FRAMES[:8])
    ids = [session.add(FIRST, frame=2), session.add(SECOND, frame=5), session.add(FIRST, frame=5)]
    seen = [(frame.index, i) for frame, points in session.propagate() for i in points]
    assert sorted(seen) == [(index, i) for index in range(8) for i in ids]


def test_several_regions_are_followed_as_if_alone(pam):
    both = pam.video(FRAMES[:6]).perceive([FIRST, SECOND], tasks=SEGMENT)
    assert [track.id for track in both] == [0, 1]
    alone = pam.video(FRAMES[:6]).perceive(SECOND, tasks=SEGMENT)
    for index in range(6):
        assert np.array_equal(both[1].masks[index], alone.masks[index])


def test_regions_are_added_refined_and_removed_at_any_time(pam):
    session = pam.video(FRAMES[:8])
    first = session.add(FIRST)
    assert sum(1 for _ in session.propagate()) == 8
    before = session.track(first)
    second = session.add(SECOND, frame=3)
    followed = {i for _, points in session.propagate() for i in points}
    assert followed == {second}
    session.refine(first, Points([(220, 60)]), frame=4)
    assert {i for _, points in session.propagate() for i in points} == {first}
    after = session.track(first)
    same = [np.array_equal(before.masks[i], after.masks[i]) for i in range(8)]
    assert same[:4] == [True] * 4
    assert not all(same[4:])
    session.remove(first)
    assert session.track_ids == [second]
    assert session.add(FIRST) == 2
    with pytest.raises(PromptError, match="there is no region 0"):
        session.track(first)
    assert list(session.propagate()) != []
    assert list(session.propagate()) == []


def test_a_cancelled_pass_keeps_what_was_seen_and_can_be_run_again(pam):
    session = pam.video(FRAMES[:10])
    session.add(FIRST)
    steps = session.propagate()
    for _ in range(4):
        next(steps)
    steps.close()
    assert session.track(0).frames.tolist() == [0, 1, 2, 3]
    assert sum(1 for _ in session.propagate()) == 10
    assert len(session.track(0).points) == 10


def test_a_mask_prompt_is_its_own_answer(pam):
    array = np.zeros(FRAMES[0].shape[:2], bool)
    array[80:160, 40:120] = True
    track = pam.video(FRAMES[:3]).perceive(Mask(array), tasks=SEGMENT)
    assert np.array_equal(track.masks[0], array)
    assert track.scores[0] == 1


def test_all_texts_of_a_track(pam):
    track = pam.video(FRAMES[:5]).perceive(FIRST, max_new_tokens=4, language="zh")
    assert all(isinstance(text, str) for text in track.texts.values())


def test_no_frame_is_encoded_for_texts(pam):
    calls = []
    handle = pam.model.sam.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    pam.video(FRAMES[:5]).perceive(FIRST, max_new_tokens=2)
    handle.remove()
    assert len(calls) == 5


@pytest.mark.parametrize("count", [1, 2])
def test_short_videos(pam, count):
    track = pam.video(FRAMES[:count]).perceive(FIRST, max_new_tokens=2)
    assert len(track.points) == count
    assert isinstance(track.caption, str)


def test_what_cannot_be_pointed_at(pam):
    session = pam.video(FRAMES[:5])
    with pytest.raises(PromptError, match="there is no frame 5"):
        session.add(FIRST, frame=5)
    with pytest.raises(PromptError, match="lies outside"):
        session.add(Box(0, 0, 5000, 10))
    with pytest.raises(PromptError, match="no prompt was given"):
        session.perceive([])
    with pytest.raises(OptionError):
        session.perceive(FIRST, tasks=["dance"])
    session.add(FIRST)
    with pytest.raises(PromptError, match="not followed yet"):
        session.track(0)


class Breaking:
    """A source that ends too early."""

    size_wh, fps, num_frames = SIZE_WH, 25.0, 20

    def __init__(self, source, good):
        self.source, self.good = source, good

    def frames(self, start=0):
        for frame in self.source.frames(start):
            if frame.index >= self.good:
                raise MediaError("it ends here.\n  Mend it.", code="video_truncated")
            yield frame

    def frames_backward(self, start):
        yield from self.source.frames_backward(start)


def test_a_video_that_ends_too_early_keeps_what_was_decoded(pam):
    session = pam.video(FRAMES)
    session.source = Breaking(session.source, 9)
    with pytest.warns(UserWarning, match="it ends here"):
        track = session.perceive(FIRST, frame=4, tasks=SEGMENT)
    assert track.frames.tolist() == list(range(9))
