"""Shards: what is written is read, in any order, without reading more than is asked for."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pack_fixtures import encoded, make_packs
from perceive_anything.data.packs import read_packs
from perceive_anything.data.schema import (
    ByteRange,
    ClipRecord,
    ImageRecord,
    RegionRecord,
    TrackRecord,
)
from perceive_anything.data.shards import ShardedRecords, write_shards
from perceive_anything.errors import DataError
from perceive_anything.masks import encode_rle

ROW = {"id": "x", "split": "train", "width": 30, "height": 20, "regions": []}
PICTURE = encoded(np.full((20, 30, 3), 7, np.uint8))
TRACK = {"id": 1, "label": "", "boxes": {"1": [1, 2, 3, 4]}}
MASK = encode_rle(np.eye(20, 30, dtype=bool))


def shard(path, samples):
    """A tar of these files, as any tool may write it."""
    with tarfile.open(path, "w") as tar:
        for name, content in samples.items():
            content = json.dumps(content).encode() if isinstance(content, dict) else content
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path.parent


def records(folder):
    """An image and a clip with everything that a record can hold."""
    for name in ("a.png", "f0.png", "f1.png"):
        Image.new("RGB", (30, 20), (len(name), 2, int(name[1] == "1"))).save(folder / name)
    extra = {"turns": (("What?", "A cat."),), "points": ((3.0, 4.0, 1),), "coarse_label": "pet"}
    region = RegionRecord(0, "cat", "猫", (1.0, 2.0, 9.5, 9.0), MASK, "part", extra)
    image = ImageRecord(
        "room/a.b", "here", "CC0", "train", (30, 20), ("A room.",), (region,),
        ByteRange(str(folder / "a.png")),
    )  # fmt: skip
    track = TrackRecord(
        4, "", None, {0: (1.0, 2.0, 3.0, 4.0)}, {1: ((3.0, 4.0, 0),)}, {1: MASK},
        {"turns": (("What now?", "It runs."),), "obj_id": "k"},
    )  # fmt: skip
    frames = tuple(ByteRange(str(folder / name)) for name in ("f0.png", "f1.png"))
    return [image, ClipRecord("clip", "there", "", "val", (30, 20), frames, (track,))]


def without_places(record):
    """A record without where its bytes lie."""
    names = [name for name in record.__slots__ if name not in ("handle", "frames")]
    return [getattr(record, name) for name in names]


def test_what_is_written_is_read(tmp_path):
    pytest.importorskip("webdataset")
    given = records(tmp_path)
    (path,) = write_shards(given, tmp_path / "out")
    image, clip = ShardedRecords(tmp_path / "out")
    assert [*map(without_places, (image, clip))] == [*map(without_places, given)]
    assert image.handle.read() == given[0].handle.read()
    assert np.array_equal(clip.load(1), given[1].load(1))
    assert not np.array_equal(clip.load(0), clip.load(1))
    (again,) = write_shards(given, tmp_path / "again")
    assert path.read_bytes() == again.read_bytes()


def test_packs_become_shards_that_are_read_in_any_order(tmp_path):
    pytest.importorskip("webdataset")
    given = list(read_packs(make_packs(tmp_path)))
    assert len(write_shards(given, tmp_path / "out", per_shard=3)) == 3
    read = ShardedRecords(tmp_path / "out")
    assert len(read) == len(given)
    for index in (5, 0, 3, -1):
        assert without_places(read[index]) == without_places(given[index])
        assert np.array_equal(read[index].load(), given[index].load())
    assert [record.id for record in read[1:3]] == [record.id for record in given[1:3]]
    assert [record.id for record in ShardedRecords(tmp_path / "out", "val")] == ["outfit-1"]
    with pytest.raises(IndexError):
        read[7]


def test_webdataset_reads_the_same_samples(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    (path,) = write_shards(records(tmp_path), tmp_path / "out")
    image, clip = webdataset.WebDataset(str(path), shardshuffle=False)
    assert json.loads(image["json"])["id"] == "room/a.b"
    assert set(clip) >= {"json", "0000.png", "0001.png"}


def test_any_kind_of_picture_is_written(tmp_path):
    pytest.importorskip("webdataset")
    (record, _), told = records(tmp_path), []
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 30)).save(tmp_path / "a.tiff", exif=exif)
    (tmp_path / "none.jpg").write_bytes(b"no picture")
    places = [ByteRange(str(tmp_path / name)) for name in ("a.tiff", "none.jpg", "gone.jpg")]
    given = [ImageRecord(*without_places(record), place) for place in places]
    write_shards(given, tmp_path / "out", max_bad=2, report=told.append)
    (read,) = ShardedRecords(tmp_path / "out")
    assert read.load().shape == given[0].load().shape == (20, 30, 3)
    assert "cannot identify" in told[0]
    assert "No such file" in told[1]


def test_writing_that_cannot_be(tmp_path):
    pytest.importorskip("webdataset")
    with pytest.raises(DataError, match="no record"):
        write_shards([], tmp_path)
    shard(tmp_path / "old.tar", {})
    with pytest.raises(DataError, match="tars already") as caught:
        write_shards(records(tmp_path), tmp_path)
    assert caught.value.code == "out_unwritable"


def test_opening_reads_no_picture_and_asking_reads_one(tmp_path, monkeypatch):
    samples = {}
    for number in range(300):
        samples |= {f"{number}.json": {**ROW, "id": str(number)}, f"{number}.png": PICTURE}
    folder, asked = shard(tmp_path / "a.tar", samples), []
    read_range = ByteRange.read
    monkeypatch.setattr(
        ByteRange, "read", lambda place: asked.append(place.size) or read_range(place)
    )
    assert len(ShardedRecords(folder)) == 300
    assert len(asked) == 300  # the first opening looks at every annotation
    assert len(PICTURE) not in asked
    asked.clear()
    opened = ShardedRecords(folder)
    assert not asked  # later ones at the index alone
    copy = pickle.loads(pickle.dumps(opened))
    assert copy[217].id == "217"
    assert len(asked) == 1
    assert copy[217].load().shape == (20, 30, 3)
    assert len(pickle.dumps(opened)) < 300 * 70


BAD = {
    "no json": ({"k.png": PICTURE}, "'json' is missing"),
    "no picture": ({"k.json": ROW}, "0 images"),
    "two pictures": ({"k.json": ROW, "k.png": PICTURE, "k.jpg": PICTURE}, "2 images"),
    "empty picture": ({"k.json": ROW, "k.png": b""}, "is empty"),
    "broken json": ({"k.json": b"{", "k.png": PICTURE}, "Expecting"),
    "json of a list": ({"k.json": b"[1]", "k.png": PICTURE}, "list indices"),
    "no split": ({"k.json": {"id": "x"}, "k.png": PICTURE}, "'split' is missing"),
    "no box": ({"k.json": {**ROW, "regions": [{"id": 1}]}, "k.png": PICTURE}, "is missing"),
    "no region": ({"k.json": {**ROW, "regions": [[]]}, "k.png": PICTURE}, "list"),
    "frames": ({"k.json": {**ROW, "frames": 2}, "k.0000.png": PICTURE}, "speaks of 2 frames"),
    "frame": ({"k.json": {**ROW, "frames": 1, "regions": [TRACK]}, "k.0000.png": PICTURE},
              "names frame 1 of 1"),
}  # fmt: skip


@pytest.mark.parametrize(("sample", "said"), BAD.values(), ids=BAD)
def test_a_broken_sample_is_told_with_shard_and_key(tmp_path, sample, said):
    folder = shard(tmp_path / "a.tar", {"g.json": ROW, "g.png": PICTURE, "README": b"", **sample})
    for _ in range(2):  # at every opening, also from the index
        told = []
        assert len(ShardedRecords(folder, report=told.append)) == 1
        (line,) = told
        assert line.startswith(f"{tmp_path / 'a.tar'}: k is left out: ")
        assert said in line
    with pytest.raises(DataError, match="a.tar: k cannot be used") as caught:
        ShardedRecords(folder, max_bad=0)
    assert caught.value.code == "bad_record"


def test_frames_are_read_by_number(tmp_path):
    names = {f"c/k.{n:04d}.png": encoded(np.full((20, 30, 3), n, np.uint8)) for n in (2, 0, 1)}
    (clip,) = ShardedRecords(shard(tmp_path / "a.tar", {"c/k.json": {**ROW, "frames": 3}, **names}))
    assert [clip.load(n)[0, 0, 0] for n in range(3)] == [0, 1, 2]


def test_clips_and_images_can_be_told_apart(tmp_path):
    clip = {"k.json": {**ROW, "id": "y", "frames": 1}, "k.0000.png": PICTURE}
    both = ShardedRecords(shard(tmp_path / "a.tar", {"g.json": ROW, "g.png": PICTURE, **clip}))
    assert [record.id for record in both.only(clips=True)] == ["y"]
    assert [record.id for record in both.only(clips=False)] == ["x"]
    assert len(both) == 2


def test_a_shard_that_changed_is_indexed_again(tmp_path):
    folder = shard(tmp_path / "a.tar", {"g.json": ROW, "g.png": PICTURE})
    old = ShardedRecords(folder)
    shard(tmp_path / "a.tar", {"g.png": PICTURE, "g.json": ROW, "h.json": ROW, "h.png": PICTURE})
    with pytest.raises(DataError, match="when it was indexed"):
        old[0]
    assert len(ShardedRecords(folder)) == 2
    (tmp_path / "a.index.npz").write_bytes(b"spoilt")
    assert len(ShardedRecords(folder)) == 2


def test_a_folder_that_cannot_be_written_is_read(tmp_path, monkeypatch):
    folder, told = shard(tmp_path / "a.tar", {"g.json": ROW, "g.png": PICTURE}), []
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", _read_only(Path.open))
        assert len(ShardedRecords(folder, report=told.append)) == 1
    assert "indexed at every start" in told[0]


def _read_only(real):
    def opened(path, mode="r", *more, **others):
        if "w" in mode:
            raise PermissionError(f"{path} is read-only")
        return real(path, mode, *more, **others)

    return opened


def test_no_shard_and_no_tar(tmp_path):
    with pytest.raises(DataError, match="no \\*.tar"):
        ShardedRecords(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(DataError, match="uncompressed tar"):
        ShardedRecords(tmp_path)
