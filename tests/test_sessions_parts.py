"""The parts of video and stream sessions that need no model: boundaries, clips, the frame queue."""

import threading
import time

import numpy as np
import pytest
import torch

from perceive_anything.modeling.processing import clip_frames
from perceive_anything.modeling.segmenter import RegionFeatures
from perceive_anything.sessions.boundaries import (
    AutoBoundaries,
    GivenBoundaries,
    IntervalBoundaries,
    Sight,
)
from perceive_anything.sessions.clips import KEPT_FRAMES, ClipFeatures
from perceive_anything.sessions.queueing import DROP_OLDEST, WAIT, FrameQueue
from perceive_anything.sessions.regions import masks_and_scores
from perceive_anything.types import Frame, Mask

CAT, DOG = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])


def sights(seconds, start=0.0, fps=10, visible=True, speed=0.0, token=CAT, noise=0.02):
    """Sights of a region of diagonal 100 that moves `speed` diagonals a second."""
    rng = np.random.default_rng(0)
    for number in range(round(seconds * fps)):
        t = start + number / fps
        jitter = rng.normal(0, noise, 3)
        yield Sight(t, visible, (100 * speed * (t - start), 0.0), 100.0, token + jitter)


def ends(boundaries, *parts):
    found = []
    for part in parts:
        for sight in part:
            if reason := boundaries.update(sight):
                found.append((round(sight.time_s, 1), reason))
    return found


def test_intervals():
    assert ends(IntervalBoundaries(2), sights(5)) == [(2.0, "interval"), (4.0, "interval")]


def test_events_end_at_given_times():
    # Two that end between the same frames end together; the last one is not reached.
    given = GivenBoundaries([1.0, 2.05, 2.1, 9.0])
    found = ends(given, sights(4))
    assert [reason for _, reason in found] == ["given", "given"]
    assert found[0][0] == 1.0
    assert 2.1 <= found[1][0] < 2.4


def test_a_region_that_stays_the_same_is_one_event_up_to_the_longest():
    assert ends(AutoBoundaries(), sights(14)) == []
    assert ends(AutoBoundaries(max_s=5), sights(12)) == [(5.0, "length"), (10.0, "length")]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"visible": False}, "visibility"),
        ({"token": DOG}, "appearance"),
        ({"speed": 2.0}, "motion"),
    ],
)
def test_a_change_for_good_ends_the_event(changed, reason):
    found = ends(AutoBoundaries(), sights(4), sights(4, start=4.0, **changed))
    assert [why for _, why in found] == [reason]
    assert 4.4 <= found[0][0] <= 5.2


@pytest.mark.parametrize("changed", [{"visible": False}, {"token": DOG}])
def test_a_flicker_does_not(changed):
    flicker = sights(0.3, start=4.0, **changed)
    assert ends(AutoBoundaries(), sights(4), flicker, sights(4, start=4.3)) == []


def test_the_shortest_event_holds_except_for_visibility():
    early = ends(AutoBoundaries(min_s=3), sights(1), sights(5, start=1.0, token=DOG))
    assert early[0] == (3.0, "appearance")
    assert ends(AutoBoundaries(min_s=3), sights(1), sights(1, start=1.0, visible=False))[0][0] < 2


def test_a_clip_of_known_length_keeps_what_is_read():
    clip = ClipFeatures(0, 100)
    for frame in range(100):
        clip.add(frame, frame)
    assert clip.sample(100) == clip_frames(100)


def test_backward_frames_come_in_time_order():
    clip = ClipFeatures(0, 20)
    for frame in [*range(10, 20), *range(9, -1, -1)]:
        clip.add(frame, frame)
    assert clip.sample(20) == clip_frames(20)


@pytest.mark.parametrize("length", [1, 5, 16, 32, 33, 700])
def test_a_clip_of_unknown_length_is_bounded_and_spread(length):
    clip = ClipFeatures(1000)
    for frame in range(length):
        clip.add(1000 + frame, frame)
        assert len(clip._kept) <= KEPT_FRAMES
    sample = clip.sample(length)
    assert sample[0] == 0
    assert sample == sorted(set(sample))
    if length <= KEPT_FRAMES:
        assert sample == clip_frames(length)
    else:
        assert len(sample) >= 12
        assert sample[-1] >= 0.85 * length


def numbered(count, pause=0.0):
    for index in range(count):
        time.sleep(pause)
        yield Frame(np.zeros((8, 8, 3), np.uint8), index / 10, index)


def test_a_waiting_queue_loses_nothing():
    queue = FrameQueue(numbered(50), WAIT, capacity=3)
    time.sleep(0.05)
    assert [frame.index for frame in queue] == list(range(50))
    assert queue.dropped == 0


def test_a_dropping_queue_keeps_the_newest_and_counts():
    queue = FrameQueue(numbered(50), DROP_OLDEST, capacity=3)
    time.sleep(0.2)
    assert [frame.index for frame in queue] == [47, 48, 49]
    assert queue.dropped == 47


def test_an_error_of_the_source_comes_after_its_frames():
    def broken():
        yield from numbered(2)
        raise RuntimeError("the cable was pulled")

    frames = iter(FrameQueue(broken(), WAIT))
    assert [next(frames).index, next(frames).index] == [0, 1]
    with pytest.raises(RuntimeError, match="cable"):
        next(frames)


def test_a_stopped_queue_ends_its_thread():
    queue = FrameQueue(numbered(1000, pause=0.001), WAIT, capacity=2)
    assert next(iter(queue)).index == 0
    queue.stop()
    queue._thread.join(timeout=2)
    assert not queue._thread.is_alive()
    assert threading.active_count() < 10


def test_specks_and_holes_go_where_a_model_asks_for_it():
    logits = torch.full((2, 32, 32), -3.0)
    logits[0, 4:24, 4:24] = 3.0  # 400 cells
    logits[0, 10:12, 10:12] = -3.0  # a hole of 1 %
    logits[0, 28:30, 28:30] = 3.0  # a speck of 1 %
    logits[0, 4:12, 26:32] = 3.0  # a part of 12 %
    none = torch.zeros(2)
    features = RegionFeatures(
        logits, logits[:, None], torch.ones(2, 4), none + 1, none, none, torch.ones(2)
    )
    raw, _ = masks_and_scores(features, (64, 64), [None, None])
    tidy, scores = masks_and_scores(features, (64, 64), [None, None], 0.03)
    assert not raw[0, 21, 21]
    assert raw[0, 58, 58]
    assert tidy[0, 21, 21]
    assert not tidy[0, 57:, 57:].any()
    assert (tidy[0, 8:24, 53:] == raw[0, 8:24, 53:]).all()
    assert not tidy[1].any()  # an absent region stays so
    assert scores == [1.0, 1.0]
    given = Mask(raw[0])
    assert (masks_and_scores(features, (64, 64), [given, None], 0.03)[0][0] == raw[0]).all()
