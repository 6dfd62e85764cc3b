"""What the demo is made of, without a browser and without a model."""

import base64
import io
import threading

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from perceive_anything.demo import image_tab
from perceive_anything.demo.board import MAX_REGIONS, Answer, Board
from perceive_anything.demo.cards import cards_html
from perceive_anything.demo.examples import DRAWING, drawn_scene, photo_examples, write_clip
from perceive_anything.demo.gestures import Click, Drag, Stroke, begins_new, prompt_of, read_gesture
from perceive_anything.demo.models import Models, stepwise
from perceive_anything.demo.pictures import color_hex, label_xy, mask_uri, photo_uri
from perceive_anything.demo.prompter import region_of, sent, uploaded
from perceive_anything.demo.service import Service
from perceive_anything.demo.timeline import Lane, lanes_html, runs
from perceive_anything.demo.visitors import Visitors
from perceive_anything.draw import region_rgb
from perceive_anything.errors import MediaError, OptionError, PromptError
from perceive_anything.masks import mask_to_box_xyxy
from perceive_anything.results import Region
from perceive_anything.tracks import CaptionSpan
from perceive_anything.types import Box, Mask, Points
from perceive_anything.video import VideoFile

SIZE_WH = (100, 60)


def region(prompt=None, box_xyxy=(10, 10, 30, 30), region_id=0):
    mask = np.zeros(SIZE_WH[::-1], bool)
    x1, y1, x2, y2 = box_xyxy
    mask[y1:y2, x1:x2] = True
    return Region(region_id, prompt or Mask(mask), mask, box_xyxy, 0.5)


# --- gestures


def test_a_click_alone_is_a_new_point():
    click = read_gesture({"type": "click", "xy": [5, 7], "positive": True, "join": False}, SIZE_WH)
    assert click == Click((5, 7), True, False)
    assert begins_new(click, region(), SIZE_WH)
    assert prompt_of(click, region(), SIZE_WH) == Points([(5, 7)], [1])


def test_what_reaches_over_the_edge_is_cut_there():
    data = {"type": "click", "xy": [100, 60.4], "positive": True, "join": False}
    read_gesture(data, SIZE_WH)
    prompt_of(read_gesture(data, SIZE_WH), None, SIZE_WH).validate_for(SIZE_WH)
    drag = read_gesture({"type": "drag", "box": [120, 50, -3, 2]}, SIZE_WH)
    assert drag == Drag((0, 2, 100, 50))
    assert prompt_of(drag, None, SIZE_WH) == Box(0, 2, 100, 50)


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        (Points([(5, 5)]), Points([(5, 5), (8, 9)], [1, 0])),
        (Box(1, 2, 30, 40), Points([(8, 9)], [0], Box(1, 2, 30, 40))),
        (Points([(5, 5)], [1], Box(1, 2, 3, 4)), Points([(5, 5), (8, 9)], [1, 0], Box(1, 2, 3, 4))),
        (None, Points([(8, 9)], [0], Box(10, 10, 30, 30))),
    ],
)  # fmt: skip
def test_an_excluding_click_joins_the_selected_region(selected, expected):
    click = Click((8, 9), positive=False, join=True)
    assert not begins_new(click, region(selected), SIZE_WH)
    assert prompt_of(click, region(selected), SIZE_WH) == expected


def test_there_must_be_something_to_exclude_from():
    for gesture in (Click((8, 9), False, True), Stroke(((8, 9),), 3, False)):
        with pytest.raises(PromptError, match="no selected region"):
            prompt_of(gesture, None, SIZE_WH)


def test_a_brush_paints_goes_on_and_erases():
    first = prompt_of(Stroke(((20, 20), (40, 20)), 4, True), None, SIZE_WH)
    x1, y1, x2, y2 = mask_to_box_xyxy(first.array)
    assert (abs(x1 - 16), abs(y1 - 16), abs(x2 - 44), abs(y2 - 24)) <= (1, 1, 1, 1)
    painted = Region(0, first, first.array, (x1, y1, x2, y2), 1.0)
    touching, apart = Stroke(((40, 20), (40, 40)), 4, True), Stroke(((80, 50),), 4, True)
    assert not begins_new(touching, painted, SIZE_WH)
    assert begins_new(apart, painted, SIZE_WH)
    more = prompt_of(touching, painted, SIZE_WH)
    assert (more.array & first.array).sum() == first.array.sum() < more.array.sum()
    less = prompt_of(Stroke(((20, 20),), 4, False), painted, SIZE_WH)
    assert 0 < less.array.sum() < first.array.sum()
    with pytest.raises(PromptError, match="empty"):
        prompt_of(Stroke(((0, 0), (100, 60)), 100, False), painted, SIZE_WH)


@pytest.mark.parametrize(
    "data",
    [
        None, 7, [], "click", {}, {"type": "leap"}, {"type": "click"},
        {"type": "drag", "box": [1, 2]},
        {"type": "click", "xy": [1, 2, 3], "positive": True, "join": False},
        {"type": "click", "xy": ["a", {}], "positive": True, "join": False},
        {"type": "click", "xy": [float("nan"), 1], "positive": True, "join": False},
        {"type": "click", "xy": [1e999, 1], "positive": True, "join": False},
        {"type": "stroke", "xy": [], "radius": 3, "positive": True},
        {"type": "stroke", "xy": 5, "radius": 3, "positive": True},
        {"type": "stroke", "xy": [[1, 2]], "radius": None, "positive": True},
    ],
)  # fmt: skip
def test_a_malformed_gesture_is_refused(data):
    with pytest.raises(PromptError):
        prompt_of(read_gesture(data, SIZE_WH), None, SIZE_WH)


def test_a_stroke_is_bounded():
    data = {"type": "stroke", "xy": [[1, 2]] * 9000, "radius": 1e9, "positive": True}
    stroke = read_gesture(data, SIZE_WH)
    assert len(stroke.xy) == 4000
    assert stroke.radius_px == 100


# --- board


def test_a_board_adds_corrects_and_goes_back():
    board = Board()
    board.add([region(), region()], "en")
    assert [entry.id for entry in board.entries] == [0, 1]
    assert board.selected == 0
    board.correct(board.current, region(Box(1, 2, 3, 4)), "en", frame=5)
    assert sorted(board.current.marks) == [0, 5]
    board.remove(0)
    assert [entry.id for entry in board.entries] == [1]
    board.add([region()], "en")
    assert board.selected == 2  # numbers are never used again
    board.clear()
    assert board.entries == ()
    for left in ([1, 2], [1], [0, 1], [0, 1], []):
        board.undo()
        assert [entry.id for entry in board.entries] == left
    assert not board.can_undo
    board.undo()
    board.select(77)
    assert board.selected is None


def test_a_board_is_bounded():
    board = Board()
    board.add([region()] * MAX_REGIONS, "en")
    with pytest.raises(PromptError, match="Remove"):
        board.add([region()], "en")


def test_another_language_forgets_texts_also_behind_undo():
    board = Board()
    board.add([region()], "en")
    board.current.answer.texts["recognize"] = "cat"
    board.current.answer.finished.add("recognize")
    assert board.current.label == "cat"
    board.clear()
    board.renew("zh")
    board.undo()
    assert board.current.answer == Answer("zh")


def test_a_result_has_what_is_finished():
    board = Board()
    board.add([region()], "en")
    answer = board.current.answer
    answer.texts = {"recognize": "cat", "caption": "a ca"}
    answer.finished, answer.confidence, answer.uncertain = {"recognize"}, 0.3, True
    found = board.current.result(4)
    assert (found.id, found.label, found.caption) == (4, "cat", None)
    assert (found.label_confidence, found.uncertain) == (0.3, True)
    answer.abandon()
    assert answer.texts == {"recognize": "cat"}


# --- what is shown


def test_cards_say_what_is_known_and_escape_it():
    board = Board()
    assert "Click" in cards_html(board, "Click <here>")
    assert "&lt;here&gt;" in cards_html(None, "Click <here>")
    board.add([region(), region()], "en")
    answer = board.current.answer
    answer.texts = {"recognize": "<b>cat</b>", "caption": "<script>", "explain": "An "}
    answer.started, answer.finished = {"recognize", "caption", "explain"}, {"recognize", "caption"}
    answer.confidence = 0.31
    html = cards_html(board, "")
    assert "&lt;b&gt;cat" in html
    assert "<script" not in html
    assert "31%" in html
    assert "unsure" not in html
    assert html.count("pa-caret") == 1  # only the explanation is being written
    assert html.count("pa-open") == 1
    answer.uncertain = True
    assert "unsure" in cards_html(board, "")
    assert "cat" not in cards_html(board, "", ["caption"])


def test_runs_of_frames():
    assert runs({}) == []
    assert runs({3: True, 1: True, 2: True, 4: False, 9: True}) == [
        (1, 3, True),
        (4, 4, False),
        (9, 9, True),
    ]


def test_lanes_show_presence_marks_and_captions():
    lane = Lane("<ball>", "#ff0000", {0: True, 1: True, 2: False}, (1,))
    html = lanes_html([lane], 10)
    assert 'viewBox="0 0 10 14"' in html
    assert html.count("pa-seen") == html.count("pa-absent") == html.count("pa-mark") == 1
    assert "&lt;ball&gt;" in html
    assert "visible, frames 0 to 1; absent, frames 2 to 2" in html
    assert "pa-spans" not in html
    spans = CaptionSpan(0.0, 0.4, 0, 3, 'it <rolls> "on"'), CaptionSpan(0.4, 1, 4, 9, "it rests")
    told = lanes_html([Lane("ball", "#ff0000", {0: True}, spans=spans)], 10)
    assert told.count("<button") == 2
    assert 'aria-label="0.0–0.4 s: it &lt;rolls&gt; &quot;on&quot;"' in told
    assert 'data-from="4" data-to="9"' in told
    assert "left: 40.00%; width: 60.00%" in told


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_pictures_shrink_and_masks_keep_their_place():
    photo = opened(photo_uri(np.zeros((3000, 1500, 3), np.uint8)))
    assert photo.size == (800, 1600)
    assert opened(photo_uri(np.zeros((30, 20, 3), np.uint8))).size == (20, 30)
    mask = np.zeros((60, 100), bool)
    mask[10:20, 50:80] = True
    alpha = np.asarray(opened(mask_uri(mask)).convert("RGBA"))[..., 3]
    assert np.array_equal(alpha == 255, mask)
    large = opened(mask_uri(np.kron(mask, np.ones((50, 50), bool)))).convert("RGBA")
    assert large.getchannel("A").getbbox() == (512, 102, 819, 205)


def test_a_label_stands_at_the_largest_part():
    mask = np.zeros((600, 1000), bool)
    mask[5, 5] = True
    mask[200:400, 300:700] = True
    x, y = label_xy(mask)
    assert (abs(x - 300), abs(y - 200)) <= (8, 8)
    assert label_xy(np.zeros((5, 5), bool)) == (0, 0)


def test_colours_are_those_of_the_overlays():
    assert [int(color_hex(3)[at : at + 2], 16) for at in (1, 3, 5)] == list(region_rgb(3))


def test_examples_are_there_without_a_network(tmp_path):
    for example in photo_examples():
        assert example.thumbnail()["thumb"].startswith("data:image/jpeg")
    assert {"lion", "cheetah"} <= {example.name for example in photo_examples()}
    assert DRAWING.array.shape == drawn_scene().shape
    assert sum(1 for _ in VideoFile(write_clip(tmp_path / "clip.mp4")).frames()) == 36


# --- what strangers send


def test_only_uploaded_files_are_opened(tmp_path):
    folder, secret = tmp_path / "uploads", tmp_path / "secret.png"
    (folder / "a1").mkdir(parents=True)
    secret.write_text("secret")
    good = folder / "a1" / "photo.png"
    good.write_text("photo")
    assert uploaded({"path": str(good), "name": "mine.png"}, folder) == (good, "mine.png")
    (folder / "link.png").symlink_to(secret)
    for path in (secret, folder / ".." / "secret.png", folder / "link.png", folder, "", None, 5):
        with pytest.raises(PromptError, match="not uploaded"):
            uploaded({"path": str(path)}, folder)
    with pytest.raises(PromptError):
        uploaded({}, folder)


def test_events_of_any_form_are_read():
    assert sent(gr.EventData(None, {"region": 3})) == {"region": 3}
    for data in (None, 5, "x", [1]):
        assert sent(gr.EventData(None, data)) == {}
    assert [region_of(data) for data in ({"region": 3}, {"region": "3"}, {})] == [3, None, None]


def test_large_and_damaged_photos_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(image_tab, "MAX_PHOTO_PX", 100)
    path = tmp_path / "photo.png"
    Image.new("RGB", (20, 20)).save(path)
    with pytest.raises(MediaError, match="20x20"):
        image_tab.read_photo(path)
    for content in (b"", b"no picture", path.read_bytes()[:40]):
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"photo\.png"):
            image_tab.read_photo(path)


def test_visitors_see_neither_folders_nor_passwords(tmp_path):
    sources = ("rtsp://me:secret@camera/1", str(tmp_path / "clip.mp4"), "0")
    service = Service(Models(("nano",), lambda name: name), tmp_path, sources)
    assert service.source_names() == ["1: rtsp://camera/1", "2: clip.mp4", "3: 0"]
    message = f'the image "{tmp_path}/a1b2/cat.png" is <broken>.\n  Copy it again.'
    shown = service.readable(message)
    assert str(tmp_path) not in shown
    assert "cat.png" in shown
    assert "&lt;broken&gt;.<br>" in shown


# --- visitors and models


class Part:
    closed = False

    def close(self):
        self.closed = True


def test_visitors_are_bounded_and_freed():
    now = [0.0]
    visitors = Visitors(most=2, idle_s=10, clock=lambda: now[0])
    parts = {}
    for name in "abc":
        parts[name] = visitors.get(name).photo = Part()
    assert len(visitors) == 2
    assert [parts[name].closed for name in "abc"] == [True, False, False]
    assert visitors.get("b").photo is parts["b"]
    now[0] = 11
    visitors.get("d")
    assert parts["b"].closed
    assert parts["c"].closed
    last = visitors.get("d").clip = Part()
    visitors.forget("d")
    visitors.forget("never came")
    assert last.closed
    assert len(visitors) == 0


def test_only_what_the_operator_names_is_loaded_and_once():
    loaded = []
    models = Models(("nano", "mine"), lambda name: loaded.append(name) or name)
    assert [models.get("mine"), models.get("mine"), models.get("nano")] == ["mine", "mine", "nano"]
    assert loaded == ["mine", "nano"]
    with pytest.raises(OptionError, match="does not offer"):
        models.get("/etc/passwd")


def test_the_lock_is_free_between_steps():
    lock = threading.Lock()

    def steps():
        for number in range(3):
            assert lock.locked()
            yield number

    for _ in stepwise(steps(), lock):
        assert not lock.locked()
