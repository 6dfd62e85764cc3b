"""Tracks, video results and stream events: values, formats, drawn videos."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from pycocotools import mask as coco_mask

import perceive_anything as pa
from perceive_anything import draw
from perceive_anything.errors import MediaError, OptionError
from perceive_anything.events import CaptionEvent, EndEvent, FrameEvent, TrackedRegion
from perceive_anything.tracks import (
    CaptionSpan,
    Track,
    TrackPoint,
    VideoResult,
)
from perceive_anything.types import Box, Frame, Mask
from perceive_anything.video import VideoFile
from test_draw import build_font

DOCS = Path(__file__).parents[1] / "docs"
RESULT_SCHEMA, EVENT_SCHEMA = (
    json.loads((DOCS / f"{name}.schema.json").read_text("utf-8")) for name in ("result", "event")
)
WIDTH, HEIGHT, FPS, NUM_FRAMES = 160, 120, 10.0, 12
ABSENT = (5, 6)  # the square is hidden on these frames


def square(index: int, top: int = 30) -> np.ndarray:
    """A square of 40 pixels that moves 5 a frame, hidden on two frames."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if index not in ABSENT:
        mask[top : top + 40, 10 + 5 * index : 50 + 5 * index] = True
    return mask


def make_track(track_id: int = 0, first: int = 0, top: int = 30, **texts: Any) -> Track:
    """The square from frame `first` on."""
    points = [
        TrackPoint.from_mask(index, index / FPS, square(index, top), 0.9 - 0.01 * index)
        for index in range(first, NUM_FRAMES)
    ]
    return Track(
        id=track_id,
        prompt=Box(25, top, 65, top + 40),
        prompt_frame=3,
        size_wh=(WIDTH, HEIGHT),
        fps=FPS,
        points=tuple(points),
        **texts,
    )


def make_result(*tracks: Track, num_frames: int | None = NUM_FRAMES) -> VideoResult:
    """A result of nano in English."""
    return VideoResult(
        source="clips/square.mp4",
        size_wh=(WIDTH, HEIGHT),
        fps=FPS,
        num_frames=num_frames,
        model="nano",
        language="en",
        tracks=tracks,
        timing_s={"load": 1.0, "track": 0.51234567},
    )


SPANS = (
    CaptionSpan(0.0, 0.4, 0, 4, "A square moves right."),
    CaptionSpan(0.7, 1.1, 7, 11, "It is back."),
)


class Source:
    """Grey frames; broken after `end` frames if given."""

    fps, size_wh = FPS, (WIDTH, HEIGHT)

    def __init__(self, end: int | None = None, code: str = "file_unreadable") -> None:
        self.end, self.code = end, code

    def frames(self, start: int = 0) -> Iterator[Frame]:
        for index in range(start, NUM_FRAMES):
            if index == self.end:
                raise MediaError("the video ends too early.", code=self.code)
            yield Frame(np.full((HEIGHT, WIDTH, 3), 128, np.uint8), index / FPS, index)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What was given to VideoWriter in place of a file: pixels before they are compressed."""
    writers = []

    class Writer(SimpleNamespace):
        def __init__(self, path: Path, fps: float, size_wh: tuple[int, int]) -> None:
            super().__init__(path=path, fps=fps, size_wh=size_wh, frames=[], times=[], closed=False)
            writers.append(self)

        def __enter__(self) -> Writer:
            return self

        def __exit__(self, *_: object) -> None:
            self.closed = True

        def write(self, array: np.ndarray, time_s: float | None = None) -> None:
            self.frames.append(array)
            self.times.append(time_s)

    monkeypatch.setattr("perceive_anything.video.VideoWriter", Writer)
    return writers


# values


def test_run_lengths_come_back_as_the_mask() -> None:
    rng = np.random.default_rng(0)
    for mask in (square(0), square(5), rng.random((7, 9)) > 0.5, np.ones((3, 4), bool)):
        point = TrackPoint.from_mask(0, 0.0, mask, 0.5)
        assert isinstance(point.rle["counts"], str)
        assert point.mask.dtype == bool
        np.testing.assert_array_equal(point.mask, mask)


def test_a_track_has_an_entry_a_frame() -> None:
    track = make_track()
    assert len(track.masks) == len(track.points) == NUM_FRAMES
    for index, mask in enumerate(track.masks):
        np.testing.assert_array_equal(mask, square(index))
    np.testing.assert_array_equal(track.masks[-1], square(NUM_FRAMES - 1))
    assert [mask.sum() for mask in track.masks[4:7]] == [1600, 0, 0]
    assert np.asarray(track.masks).shape == (NUM_FRAMES, HEIGHT, WIDTH)
    assert track.boxes_xyxy.shape == (NUM_FRAMES, 4)
    assert track.boxes_xyxy[3].tolist() == [25, 30, 65, 70]
    assert track.scores[3] == pytest.approx(0.87)
    assert track.times_s[3] == pytest.approx(0.3)
    assert track.frames.tolist() == list(range(NUM_FRAMES))
    with pytest.raises(IndexError):
        track.masks[NUM_FRAMES]


def test_absent_frames_say_so_and_the_region_returns_under_its_id() -> None:
    track = make_track(track_id=4)
    assert [index for index, seen in enumerate(track.visible) if not seen] == list(ABSENT)
    assert track.boxes_xyxy[5].tolist() == [0, 0, 0, 0]
    assert not track.masks[5].any()
    assert track.visible[7]
    assert {track.region(index).id for index in range(NUM_FRAMES)} == {4}
    assert not track.region(5).mask.any()


def test_a_track_is_frozen_comparable_and_prints_in_a_line() -> None:
    track = make_track(label="square")
    assert track == make_track(label="square")
    assert hash(track) == hash(make_track(label="square"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        track.label = "dog"  # type: ignore[misc]
    assert repr(track) == (
        "Track(id=0, label='square', video=160x120, frames=0..11, visible=10/12)"
    )
    assert "counts" not in repr(track.points[0])


def test_a_region_of_one_frame_has_the_texts() -> None:
    region = make_track(label="square", caption="It moves.").region(7)
    assert (region.label, region.caption, region.box_xyxy) == (
        "square",
        "It moves.",
        (45, 30, 85, 70),
    )
    with pytest.raises(OptionError, match="from 2 to 11"):
        make_track(first=2).region(1)


def test_the_caption_is_the_one_of_the_current_span() -> None:
    track = make_track(caption="A square.", spans=SPANS)
    said = [track.caption_at(index) for index in (0, 4, 5, 7, 11, 12)]
    assert said == [SPANS[0].text, SPANS[0].text, None, SPANS[1].text, SPANS[1].text, None]
    assert make_track(caption="A square.").caption_at(5) == "A square."


def test_points_must_be_in_order_and_hold_the_prompt() -> None:
    track = make_track()
    with pytest.raises(ValueError, match="time order"):
        dataclasses.replace(track, points=track.points[::-1])
    with pytest.raises(ValueError, match="prompted frame 3"):
        dataclasses.replace(track, points=track.points[5:])


# formats


def test_the_json_of_a_video_is_what_the_schema_says() -> None:
    result = make_result(make_track(0, label="square", spans=SPANS), make_track(1, first=2))
    found = json.loads(json.dumps(result.to_json()))
    jsonschema.validate(found, RESULT_SCHEMA)
    assert (found["schema"], found["fps"], found["frames"]) == ("perceive.result/1", 10.0, 12)
    first, second = found["regions"]
    assert first["box"] == first["track"][3]["box"] == [25, 30, 65, 70]
    assert first["spans"][0] == {
        "start_s": 0.0,
        "end_s": 0.4,
        "start_frame": 0,
        "end_frame": 4,
        "text": "A square moves right.",
    }
    hidden = first["track"][5]
    assert (hidden["visible"], hidden["box"], hidden["time_s"]) == (False, [0, 0, 0, 0], 0.5)
    assert coco_mask.decode(hidden["mask"]).sum() == 0
    assert "spans" not in second
    assert second["track"][0]["frame"] == 2
    assert result.to_dict() == result.to_json()


def test_a_mask_prompt_fits_the_schema_too() -> None:
    track = dataclasses.replace(make_track(), prompt=Mask(square(3)))
    jsonschema.validate(make_result(track).to_json(), RESULT_SCHEMA)


@pytest.mark.parametrize("missing", ["fps", "frames", "track"])
def test_the_schema_tells_videos_from_images(missing: str) -> None:
    found = make_result(make_track()).to_json()
    del (found["regions"][0] if missing == "track" else found)[missing]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, RESULT_SCHEMA)


def test_an_unknown_length_is_counted_to_the_last_followed_frame() -> None:
    assert make_result(make_track(), num_frames=None).to_json()["frames"] == NUM_FRAMES
    assert make_result(num_frames=None).to_json()["frames"] == 0


def test_youtube_vis_has_an_entry_for_each_frame_of_the_video() -> None:
    tracks = (make_track(0, label="square", caption="It moves."), make_track(1, first=2))
    found = json.loads(json.dumps(make_result(*tracks, num_frames=14).to_coco()))
    (video,) = found["videos"]
    assert (video["width"], video["height"], video["length"]) == (WIDTH, HEIGHT, 14)
    assert video["file_names"][0] == "square/00000.jpg"
    assert found["categories"] == [{"id": 1, "name": "square"}, {"id": 2, "name": "region"}]
    first, second = found["annotations"]
    assert (first["id"], first["video_id"], second["category_id"]) == (1, video["id"], 2)
    for index, rle in enumerate(first["segmentations"]):
        if index in ABSENT or index >= NUM_FRAMES:
            assert rle is first["bboxes"][index] is first["areas"][index] is None
            continue
        np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), square(index))
        assert first["bboxes"][index] == [10 + 5 * index, 30, 40, 40]
        assert first["areas"][index] == coco_mask.area(rle) == 1600
    assert second["segmentations"][:2] == [None, None]
    assert len(second["bboxes"]) == len(second["areas"]) == 14
    assert first["score"] == pytest.approx(tracks[0].scores[tracks[0].visible].mean(), abs=1e-4)


def test_a_track_alone_is_a_data_set_too() -> None:
    found = make_track(label="square").to_coco("a.mp4", num_frames=20)
    assert found["videos"][0]["length"] == len(found["annotations"][0]["areas"]) == 20


def test_lines_of_events_are_what_the_schema_says() -> None:
    seen = tuple(
        TrackedRegion(index, point.box_xyxy, point.score, point.visible, point.rle)
        for index, point in enumerate(make_track().points[4:6])
    )
    events = [
        FrameEvent(0.4, 4, (WIDTH, HEIGHT), seen, 2),
        FrameEvent(0.5, 5, (WIDTH, HEIGHT), ()),
        CaptionEvent(1, 0.0, 0.5, 0, 5, "一个方块。", "change", -0.25, "方块", 0.25, True),
        EndEvent(1.1, 12, 2, "source"),
    ]
    lines = [json.loads(json.dumps(line)) for event in events for line in event.to_lines()]
    for line in lines:
        jsonschema.validate(line, EVENT_SCHEMA)
    kinds = [(line["type"], line.get("track")) for line in lines]
    assert kinds == [("frame", 0), ("frame", 1), ("caption", 1), ("end", None)]
    assert [line["visible"] for line in lines[:2]] == [True, False]
    np.testing.assert_array_equal(seen[0].mask, square(4))
    caption = events[2]
    assert lines[2]["log_probability"] == -0.25
    assert (lines[2]["label"], lines[2]["uncertain"], events[2].title) == ("方块", True, "方块?")
    assert (lines[2]["time_s"], lines[2]["text"]) == (0.5, "一个方块。")
    assert caption.span == CaptionSpan(0.0, 0.5, 0, 5, "一个方块。")
    assert [caption.to_dict()] == caption.to_lines()


def test_the_schemas_are_valid_schemas() -> None:
    for schema in (RESULT_SCHEMA, EVENT_SCHEMA):
        jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": "perceive.event/1", "type": "frame"}, EVENT_SCHEMA)


def test_the_public_names_are_these() -> None:
    assert pa.Track is Track
    assert (pa.FrameEvent, pa.CaptionEvent, pa.EndEvent) == (FrameEvent, CaptionEvent, EndEvent)
    assert pa.VideoResult is VideoResult


# drawn videos


def test_a_saved_video_shows_the_region_on_each_frame(
    written: list[SimpleNamespace], tmp_path: Path
) -> None:
    path = make_track(first=2, label="square", caption="It moves.").save(
        tmp_path / "new" / "out.mp4", Source()
    )
    (writer,) = written
    assert (writer.path, writer.fps, writer.size_wh) == (path, FPS, (WIDTH, HEIGHT))
    assert writer.closed
    assert writer.times == [pytest.approx(index / FPS) for index in range(NUM_FRAMES)]
    for index, array in enumerate(writer.frames):
        changed = (array != 128).any(axis=2)
        assert array.shape == (HEIGHT, WIDTH, 3)
        if index < 2:
            assert not changed.any()
            continue
        assert changed[square(index)].all()
        assert changed[-14:].mean() > 0.5, "caption"
        beside = changed & ~square(index)
        assert not beside[45:90].any(), "nothing but tag and strip outside the mask"
    assert path.parent.is_dir()


def test_each_track_has_its_colour_and_its_caption(
    written: list[SimpleNamespace], tmp_path: Path
) -> None:
    tracks = make_track(0, top=5, spans=SPANS), make_track(1, top=50, caption="Another.")
    make_result(*tracks).save(tmp_path / "out.mp4", Source())
    frames = written[0].frames
    assert (frames[3][25, 45] != frames[3][70, 45]).any()
    assert frames[3][-30:].mean() < frames[5][-30:].mean(), "no span on frame 5"


def test_json_needs_no_video(tmp_path: Path) -> None:
    path = make_result(make_track(label="方块")).save(tmp_path / "answer.json")
    jsonschema.validate(json.loads(path.read_text("utf-8")), RESULT_SCHEMA)
    assert json.loads(make_track().save(tmp_path / "track.json").read_text("utf-8"))["track"]


def test_what_cannot_be_saved_says_why(tmp_path: Path) -> None:
    track = make_track()
    with pytest.raises(OptionError, match="without the video"):
        track.save(tmp_path / "out.mp4")
    with pytest.raises(OptionError, match=r"\.json, \.mp4, \.m4v, \.mov"):
        track.save(tmp_path / "out.gif", Source())
    other = Source()
    other.size_wh = (90, 60)  # type: ignore[misc]
    with pytest.raises(OptionError, match="90x60 .* 160x120"):
        track.save(tmp_path / "out.mp4", other)
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot write"):
        track.save(tmp_path / "file" / "out.mp4", Source())


def test_the_file_has_every_frame_and_the_region_on_it(tmp_path: Path) -> None:
    result = make_result(make_track(label="square", spans=SPANS))
    path = result.save(tmp_path / "new" / "out.mp4", Source())
    video = VideoFile(path)
    frames = list(video.frames())
    assert (len(frames), video.size_wh) == (NUM_FRAMES, (WIDTH, HEIGHT))
    color = 0.6 * 128 + 0.4 * np.array(draw.region_rgb(0))
    for frame in frames:
        assert frame.time_s == pytest.approx(frame.index / FPS, abs=1e-3)
        inside = np.zeros((HEIGHT, WIDTH), bool)
        inside[40:60, 20 + 5 * frame.index : 40 + 5 * frame.index] = True
        expected = np.array([128, 128, 128]) if frame.index in ABSENT else color
        np.testing.assert_allclose(frame.image[inside].mean(axis=0), expected, atol=6)


def test_the_video_is_not_written_over(tmp_path: Path) -> None:
    path = make_track().save(tmp_path / "clip.mp4", Source())
    before = path.read_bytes()
    with pytest.raises(OptionError, match="over the video"):
        make_track().save(path, VideoFile(path))
    assert path.read_bytes() == before


def test_a_video_that_ends_too_early_is_drawn_as_far_as_it_goes(
    written: list[SimpleNamespace], tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="too early"):
        make_track().save(tmp_path / "out.mp4", Source(8, "video_truncated"))
    assert len(written[0].frames) == 8
    with pytest.raises(MediaError):
        make_track().save(tmp_path / "out.mp4", Source(8))


def test_an_event_is_drawn_like_a_track() -> None:
    point = make_track().points[2]
    region = TrackedRegion(0, point.box_xyxy, point.score, point.visible, point.rle)
    event = FrameEvent(0.2, 2, (WIDTH, HEIGHT), (region,), 0)
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    track = make_track(label="square", caption="It moves.")
    drawn = event.plot(grey, {0: "It moves."}, {0: "square"})
    np.testing.assert_array_equal(drawn, track.plot(grey, 2))
    assert (event.plot(grey)[-10:] == 128).all(), "no caption was given"
    with pytest.raises(OptionError, match="64x48"):
        event.plot(grey[:48, :64])


def test_chinese_without_a_font_warns_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "find_font", lambda _: None)
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    track = make_track(label="方块", caption="一个方块向右移动。")
    with pytest.warns(UserWarning, match="captions; they are left out"):
        drawn = track.plot(grey, 0)
    assert (drawn[-20:] == 128).all()
    assert (drawn[square(0)] != 128).any(axis=1).all()


def test_chinese_is_drawn_with_a_font_that_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(draw.FONT_VARIABLE, str(build_font(tmp_path / "bars.ttf", "Tg猫狗跑。")))
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        one, other = (
            make_track(label="猫", caption=text).plot(grey, 0) for text in ("猫跑。", "狗跑。")
        )
    changed = (one != other).any(axis=2)
    assert changed[-20:].any(), "the captions differ"
    assert not changed[:-20].any()


@pytest.mark.parametrize("shape", [(1, 1), (20, 400), (400, 20), (48, 64)])
def test_any_size_of_frame_can_be_drawn_on(shape: tuple[int, int]) -> None:
    drawn = draw.draw_video_frame(
        np.zeros((*shape, 3), np.uint8),
        masks=[np.ones(shape, bool)] * 5,
        labels=["a rather long label"] * 5,
        captions=["A caption of several words,\nand aword" + "o" * 90] * 5,
        color_ids=range(5),
    )
    assert drawn.shape == (*shape, 3)


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        draw.draw_video_frame(
            np.zeros((9, 9, 3), np.uint8), masks=[], labels=["a"], captions=[], color_ids=[]
        )


def test_captions_wrap_between_words_and_between_chinese_characters() -> None:
    font = draw._load_font(None, 12)
    text = "one two three four five six seven"
    rows = draw.wrap_text(text, font, 80, 10)
    assert " ".join(rows) == text
    assert len(rows) > 1
    cut = draw.wrap_text(text, font, 80, 2)
    assert cut[1].endswith("...")
    assert all(font.getlength(row) <= 80 for row in (*rows, *cut))
    chinese = draw.wrap_text("狗在草地上奔跑，追着一个红球。", font, 60, 10)
    assert "".join(chinese) == "狗在草地上奔跑，追着一个红球。"
    assert len(chinese) > 1
    assert not any(row[0] in "，。" for row in chinese)


def test_a_mask_keeps_the_frame_outside_of_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    before = image.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        drawn = draw.draw_video_frame(
            image, masks=[square(0)], labels=[""], captions=[""], color_ids=[0]
        )
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(drawn[~square(0)], image[~square(0)])
    red, green, blue = draw.region_rgb(0)
    expected = 0.6 * image[50, 30] + 0.4 * np.array([red, green, blue])
    np.testing.assert_allclose(drawn[50, 30], expected, atol=1)
    assert tuple(drawn[30, 30]) == (red, green, blue), "rim"
