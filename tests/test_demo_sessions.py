"""The demo's photo, clip and live picture over nano, without a browser."""

import json
import threading
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from perceive_anything import Box, Mask, Perceiver, Points
from perceive_anything.demo import clip as clip_module
from perceive_anything.demo.clip import Clip
from perceive_anything.demo.examples import drawn_scene
from perceive_anything.demo.live import Live
from perceive_anything.demo.photo import Photo
from perceive_anything.errors import MediaError, PromptError
from perceive_anything.tasks import TEXT_TASKS
from perceive_anything.video_writer import VideoWriter

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "result.schema.json").read_text("utf-8"))
CLIP_WH, NUM_FRAMES = (160, 120), 6
BALL = {"type": "drag", "box": [30, 80, 66, 112]}
HOUSE = {"type": "click", "xy": [112, 70], "positive": True, "join": False}


@pytest.fixture(scope="module")
def nano():
    return Perceiver.from_pretrained()


@pytest.fixture
def lock():
    return threading.Lock()


@pytest.fixture
def photo(nano, lock):
    return Photo(nano, lock, drawn_scene(), "scene.png")


@pytest.fixture
def clip(nano, lock, tmp_path):
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 12, CLIP_WH) as writer:
        for number in range(NUM_FRAMES):
            writer.write(drawn_scene(CLIP_WH, 0.3 + 0.02 * number))
    return Clip(nano, lock, path, "clip.mp4")


def test_a_click_has_a_mask_at_once_and_the_texts_of_the_library(photo, nano, lock):
    photo.point({"type": "click", "xy": [450, 220], "positive": True, "join": False}, "en")
    (shown,) = photo.view()["regions"]
    assert shown["points"] == [[450, 220, 1]]
    assert shown["mask"].startswith("data:image/png")
    assert shown["label"] == ""
    pieces = 0
    for _ in photo.write(TEXT_TASKS):
        assert not lock.locked()
        pieces += 1
    assert pieces > 1
    expected = nano.image(photo.array).perceive(Points([(450, 220)]))
    (found,) = photo.result().regions
    assert found.texts == expected.texts
    assert found.label_confidence == expected.label_confidence
    assert found.uncertain == expected.uncertain
    assert found.log_probabilities == expected.log_probabilities
    assert np.array_equal(found.mask, expected.mask)
    assert photo.view()["regions"][0]["label"].rstrip("?") == expected.label
    jsonschema.validate(photo.result().to_json(), SCHEMA)


def test_gestures_correct_the_selected_region(photo):
    photo.point({"type": "drag", "box": [350, 50, 560, 300]}, "en")
    photo.point({"type": "click", "xy": [450, 250], "positive": False, "join": True}, "en")
    (entry,) = photo.board.entries
    assert entry.region.prompt == Points([(450, 250)], [0], Box(350, 50, 560, 300))
    photo.point({"type": "stroke", "xy": [[10, 10], [60, 10]], "radius": 8, "positive": True}, "en")
    first, second = photo.board.entries
    assert isinstance(second.region.prompt, Mask)
    assert second.region.mask[10, 30]
    photo.board.undo()
    assert photo.board.entries == (first,)
    with pytest.raises(PromptError):
        photo.point({"type": "drag", "box": [float("nan"), 0, 1, 1]}, "en")


def test_a_second_writer_goes_on_where_the_first_was(photo):
    photo.point({"type": "drag", "box": [350, 50, 560, 300]}, "en")
    first = photo.write(TEXT_TASKS)
    next(first)
    photo.point({"type": "drag", "box": [150, 280, 240, 400]}, "en")
    for _ in photo.write(TEXT_TASKS):
        pass
    assert list(first) == []  # it ends by itself
    assert all(entry.answer.finished == set(TEXT_TASKS) for entry in photo.board.entries)
    reference = Photo(photo._perceiver, photo._lock, photo.array)
    reference.point({"type": "drag", "box": [350, 50, 560, 300]}, "en")
    for _ in reference.write(TEXT_TASKS):
        pass
    assert reference.result().regions[0].texts == photo.result().regions[0].texts


def test_texts_nobody_waits_for_are_given_up_and_begun_again(photo):
    photo.point({"type": "drag", "box": [350, 50, 560, 300]}, "en")
    next(photo.write(["describe"]), None)
    photo.board.clear()
    for _ in photo.write(["describe"]):
        pass
    photo.board.undo()
    for _ in photo.write(["describe"]):
        pass
    assert photo.result().regions[0].description


def test_language_tasks_and_model_are_those_that_are_chosen(photo, nano):
    photo.point({"type": "drag", "box": [350, 50, 560, 300]}, "en")
    list(photo.write(["recognize"]))
    photo.board.renew("zh")
    list(photo.write(["recognize", "caption"]))
    found = photo.result()
    assert found.language == "zh"
    assert any("\u4e00" <= sign <= "\u9fff" for sign in found.regions[0].caption)
    assert found.regions[0].description is None
    assert photo.with_model(nano, "zh") is photo
    other = photo.with_model(Perceiver(nano.model, nano.processor, "twin"), "zh")
    assert other.result().model == "twin"
    assert np.array_equal(other.result().regions[0].mask, found.regions[0].mask)


def test_a_clip_is_followed_from_any_frame_and_described(clip, lock):
    clip.seek(2)
    clip.point(BALL, "en")
    assert len(clip.view()["regions"]) == 1
    clip.seek(0)
    assert clip.view()["regions"] == []
    shares = []
    for _ in clip.follow(["recognize", "caption"], "en"):
        assert not lock.locked()
        shares.append(clip.progress)
    assert shares == sorted(shares)
    assert clip.progress is None
    (lane,) = clip.lanes()
    assert sorted(lane.visible) == list(range(NUM_FRAMES))
    assert lane.marks == (2,)
    (span,) = lane.spans
    assert span.text == clip.board.entries[0].answer.texts["caption"]
    there = [index for index, visible in lane.visible.items() if visible]
    assert (span.start_frame, span.end_frame) == (min(there), max(there))
    if lane.visible[0]:
        assert len(clip.view()["regions"]) == 1
    result = clip.result()
    jsonschema.validate(result.to_json(), SCHEMA)
    assert result.tracks[0].prompt_frame == 2


def test_what_was_followed_is_told_in_another_language(clip):
    clip.point(BALL, "en")
    assert list(clip.retell(["caption"], "zh")) == []
    for _ in clip.follow(["caption"], "en"):
        pass
    assert list(clip.retell(["caption"], "en")) == []
    assert len(list(clip.retell(["recognize", "caption"], "zh"))) == 1
    result = clip.result()
    assert result.language == "zh"
    assert any("\u4e00" <= sign <= "\u9fff" for sign in result.tracks[0].caption)
    assert result.tracks[0].label == clip.board.entries[0].label
    assert len(result.tracks[0].points) == NUM_FRAMES


def test_a_followed_region_can_be_corrected_on_another_frame(clip):
    clip.point(BALL, "en")
    for _ in clip.follow(["caption"], "en"):
        pass
    assert clip.lanes()[0].spans
    clip.seek(3)
    clip.board.select(0)
    clip.point({"type": "click", "xy": [50, 96], "positive": True, "join": True}, "en")
    (entry,) = clip.board.entries
    assert sorted(entry.marks) == [0, 3]
    assert isinstance(entry.marks[3].prompt, Points)
    assert clip.lanes()[0].spans == ()  # of what it was before
    for _ in clip.follow([], "en"):
        pass
    assert clip.result().tracks[0].prompt == Box(30, 80, 66, 112)


def test_following_can_be_cancelled_and_keeps_what_was_seen(clip):
    clip.point(BALL, "en")
    clip.point(HOUSE, "en")
    steps = clip.follow(TEXT_TASKS, "en")
    next(steps)
    next(steps)
    with pytest.raises(PromptError):
        next(clip.follow(TEXT_TASKS, "en"))
    clip.stop()
    assert len(list(steps)) < 4
    assert [len(lane.visible) for lane in clip.lanes()] == [2, 2]
    assert len(clip.result().tracks[0].points) == 2
    clip.board.remove(0)
    assert [track.id for track in clip.result().tracks] == [0]


def test_a_clip_says_what_it_lacks_and_frees_its_file(clip):
    with pytest.raises(PromptError, match="Point at something"):
        next(clip.follow(TEXT_TASKS, "en"))
    with pytest.raises(PromptError, match="followed yet"):
        clip.result()
    clip.seek(10_000)
    assert clip.index == NUM_FRAMES - 1
    clip.close()
    assert not clip._path.exists()


@pytest.mark.parametrize(("name", "value"), [("MAX_FRAMES", 3), ("MAX_VIDEO_PX", 100)])
def test_long_and_large_videos_are_refused(clip, nano, lock, monkeypatch, name, value):
    monkeypatch.setattr(clip_module, name, value)
    with pytest.raises(MediaError, match="takes up to"):
        Clip(nano, lock, clip._path)


def test_a_live_picture_follows_and_tells(nano, lock):
    live = Live(nano, lock, "en")
    with pytest.raises(PromptError, match="no picture"):
        live.point(BALL)
    frames = [drawn_scene(CLIP_WH, 0.3 + 0.02 * number) for number in range(4)]
    live.push(frames[0], 0.0)
    assert live.fits(frames[0], "en", "nano")
    assert not live.fits(frames[0][:60], "en", "nano")
    live.point(BALL)
    for number, frame in enumerate(frames[1:], start=1):
        live.push(frame, 0.1 * number)
    assert live.view()["size"] == list(CLIP_WH)
    assert "Region 1" in live.html("")
    live.close()
    (event,) = live.events
    assert event.text
    assert event.text in live.html("")
    live.push(frames[0])  # of a stream that has ended: nothing happens
    live.close()
    assert len(live.events) == 1


def test_a_source_is_played_until_it_is_stopped(nano, lock, clip):
    live = Live(nano, lock, "en")
    assert sum(1 for _ in live.play(str(clip._path))) == NUM_FRAMES
    assert live.stopped
    live = Live(nano, lock, "en")
    steps = live.play(str(clip._path))
    next(steps)
    live.point(HOUSE)
    next(steps)
    live.remove(0)
    live.remove(7)
    live.close()
    assert list(steps) == []
    with pytest.raises(MediaError):
        next(Live(nano, lock, "en").play("nothing.mp4"))
