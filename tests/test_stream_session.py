"""Streams: events at once, captions by interval or change, regions that come and go."""

import itertools

import numpy as np
import pytest

from conftest import FIRST, FRAMES, SECOND
from perceive_anything import Box, Perceiver
from perceive_anything.errors import MediaError, OptionError, PromptError
from perceive_anything.events import CaptionEvent, EndEvent, FrameEvent
from perceive_anything.sessions import stream as stream_module
from perceive_anything.sessions.regions import Written


@pytest.fixture(scope="module")
def pam(released):
    return Perceiver.from_pretrained(released)


@pytest.fixture(autouse=True)
def prompts_seen(monkeypatch):
    """Short texts, and what each was written from."""
    seen = []

    def write(model, processor, rows, task, writing, previous=None):
        seen.append((rows.shape[1], task, writing.language, previous))
        return [Written(f"caption {len(seen)}", -0.5)]

    named = [{"label": "thing", "label_confidence": 0.25, "uncertain": True, "other": 1}]

    def write_labels(model, processor, rows, writing):
        seen.append((writing.tasks, writing.language))
        return named

    monkeypatch.setattr("perceive_anything.sessions.regions.write_text", write)
    monkeypatch.setattr(stream_module, "write_texts", write_labels)
    return seen


def push_all(session, frames, fps=10):
    return [e for i, f in enumerate(frames) for e in session.push(f, i / fps)]


def of_type(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_streaming_equals_offline(pam):
    track = pam.video(FRAMES, fps=10).perceive(FIRST, tasks=["segment"])
    session = pam.stream(caption_every=None)
    assert session.add(FIRST) == 0
    events = push_all(session, FRAMES)
    assert len(events) == 20
    for index, event in enumerate(events):
        assert (event.frame, event.time_s) == (index, index / 10)
        region = event.tracks[0]
        assert np.array_equal(region.mask, track.masks[index])
        assert region.visible == track.visible[index]
        assert region.score == pytest.approx(track.scores[index])


def test_captions_at_an_interval_continue_each_other(pam, prompts_seen):
    session = pam.stream(caption_every=0.5, language="zh")
    session.add(FIRST)
    events = [*push_all(session, FRAMES[:13]), *session.close()]
    captions = of_type(events, CaptionEvent)
    assert [(c.start_frame, c.end_frame, c.reason) for c in captions] == [
        (0, 5, "interval"),
        (6, 10, "interval"),
        (11, 12, "end"),
    ]
    assert {(c.label, c.title, c.label_confidence) for c in captions} == {("thing", "thing?", 0.25)}
    dense, other = 64 + 19, 16 + 19
    assert prompts_seen == [
        (dense + 5 * other, "video", "zh", None),
        (("recognize",), "zh"),  # once
        (dense + 5 * other, "video", "zh", "caption 1"),
        (dense + 2 * other, "video", "zh", "caption 3"),
    ]
    assert isinstance(events[-1], EndEvent)
    assert session.close() == []


def test_a_frame_event_comes_before_the_captions_it_ends(pam):
    session = pam.stream(caption_every=0.3)
    session.add(FIRST)
    session.add(SECOND)
    kinds = [type(event).__name__ for event in push_all(session, FRAMES[:4])]
    assert kinds == ["FrameEvent"] * 4 + ["CaptionEvent"] * 2


def test_regions_come_and_go(pam):
    session = pam.stream(caption_every=None)
    assert session.push(FRAMES[0], 0.0)[0].tracks == ()
    first = session.add(FIRST)
    session.push(FRAMES[1], 0.1)
    second = session.add(SECOND)
    both = session.push(FRAMES[2], 0.2)[0]
    assert [region.track for region in both.tracks] == [first, second]
    session.remove(first)
    assert [region.track for region in session.push(FRAMES[3], 0.3)[0].tracks] == [second]
    assert session.add(FIRST) == 2
    session.remove(2)
    with pytest.raises(PromptError, match="there is no region 2"):
        session.remove(2)


def test_an_absent_region_is_not_made_up(pam, monkeypatch, prompts_seen):
    session = pam.stream(caption_every=0.3)
    session.add(FIRST)
    look = stream_module.masks_and_scores
    monkeypatch.setattr(stream_module, "masks_and_scores", lambda *a: (look(*a)[0] & False, [0.0]))
    events = push_all(session, FRAMES[:5])
    caption = of_type(events, CaptionEvent)[0]
    assert (caption.text, caption.reason) == ("The region is not visible.", "absent")
    assert prompts_seen == []
    frame = of_type(events, FrameEvent)[2].tracks[0]
    assert (frame.visible, frame.box_xyxy) == (False, (0, 0, 0, 0))
    assert not frame.mask.any()


def test_iterating_over_a_source(pam):
    session = pam.stream(iter(FRAMES[:5]), caption_every=0.1)
    session.add(FIRST)
    events = list(session)
    assert len(of_type(events, FrameEvent)) == 5
    assert isinstance(events[-2], CaptionEvent)
    assert (events[-1].frames, events[-1].dropped, events[-1].reason) == (5, 0, "source")


def test_a_slow_consumer_of_a_live_source_loses_the_oldest_frames(pam, monkeypatch):
    monkeypatch.setattr("perceive_anything.live.is_live", lambda source: True)
    session = pam.stream(itertools.islice(itertools.cycle(FRAMES), 60), caption_every=None)
    session.add(FIRST)
    events = list(session)
    seen = of_type(events, FrameEvent)
    assert events[-1].dropped > 0
    assert len(seen) + events[-1].dropped == 60
    assert [event.frame for event in seen] == list(range(len(seen)))


def test_a_lost_source_ends_with_what_is_open(pam):
    def lost():
        yield from FRAMES[:3]
        raise MediaError("the camera is gone.\n  Plug it in.", code="stream_lost")

    session = pam.stream(lost(), caption_every=5)
    session.add(FIRST)
    events, iterator = [], iter(session)
    with pytest.raises(MediaError, match="camera is gone"):
        events.extend(iterator)
    session = pam.stream(lost(), caption_every=5)
    session.add(FIRST)
    events = list(itertools.islice(iter(session), 5))
    assert [type(event).__name__ for event in events[3:]] == ["CaptionEvent", "EndEvent"]
    assert events[-1].reason == "lost"


def test_a_consumer_that_stops_frees_the_source(pam):
    session = pam.stream(itertools.cycle(FRAMES), caption_every=None)
    session.add(FIRST)
    events = iter(session)
    next(events)
    events.close()
    session._queue._thread.join(timeout=5)
    assert not session._queue._thread.is_alive()


def test_what_a_stream_refuses(pam):
    for wrong in ([2.0, 1.0], [0], ["a"]):
        with pytest.raises(OptionError, match="rising seconds"):
            pam.stream(caption_every=wrong)
    with pytest.raises(OptionError, match="caption_every is -1"):
        pam.stream(caption_every=-1)
    session = pam.stream()
    with pytest.raises(OptionError, match="has no source"):
        next(iter(session))
    session.push(FRAMES[0])
    with pytest.raises(OptionError, match="is 10x10, expected 320x240"):
        session.push(np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(PromptError, match="lies outside"):
        session.add(Box(0, 0, 5000, 10))
    early = pam.stream()
    early.add(Box(0, 0, 5000, 10))
    with pytest.raises(PromptError, match="lies outside"):
        early.push(FRAMES[0])
    assert early.push(FRAMES[0])[0].tracks == ()
