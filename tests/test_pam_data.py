"""PAM-data rows: images and clips, rows that belong together, and every kind of bad row."""

import json

import numpy as np
import pytest
from PIL import Image

from perceive_anything.data.readers.pam_data import read_pam_data
from perceive_anything.data.schema import ClipRecord, ImageRecord
from perceive_anything.errors import DataError

FRAMES = ["00000.jpg", "00004.jpg", "00008.jpg"]
LABEL = "Classify this subject and provide its label."
STREAM = "Provide a caption for this subject in this video.\nPrevious caption: A dog sits."


def talk(question=LABEL, answer="dog"):
    return [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]


def image_row(**more):
    """A row as the release's training code reads it: what a row has no use for is null."""
    row = {"type": "image", "image": "train2017/a.jpg", "conversations": talk()}
    return {**row, "bbox": [5, 4, 10, 6], "points": None, "labels": None, **more}


def video_row(**more):
    row = {"type": "video", "image_root": "/nowhere/SAV/clip", "frames": FRAMES, "obj_id": 3}
    row |= {"masked_frames": [FRAMES[0], FRAMES[2]], "conversations": talk(STREAM, "It runs.")}
    row |= {"bbox": [[1, 2, 3, 4], [11, 2, 3, 4]], "labels": [[1, 1, 0], [1, 1, 1]]}
    row |= {"points": [[[1, 2], [2, 3], [9, 9]], [[12, 3], [12, 4], [12, 5]]]}
    return {**row, **more}


@pytest.fixture
def folder(tmp_path):
    """Pictures of 30 x 20 as people lay them out: photos below images/, frames in clip/."""
    for name in ("images/train2017/a.jpg", "b.png", *(f"clip/{name}" for name in FRAMES)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (9, 8, 7)).save(path)
    return tmp_path


def write(folder, *rows, name="rows.jsonl"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return folder / name


def test_an_image_row(folder):
    (record,) = read_pam_data(write(folder, image_row()))
    assert isinstance(record, ImageRecord)
    assert (record.id, record.source, record.size_wh) == (
        "images/train2017/a.jpg", "rows", (30, 20)
    )  # fmt: skip
    assert record.load().shape == (20, 30, 3)
    (region,) = record.regions
    assert region.box_xyxy == (5, 4, 15, 10)
    assert region.extra == {"turns": ((LABEL, "dog"),)}


def test_a_clip_row(folder):
    (record,) = read_pam_data(write(folder, video_row()))
    assert isinstance(record, ClipRecord)
    assert (record.id, record.size_wh, len(record.frames)) == ("clip#0", (30, 20), 3)
    assert record.load(2).shape == (20, 30, 3)
    (track,) = record.regions
    assert track.boxes_xyxy == {0: (1, 2, 4, 6), 2: (11, 2, 14, 6)}
    assert track.points[0] == ((1, 2, 1), (2, 3, 1), (9, 9, 0))
    assert track.extra == {"obj_id": 3, "turns": ((STREAM, "It runs."),)}


def test_rows_of_one_image_or_clip_are_one_record(folder):
    chinese = image_row(conversations=talk("对该目标对象进行分类并提供标签", "狗"))
    other = image_row(bbox=[1, 1, 4, 4], points=[[2, 2], [9, 9]], labels=[1, 0])
    write(folder, image_row(), video_row(), other, name="one/en.jsonl")
    write(folder, chinese, image_row(), video_row(obj_id=4), name="two/ch.jsonl")
    short = video_row(frames=FRAMES[:2], masked_frames=None, bbox=[[1, 2, 3, 4]], points=None,
                      labels=None)  # fmt: skip
    write(folder, short, name="two/short.jsonl")
    picture, clip, start = read_pam_data(folder)
    assert [region.id for region in picture.regions] == [0, 1]
    assert picture.regions[0].extra["turns"] == (
        (LABEL, "dog"), ("对该目标对象进行分类并提供标签", "狗")
    )  # fmt: skip
    assert picture.regions[1].extra["points"] == ((2, 2, 1), (9, 9, 0))
    assert [track.extra["obj_id"] for track in clip.regions] == [3, 4]
    assert (start.id, len(start.frames), start.regions[0].boxes_xyxy) == (
        "clip#1", 2, {0: (1, 2, 4, 6)}
    )  # fmt: skip


def test_clicks_alone_make_a_box_that_says_so(folder):
    row = image_row(bbox=None, points=[[2, 3], [6, 5], [20, 19]], labels=[1, 1, 0])
    (record,) = read_pam_data(write(folder, row))
    assert record.regions[0].box_xyxy == (2, 3, 6, 5)
    assert record.regions[0].extra["points_only"] is True


def test_several_turns_and_a_list_of_rows(folder):
    later = [{"from": "human", "value": "What is it for?"}, {"from": "gpt", "value": "fun"}]
    asked = [{"from": "human", "value": "Look. <image>\nWhat?"}, *talk()[1:]]
    rows = [
        image_row(conversations=talk() + later),
        image_row(image=["b.png"], conversations=asked),
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    first, second = read_pam_data(folder / "rows.json")
    assert first.regions[0].extra["turns"] == ((LABEL, "dog"), ("What is it for?", "fun"))
    assert second.regions[0].extra["turns"] == (("Look. \nWhat?", "dog"),)


@pytest.mark.parametrize(
    ("masked", "expected"),
    [
        (["00000.png", "00008"], [0, 2]),  # names, the kind of file does not matter
        ([0, 8], [0, 2]),  # numbers of the names
        ([0, 1], [0, 1]),  # places
    ],
)
def test_masked_frames_are_names_numbers_or_places(folder, masked, expected):
    (record,) = read_pam_data(write(folder, video_row(masked_frames=masked)))
    assert list(record.regions[0].boxes_xyxy) == expected


def test_an_object_may_be_hidden_on_a_frame(folder):
    row = video_row(bbox=[[1, 2, 3, 4], [0, 0, 0, 0]], points=[[[1, 2]], []], labels=[[1], []])
    (record,) = read_pam_data(write(folder, row))
    assert list(record.regions[0].boxes_xyxy) == [0]
    assert list(record.regions[0].points) == [0]


def test_the_size_is_that_of_the_picture_as_it_is_shown(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "turned.jpg", exif=exif)
    (record,) = read_pam_data(write(folder, image_row(image="turned.jpg")))
    assert record.size_wh == (20, 30)
    assert record.load().shape == (30, 20, 3)


BAD = {
    "no object": ([1], "not an object"),
    "kind": (image_row(type="text"), "neither image nor video"),
    "no conversation": ({"type": "image", "image": "b.png"}, "'conversations' is missing"),
    "speakers": (image_row(conversations=talk()[:1]), "human and gpt in turn"),
    "silent": (image_row(conversations=talk(answer=" ")), "is empty"),
    "no text": (image_row(conversations=[*talk()[:1], {"from": "gpt", "value": 1}]), "no text"),
    "two markers": (image_row(conversations=talk("<image> again")), "more than once"),
    "no file": (image_row(image="train2017/z.jpg"), "no file train2017/z.jpg"),
    "another folder": (image_row(image="val2017/a.jpg"), "no file val2017/a.jpg"),
    "several files": (image_row(image=["b.png", "b.png"]), "2 images"),
    "no frame": (video_row(frames=["00000.jpg", "1.jpg"]), "no file /nowhere/SAV/clip/1.jpg"),
    "no frames": (video_row(frames=[]), "no list of names"),
    "no root": ({**video_row(), "image_root": None}, "NoneType"),
    "outside": (image_row(bbox=[40, 4, 10, 6]), "holds no pixel"),
    "short box": (image_row(bbox=[4, 10, 6]), "not enough values"),
    "not finite": (image_row(bbox=[0, 0, float("inf"), 6]), "holds no pixel"),
    "no prompt": (image_row(bbox=None), "neither bbox nor a point"),
    "labels": (image_row(points=[[1, 1]], labels=[1, 0]), "labels [1, 0]"),
    "label": (image_row(points=[[1, 1]], labels=[2]), "labels [2]"),
    "no labels": (image_row(points=[[1, 1]]), "labels None"),
    "far click": (image_row(points=[[31, 1]], labels=[1]), "lies outside"),
    "no track": (video_row(bbox=None, points=None, labels=None), "neither bbox nor points"),
    "all hidden": (video_row(bbox=[[0, 0, 0, 0]] * 2, points=None, labels=None), "on any frame"),
    "counts": (video_row(masked_frames=FRAMES), "2 prompts for 3 masked_frames"),
    "uneven": (video_row(points=[[[1, 2]]]), "1 points for 2 frames"),
    "unmasked": (video_row(masked_frames=None), "no masked_frames"),
    "foreign": (video_row(masked_frames=["00000.jpg", "00009.jpg"]), "do not tell"),
    "twice": (video_row(masked_frames=[0, 0]), "do not tell"),
}  # fmt: skip


@pytest.mark.parametrize(("row", "said"), BAD.values(), ids=BAD)
def test_a_bad_row_is_told_with_its_place_and_left_out(folder, row, said):
    path, told = write(folder, image_row(), row), []
    (record,) = read_pam_data(path, report=told.append)
    assert len(record.regions) == 1
    (line,) = told
    assert line.startswith(f"{path}:2 is left out: ")
    assert said in line


def test_numbers_that_can_be_read_in_two_ways_are_bad(folder):
    for name in ("00001.jpg", "00002.jpg", "00003.jpg"):
        Image.new("RGB", (30, 20)).save(folder / "clip" / name)
    frames = ["00001.jpg", "00002.jpg", "00003.jpg"]
    unclear, told = video_row(frames=frames, masked_frames=[2, 1]), []
    begins = video_row(frames=frames, masked_frames=[1, 2])
    (record,) = read_pam_data(write(folder, unclear, begins), report=told.append)
    assert "do not tell" in told[0]
    assert list(record.regions[0].boxes_xyxy) == [0, 1]  # the numbers of the names


def test_too_many_bad_rows_are_an_error(folder):
    path = write(folder, image_row(), image_row(bbox=None), {}, "x")
    with pytest.raises(DataError, match="rows.jsonl:4") as caught:
        read_pam_data(path, max_bad=2, report=lambda line: None)
    assert caught.value.code == "bad_record"
    path.write_text("{\n")
    with pytest.raises(DataError, match="no row of"):
        read_pam_data(path, report=lambda line: None)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="no .*jsonl"):
        read_pam_data(tmp_path)
    (tmp_path / "rows.json").write_text("{}")
    with pytest.raises(DataError, match="no list of rows"):
        read_pam_data(tmp_path)
    (tmp_path / "rows.json").write_text("[")
    with pytest.raises(DataError, match="cannot be read"):
        read_pam_data(tmp_path)


def test_a_picture_that_is_none_is_a_bad_row(folder):
    (folder / "b.png").write_text("no picture")
    told = []
    read_pam_data(write(folder, image_row(), image_row(image="b.png")), report=told.append)
    assert "cannot identify" in told[0]
