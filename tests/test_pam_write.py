"""PAM-data rows written: what was read from rows is equal after it was written and read again."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perceive_anything.data.handles import Base64Range
from perceive_anything.data.readers.pam_data import read_pam_data
from perceive_anything.data.readers.pam_write import write_pam_data
from perceive_anything.data.schema import ByteRange, ImageRecord, RegionRecord
from perceive_anything.data.sources import DataSource, read_source
from perceive_anything.errors import DataError
from reader_fixtures import SQUARE, packed, picture

FRAMES = ["00000.jpg", "00004.jpg", "00008.jpg"]


def talk(question, answer):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def image_row(**more):
    row = {"type": "image", "image": "images/a.jpg", "conversations": talk("<image>\nWhat?", "dog")}
    return {**row, "bbox": [5.1, 4.7, 10.3, 6.9], "points": None, "labels": None, **more}


def video_row(**more):
    row = {"type": "video", "image_root": "clip", "frames": FRAMES, "obj_id": 3}
    row |= {"masked_frames": [FRAMES[0], FRAMES[2]], "bbox": [[1, 2, 3, 4], [11.5, 2, 3, 4]]}
    row |= {"points": [[[1, 2], [9, 9]], [[12, 3]]], "labels": [[1, 0], [1]]}
    return {**row, "conversations": talk("<image>\nNow?\nPrevious caption: 狗。", "它跑。"), **more}


ROWS = [
    image_row(),
    image_row(conversations=talk("Look <image> here", "a dog")),
    image_row(conversations=[*talk("<image>\nWhat?", "cat"), *talk("And why?", "so")]),
    image_row(bbox=None, points=[[2, 3], [6.5, 5], [20, 19]], labels=[1, 1, 0]),
    image_row(bbox=[0, 0, 30, 20], points=[[2, 3]], labels=[1]),
    image_row(image="images/b.jpg", bbox=[[5, 4, 10, 6]]),
    video_row(),
    video_row(obj_id=4, points=None, labels=None),
    video_row(bbox=None),
    video_row(bbox=[[1, 2, 3, 4], [0, 0, 0, 0]], points=[[], [[2, 2]]], labels=[[], [1]]),
    video_row(frames=FRAMES[:2], masked_frames=None, bbox=[[1, 2, 3, 4]], points=None, labels=None),
]


@pytest.fixture
def folder(tmp_path):
    """Pictures of 30 x 20, and rows about them."""
    for name in ("images/a.jpg", "images/b.jpg", *(f"clip/{name}" for name in FRAMES)):
        picture(tmp_path / name)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("place", [".", "deep/er", "../elsewhere"])
def test_read_written_and_read_again_is_equal(folder, place):
    records = read_pam_data(folder / "rows.jsonl")
    assert [len(record.regions) for record in records] == [3, 1, 4, 1]
    path = folder / place / "again.jsonl"
    count = write_pam_data(records, path)
    assert count == sum(len(r.extra["turns"]) for record in records for r in record.regions) == 12
    again = read_pam_data(path)
    assert again == records
    second = folder / place / "second.jsonl"
    write_pam_data(again, second)
    assert second.read_bytes() == path.read_bytes()


def test_rows_have_the_fields_of_the_release(folder):
    write_pam_data(read_pam_data(folder / "rows.jsonl"), folder / "again.jsonl")
    rows = [json.loads(line) for line in (folder / "again.jsonl").read_text("utf-8").splitlines()]
    image, clip = rows[0], next(row for row in rows if row["type"] == "video")
    assert image["image"] == "images/a.jpg"
    assert image["conversations"] == talk("<image>\nWhat?", "dog")
    assert (image["points"], image["labels"]) == (None, None)
    assert np.allclose(image["bbox"], [5.1, 4.7, 10.3, 6.9])
    expected = {key: value for key, value in video_row().items() if key != "bbox"}
    assert {key: clip[key] for key in expected} == expected
    assert clip["bbox"] == [[1, 2, 3, 4], [11.5, 2, 3, 4]]


def test_a_recipe_reads_what_was_written(folder):
    records = read_pam_data(folder / "rows.jsonl")
    (folder / "rows.jsonl").unlink()
    write_pam_data(records, folder / "again.jsonl")
    assert list(read_source(DataSource(path=".", format="pam", split="val"), folder)) == records


@settings(max_examples=100, deadline=None)
@given(
    left=st.floats(-5, 28), top=st.floats(-5, 18), width=st.floats(6, 40), height=st.floats(6, 40)
)
def test_boxes_of_rows_survive_to_the_last_bit(tmp_path_factory, left, top, width, height):
    folder = tmp_path_factory.mktemp("rows")
    picture(folder / "a.png")
    row = image_row(image="a.png", bbox=[left, top, width, height])
    (folder / "rows.jsonl").write_text(json.dumps(row))
    records = read_pam_data(folder / "rows.jsonl")
    write_pam_data(records, folder / "rows.jsonl")
    assert read_pam_data(folder / "rows.jsonl") == records


def test_a_box_of_another_source_is_off_by_a_bit_at_most(folder):
    """No width in floating point leads from this left to this right side."""
    box = (1.4711835537274585, 0.0, 18.437187716316007, 10.0)
    record, *_ = read_pam_data(folder / "rows.jsonl")
    moved = replace(record, regions=(replace(record.regions[0], box_xyxy=box),))
    write_pam_data([moved], folder / "out.jsonl")
    (again,) = read_pam_data(folder / "out.jsonl")
    assert np.allclose(again.regions[0].box_xyxy, box, rtol=1e-15, atol=0)


def test_records_of_other_sources(folder):
    """Texts may come from elsewhere; a mask is not in a row, its box is."""
    handle = ByteRange(str(folder / "images" / "a.jpg"))
    named = RegionRecord(0, "dog", None, (5, 4, 15, 10), packed(SQUARE), "instance")
    record = ImageRecord("coco-1", "coco", "CC BY 4.0", "val", (30, 20), (), (named,), handle)
    rows = folder / "out.jsonl"
    write_pam_data([record, record], rows, turns=lambda region: [("Name it.", region.label)])
    (again,) = read_pam_data(rows)
    assert (again.id, again.source, again.license, again.split) == (
        "coco-1", "coco", "CC BY 4.0", "val"
    )  # fmt: skip
    assert again.regions[0].extra["turns"] == (("Name it.", "dog"),)
    assert again.regions[0].box_xyxy == named.box_xyxy
    others = [replace(record, id=f"{n}") for n in range(3)]  # the same picture, told apart
    write_pam_data(others, rows, turns=lambda region: [("Name it.", region.label)])
    assert [found.id for found in read_pam_data(rows)] == ["0", "1", "2"]


def test_what_cannot_be_written_is_told(folder):
    good, *_ = read_pam_data(folder / "rows.jsonl")
    silent = replace(good, id="silent", regions=(replace(good.regions[0], extra={}),))
    inside = replace(good, id="inside", handle=ByteRange("a.tar", 512, 99))
    table = replace(good, id="table", handle=Base64Range(good.handle.path))
    asking = replace(good.regions[0], extra={"turns": (("An <image>?", "yes"), ("Then", " "))})
    odd, told = replace(good, id="odd", regions=(asking,)), []
    path = folder / "out.jsonl"
    count = write_pam_data([silent, inside, good, table, odd], path, max_bad=9, report=told.append)
    assert count == 6
    assert [line.split('"')[1] for line in told] == ["silent", "inside", "table", "odd"]
    before = path.read_bytes()
    with pytest.raises(DataError, match="it has no turns; that makes 1"):
        write_pam_data([good, silent], path)
    with pytest.raises(DataError, match="no row to write"):
        write_pam_data([], path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in folder.iterdir() if file.is_file()) == [
        "out.jsonl",
        "rows.jsonl",
    ]
    (folder / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written") as caught:
        write_pam_data([good], folder / "file" / "out.jsonl")
    assert caught.value.code == "out_unwritable"


def test_of_a_mask_is_written_the_box_and_an_object_that_is_nowhere_is_left_out(folder):
    *_, clip, _ = read_pam_data(folder / "rows.jsonl")
    track = clip.regions[0]
    masked = replace(track, id=0, boxes_xyxy={}, points={}, rles={1: packed(SQUARE)})
    nowhere = replace(track, id=1, boxes_xyxy={}, points={})
    told = []
    path = folder / "out.jsonl"
    record = replace(clip, regions=(masked, nowhere))
    assert write_pam_data([record], path, max_bad=1, report=told.append) == 1
    assert "region 1 is left out: no frame has a box, a click or a mask" in told[0]
    (again,) = read_pam_data(path)
    ys, xs = np.nonzero(SQUARE)
    box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert again.regions[0].boxes_xyxy == {1: tuple(map(float, box))}
