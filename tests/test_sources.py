"""Sources of a recipe: each format by its name, and a key that tells two states apart."""

import json
from dataclasses import replace

import pytest
from PIL import Image
from pydantic import ValidationError

from pack_fixtures import encoded, make_packs, room_image, write_tar
from perceive_anything.data.packs import read_packs
from perceive_anything.data.readers.coco import read_coco
from perceive_anything.data.schema import ByteRange, ClipRecord, TrackRecord
from perceive_anything.data.shards import ShardedRecords
from perceive_anything.data.sources import DataSource, fingerprint, read_source
from perceive_anything.errors import DataError


def coco(folder):
    folder.mkdir()
    Image.new("RGB", (30, 20)).save(folder / "a.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 30, "height": 20}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 4, 10, 6]}],
        "categories": [{"id": 1, "name": "lamp"}],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return folder


def pam(folder):
    folder.mkdir()
    Image.new("RGB", (30, 20)).save(folder / "a.png")
    talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A lamp."}]
    row = {"type": "image", "image": "a.png", "conversations": talk, "bbox": [5, 4, 10, 6]}
    (folder / "rows.jsonl").write_text(json.dumps({**row, "points": None, "labels": None}))
    return folder


def shards(folder):
    """One shard, written without webdataset."""
    folder.mkdir()
    row = {"id": "s", "split": "train", "width": 120, "height": 90, "regions": []}
    files = {"k.json": json.dumps(row).encode(), "k.png": encoded(room_image())}
    write_tar(folder / "a.tar", [], files)
    return folder


def test_every_format_is_read_by_its_name(tmp_path):
    make_packs(tmp_path), coco(tmp_path / "c"), pam(tmp_path / "p"), shards(tmp_path / "s")
    ids = {
        ("packs", "."): ["emoji-0", "emoji-1", "emoji-2", "emoji-3", "room-1", "apple-1"],
        ("packs", "room.tar"): ["room-1", "apple-1"],
        ("coco", "c"): ["7"],
        ("coco", "c/coco.json"): ["7"],
        ("pam", "p"): ["a.png"],
        ("pam", "p/rows.jsonl"): ["a.png"],
        ("shards", "s"): ["s"],
    }
    for (kind, path), expected in ids.items():
        records = read_source(DataSource(path=path, format=kind), tmp_path, [].append)
        assert [record.id for record in records] == expected
        assert {record.split for record in records} == {"train"}


def test_a_split_selects_or_names(tmp_path):
    make_packs(tmp_path), pam(tmp_path / "p")
    packs = DataSource(path=".", format="packs", split="val")
    assert [record.id for record in read_source(packs, tmp_path)] == ["outfit-1"]
    (record,) = read_source(DataSource(path="p", format="pam", split="val"), tmp_path)
    assert record.split == "val"
    with pytest.raises(DataError, match='no record of the split "test"'):
        read_source(DataSource(path=".", format="packs", split="test"), tmp_path)


def test_what_a_source_cannot_be(tmp_path):
    with pytest.raises(DataError, match="there is no") as caught:
        read_source(DataSource(path="gone", format="coco"), tmp_path)
    assert caught.value.code == "file_missing"
    for wrong in ({"format": "zip"}, {"weight": 0}, {"max_bad": -1}, {"colour": 1}):
        with pytest.raises(ValidationError):
            DataSource(**{"path": ".", "format": "packs", **wrong})


def test_bad_rows_are_counted_by_source(tmp_path):
    make_packs(tmp_path)
    write_tar(tmp_path / "more.tar", [{"id": "x"}, {"id": "y"}], {})
    told = []
    records = read_source(DataSource(path=".", format="packs"), tmp_path, told.append)
    assert (len(records), len(told)) == (6, 2)
    with pytest.raises(DataError, match=r"annotations\.jsonl:2"):
        read_source(DataSource(path=".", format="packs", max_bad=1), tmp_path, told.append)


def test_the_fingerprint_tells_states_of_the_data_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_packs(tmp_path / name)
    records = list(read_packs(tmp_path / "one"))
    key = fingerprint(records)
    assert len(key) == 16
    assert key == fingerprint(read_packs(tmp_path / "one"))
    assert key == fingerprint(read_packs(tmp_path / "two"))  # the same in another folder
    region, *others = records[-1].regions
    moved = replace(region, box_xyxy=(2, 2, 118, 87))
    told = replace(region, extra={"turns": (("What?", "An apple."),)})
    named = replace(region, label="apple")
    keys = {key, fingerprint(records[:-1]), fingerprint(records[::-1])}
    for other in (moved, told, named):
        changed = replace(records[-1], regions=(other, *others))
        keys.add(fingerprint([*records[:-1], changed]))
    assert len(keys) == 6


def test_the_fingerprint_of_clips_and_shards(tmp_path):
    frames = (ByteRange("a", 0, 5), ByteRange("a", 5, 6))
    track = TrackRecord(0, "cat", None, {0: (1, 2, 3, 4)})
    clip = ClipRecord("c", "", "", "train", (30, 20), frames, (track,))
    moved = replace(clip, regions=(replace(track, boxes_xyxy={1: (1, 2, 3, 4)}),))
    assert len({fingerprint([clip]), fingerprint([moved]), fingerprint([])}) == 3
    folder = shards(tmp_path / "s")
    read = ShardedRecords(folder)
    assert fingerprint(read) == fingerprint(ShardedRecords(folder))
    assert fingerprint(read) != fingerprint(ShardedRecords(folder, "train"))
    assert fingerprint(read) != fingerprint(read.only(clips=True))
    (folder / "b.tar").write_bytes((folder / "a.tar").read_bytes())
    assert fingerprint(read) != fingerprint(ShardedRecords(folder))


def test_the_fingerprint_of_a_folder_changes_with_a_box(tmp_path):
    folder = coco(tmp_path / "c")
    key = fingerprint(read_coco(folder))
    text = (folder / "coco.json").read_text()
    (folder / "coco.json").write_text(text.replace("[5, 4, 10, 6]", "[5, 4, 10, 7]"))
    assert fingerprint(read_coco(folder)) != key
