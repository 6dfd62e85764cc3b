"""Datasets of clips, each as a miniature in its own form, with the rows that go wrong."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from perceive_anything.data.shards import ShardedRecords, write_shards
from perceive_anything.masks import decode_rle
from perceive_anything.video_writer import VideoWriter
from reader_fixtures import OTHER, SQUARE, indexed, packed, picture, read, write

BOX_XYXY = (5, 4, 15, 10)
EMPTY = np.zeros((20, 30), bool)


def frames(folder, names):
    for number, name in enumerate(names):
        picture(folder / f"{name}.jpg", 10 * number)


def movie(path, count=8):
    """A video of 32 x 24 whose frames get brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, 8, (32, 24)) as writer:
        for number in range(count):
            writer.write(np.full((24, 32, 3), 20 + 25 * number, np.uint8))
    return path


def masks_of(track):
    return {frame: decode_rle(rle) for frame, rle in track.rles.items()}


def test_davis(tmp_path):
    names = [f"{n:05d}" for n in range(3)]
    both = SQUARE + 2 * OTHER.astype(np.uint8)
    both[0, :5] = 255  # not decided
    for clip in ("bear", "cows", "left-out"):
        frames(tmp_path / "JPEGImages" / "480p" / clip, names)
    masks = tmp_path / "Annotations" / "480p"
    indexed(masks / "bear" / "00000.png", both)
    indexed(masks / "bear" / "00001.png", EMPTY)
    indexed(masks / "bear" / "00002.png", 2 * OTHER)
    indexed(masks / "cows" / "00000.png", SQUARE)
    indexed(masks / "cows" / "00009.png", SQUARE)  # of no frame
    indexed(masks / "cows" / "00001.png", SQUARE[:10])  # of another size
    Image.new("RGB", (30, 20)).save(masks / "cows" / "00002.png")  # colours, no numbers
    indexed(masks / "left-out" / "00000.png", SQUARE)
    write(tmp_path / "ImageSets" / "2017" / "val.txt", "bear\ncows\ngone\n")
    write(tmp_path / "davis_text_annotations" / "Davis17_annot1.txt",
          'bear 1 "a brown bear"\nbear 2 "a café"\nnonsense\n')  # fmt: skip
    (bear, cows), told = read("davis17", tmp_path, "val")
    assert (bear.id, bear.split, len(bear.frames), bear.size_wh) == ("bear", "val", 3, (30, 20))
    assert bear.load(1).shape == (20, 30, 3)
    first, second = bear.regions
    assert np.array_equal(masks_of(first)[0], SQUARE)
    assert np.array_equal(masks_of(second)[2], OTHER)
    assert (set(first.rles), set(second.rles)) == ({0}, {0, 2})
    assert first.boxes_xyxy == {0: BOX_XYXY}
    assert first.phrases == ("a brown bear",)
    assert second.extra == {"object": "2", "phrases": ("a café",), "annotated_frames": (0, 1, 2)}
    assert list(cows.regions[0].rles) == [0]
    assert len(told) == 5
    for reason in (
        "no frame 00009",
        "of (30, 10), its frame",
        "RGB, not numbers",
        "gone",
        "annot1.txt:3",
    ):
        assert any(reason in line for line in told), reason


def test_youtube_vos(tmp_path):
    frames(tmp_path / "train" / "JPEGImages" / "0a", ["00000", "00005"])
    indexed(tmp_path / "train" / "Annotations" / "0a" / "00005.png", SQUARE)
    meta = {"videos": {"0a": {"objects": {"1": {"category": "giant_panda", "frames": ["00005"]}}}}}
    write(tmp_path / "train" / "meta.json", meta)
    said = {"0": {"exp": "a panda", "obj_id": "1"}, "1": {"exp": "the left one", "obj_id": "1"}}
    content = {"videos": {"0a": {"expressions": said, "frames": ["00000", "00005"]}}}
    write(tmp_path / "meta_expressions" / "train" / "meta_expressions.json", content)
    (record,), told = read("youtube_vos", tmp_path)
    (track,) = record.regions
    assert (track.label, track.phrases) == ("giant panda", ("a panda", "the left one"))
    assert track.extra["annotated_frames"] == (1,)
    assert told == []


def test_sa_v_val_has_a_folder_an_object(tmp_path):
    root = tmp_path / "sav_val"
    frames(root / "JPEGImages_24fps" / "sav_1", [f"{n:05d}" for n in range(5)])
    for owner, mask in (("000", SQUARE), ("001", SQUARE | OTHER)):
        for frame in ("00000", "00004"):
            indexed(root / "Annotations_6fps" / "sav_1" / owner / f"{frame}.png", 255 * mask)
    write(root / "sav_val.txt", "sav_1\n")
    (record,), told = read("sa_v_val", tmp_path, "val")
    first, second = record.regions
    assert np.array_equal(masks_of(first)[4], SQUARE)
    assert np.array_equal(masks_of(second)[0], SQUARE | OTHER)
    assert second.extra == {"object": "001", "annotated_frames": (0, 4)}
    assert told == []


def test_lv_vis(tmp_path):
    names = ["a/0.jpg", "a/1.jpg"]
    videos = [
        {"id": 5, "width": 30, "height": 20, "length": 2, "file_names": names},
        {"id": 6, "width": 30, "height": 20, "length": 1, "file_names": ["gone/0.jpg"]},
    ]
    row = {"video_id": 5, "category_id": 1, "iscrowd": 0}
    rows = [
        {"id": 1, **row, "segmentations": [packed(SQUARE), None], "bboxes": [[5, 4, 10, 6], None]},
        {"id": 2, **row, "segmentations": [None, packed(SQUARE[:10])]},
        {"id": 3, **row, "segmentations": [None, None]},
        {"id": 4, **row, "segmentations": [None, None, packed(SQUARE)]},
        {"id": 5, **row, "category_id": 9, "segmentations": [packed(SQUARE), None]},
        {"id": 6, **row, "iscrowd": 1, "segmentations": []},
    ]
    content = {
        "videos": videos,
        "annotations": rows,
        "categories": [{"id": 1, "name": "Red_Panda"}],
    }
    write(tmp_path / "train_instances.json", content)
    frames(tmp_path / "JPEGImages" / "train" / "a", ["0", "1"])
    (record,), told = read("lv_vis", tmp_path)
    (track,) = record.regions
    assert (record.id, track.label, track.boxes_xyxy) == ("5", "red panda", {0: BOX_XYXY})
    assert track.extra["annotated_frames"] == (0, 1)
    assert len(told) == 5


def test_mevis_speaks_of_several_objects(tmp_path):
    root = tmp_path / "valid_u"
    said = {"0": {"exp": "the bird flying away", "obj_id": [1], "anno_id": [3]},
            "1": {"exp": "both", "obj_id": [1, 2], "anno_id": [3, 4]},
            "2": {"exp": "nothing", "obj_id": [], "anno_id": []},
            "3": {"exp": "unknown", "obj_id": [9], "anno_id": [99]}}  # fmt: skip
    video = {"expressions": said, "frames": ["00000", "00001"], "vid_id": 0}
    content = {"videos": {"v": video, "gone": video, "odd": {"frames": []}}}
    write(root / "meta_expressions.json", content)
    masks = {"3": [packed(SQUARE), None], "4": [packed(OTHER), packed(OTHER)]}
    write(root / "mask_dict.json", masks)
    frames(root / "JPEGImages" / "v", ["00000", "00001"])
    (record,), told = read("mevis", tmp_path, "valid_u")
    bird, both = record.regions
    assert bird.phrases == ("the bird flying away",)
    assert both.extra["annotation_ids"] == (3, 4)
    assert np.array_equal(masks_of(both)[0], SQUARE | OTHER)
    assert np.array_equal(masks_of(both)[1], OTHER)
    assert len(told) == 3
    (root / "mask_dict.json").unlink()
    with pytest.raises(ValueError, match=r"valid_u/meta_expressions.json with mask_dict.json"):
        read("mevis", tmp_path, "valid_u")


def masklets(video, count=8, masks=None):
    mask = np.zeros((24, 32), bool)
    mask[4:10, 5:15] = True
    seen = [[packed(mask), packed(mask * 0)], [packed(mask), packed(mask)]]
    return {"video_id": video, "video_frame_count": float(count), "video_height": 24.0,
            "video_width": 32.0, "masklet": masks or seen, "masklet_id": [0, 1],
            "masklet_type": ["manual", "manual"]}  # fmt: skip


def test_sa_v_points_into_videos(tmp_path):
    folder = tmp_path / "sav_000"
    movie(folder / "sav_000001.mp4")
    write(folder / "sav_000001_manual.json", masklets("sav_000001"))
    write(folder / "sav_000001_auto.json", "{")
    write(folder / "sav_000002_manual.json", masklets("sav_000002"))  # no video
    movie(folder / "sav_000003.mp4")
    write(folder / "sav_000003_manual.json", masklets("sav_000003", masks=[[{}, {}]] * 9))
    (record,), told = read("sa_v", tmp_path)
    first, second = record.regions
    assert (set(first.rles), set(second.rles)) == ({0, 4}, {4})
    assert second.extra["annotated_frames"] == (0, 4)
    shades = [int(record.load(number).mean()) for number in (0, 4, 7)]
    assert np.allclose(shades, [20, 120, 195], atol=6)
    assert len(told) == 2 + 2  # the first two files, and both masklets of the third
    with pytest.raises(ValueError, match="no row of"):
        read("sa_v_auto", tmp_path)
    (shard,) = write_shards([record], tmp_path / "shards")
    (again,) = ShardedRecords(shard.parent)
    assert again.regions == record.regions
    assert np.array_equal(again.load(4), record.load(4))


def test_hc_stvg(tmp_path):
    movie(tmp_path / "v2_video" / "part1" / "a.mp4")
    row = {"bbox": [[5, 4, 10, 6], [0, 0, 0, 0], [6, 4, 10, 6]], "st_frame": 3, "img_num": 8,
           "English": "The man stands.", "Chinese": "男人站着。", "img_size": [24, 32]}  # fmt: skip
    rows = {"a.mp4": row, "gone.mp4": row, "late.mp4": {**row, "st_frame": 7}, "odd.mp4": 3}
    movie(tmp_path / "v2_video" / "late.mp4")
    write(tmp_path / "train_v2.json", rows)
    (record,), told = read("hc_stvg", tmp_path)
    (person,) = record.regions
    assert person.boxes_xyxy == {2: BOX_XYXY, 4: (6, 4, 16, 10)}
    assert (person.label, person.phrases) == ("person", ("The man stands.",))
    assert person.extra["caption_zh"] == "男人站着。"
    assert person.extra["annotated_frames"] == (2, 3, 4)
    assert (len(record.frames), record.size_wh) == (8, (32, 24))
    assert len(told) == 3
    first = {"bbox": [[5, 4, 10, 6]], "st_frame": 1, "caption": "She turns.", "width": 32}
    write(tmp_path / "v1" / "train.json", {"a.mp4": first})
    frames(tmp_path / "v1" / "frames" / "a", ["00001", "00002"])
    (record,), _ = read("hc_stvg", tmp_path / "v1")
    assert record.regions[0].phrases == ("She turns.",)
    assert len(record.frames) == 2


def test_vidstg(tmp_path):
    corners = {"xmin": 5, "ymin": 4, "xmax": 15, "ymax": 10}
    paths = [[{"tid": 0, "bbox": corners, "generated": 0, "tracker": "none"}] for _ in range(8)]
    write(tmp_path / "training" / "0001" / "515.json", {"trajectories": paths})
    movie(tmp_path / "video" / "0001" / "515.mp4")
    row = {"vid": "515", "frame_count": 8, "fps": 8.0, "width": 32, "height": 24,
           "subject/objects": [{"tid": 0, "category": "adult"}, {"tid": 1, "category": "dog"}],
           "temporal_gt": {"begin_fid": 2, "end_fid": 4},
           "captions": [{"target_id": 0, "description": "a man runs", "type": "s"}],
           "questions": [{"target_id": 0, "description": "who runs?", "type": "s"}]}  # fmt: skip
    unseen = {**row, "captions": [{"target_id": 1, "description": "a dog"}], "questions": []}
    rows = [row, {**row, "vid": "516"}, unseen, {**row, "captions": [], "questions": []}]
    write(tmp_path / "annotations" / "val_annotations.json", rows)
    (record,), told = read("vidstg", tmp_path, "val")
    (track,) = record.regions
    assert (record.id, track.label) == ("515#0", "adult")
    assert track.boxes_xyxy == {2: BOX_XYXY, 3: BOX_XYXY}
    assert track.phrases == ("a man runs",)
    assert track.extra["questions"] == ("who runs?",)
    assert len(told) == 3


def test_elysium(tmp_path):
    names = ["frames/1/000000.jpg", "frames/1/000001.jpg"]
    share = [5 / 30, 4 / 20, 15 / 30, 10 / 20]
    row = {"source": "web", "id": 3, "vid": 1, "metadata": {}, "frames": names,
           "object_class": "Dog", "box": [share, [0, 0, 0, 0]], "frame_size": [30, 20],
           "object_description": " a running dog "}  # fmt: skip
    rows = [row, {**row, "box": [share]}, {**row, "box": [[5, 4, 15, 10]] * 2},
            {**row, "frames": ["frames/2/0.jpg"] * 2}]  # fmt: skip
    text = "\n".join(map(json.dumps, rows)) + "\n{broken\n"
    write(tmp_path / "ElysiumTrack-1M.jsonl", text)
    frames(tmp_path / "frames" / "1", ["000000", "000001"])
    (record,), told = read("elysium", tmp_path)
    (track,) = record.regions
    assert list(track.boxes_xyxy) == [0]
    assert np.allclose(track.boxes_xyxy[0], BOX_XYXY)
    assert (track.label, track.extra["caption"]) == ("dog", "a running dog")
    assert [line.split(" is left out")[0].rpartition(":")[2] for line in told] == [
        "2",
        "3",
        "4",
        "5",
    ]


def test_bensmot(tmp_path):
    place = tmp_path / "train" / "playing_basketball" / "01Ss_0"
    frames(place / "imgs", ["001", "002", "003"])
    lines = ["1,1,5,4,10,6,1,1,1", "3,1,6,4,10,6,1,1,1", "1,2,20,12,8,6,1,1,1", "9,1,5,4,10,6", "x"]
    write(place / "gt" / "gt.txt", "\n".join(lines) + "\n")
    write(place / "instance_captions.txt", "woman0: A woman: café.\nman0: A man walks.\n")
    write(place / "video_caption.txt", "\ufeffTwo people play.\n")
    write(tmp_path / "train" / "playing_basketball" / "empty" / "gt" / "gt.txt", "1,1,5,4,10,6")
    (record,), told = read("bensmot", tmp_path)
    woman, man = record.regions
    assert record.id == "playing_basketball/01Ss_0"
    assert record.captions == ("Two people play.",)
    assert woman.boxes_xyxy == {0: BOX_XYXY, 2: (6, 4, 16, 10)}
    assert (woman.label, woman.phrases) == ("woman", ("A woman: café.",))
    assert (man.label, man.extra["caption"]) == ("man", "A man walks.")
    assert len(told) == 3


def a2d(folder):
    sets = "vid,11,0,1,20,30,8,3,0\nother,11,0,1,20,30,8,3,1\nbroken,11,0,1,20,30,8,3,0\n"
    write(folder / "Release" / "videoset.csv", sets)
    table = 'video_id,instance_id,query\nvid,1,a man is walking\nvid,2,"a dog, red"\n'
    table += "vid,1 (copy),a mistake\nother,1,for the test\nbroken,1,no masks\n"
    write(folder / "text_annotations" / "a2d_annotation.txt", table)
    frames(folder / "frames" / "vid", [f"{n:05d}" for n in range(1, 5)])
    frames(folder / "frames" / "broken", ["00001"])
    return folder / "text_annotations" / "a2d_annotation_with_instances" / "vid"


def test_a2d_in_what_scipy_reads(tmp_path):
    masks = a2d(tmp_path)
    masks.mkdir(parents=True)
    both = np.stack([SQUARE, OTHER], -1).astype(np.uint8)
    savemat(masks / "00001.mat", {"instance": np.array([[1, 2]]), "reMask": both})
    savemat(masks / "00003.mat", {"instance": np.array([[2]]), "reMask": OTHER.astype(np.uint8)})
    (masks / "00004.mat").write_bytes(b"nonsense")
    (record,), told = read("a2d", tmp_path)
    man, dog = record.regions
    assert (man.phrases, dog.phrases) == (("a man is walking",), ("a dog, red",))
    assert np.array_equal(masks_of(man)[0], SQUARE)
    assert np.array_equal(masks_of(dog)[2], OTHER)
    assert man.extra["annotated_frames"] == (0, 2)
    assert len(told) == 3


def test_a2d_as_it_was_released_needs_h5py(tmp_path):
    masks = a2d(tmp_path)
    masks.mkdir(parents=True)
    try:
        import h5py
    except ModuleNotFoundError:
        (masks / "00001.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
        with pytest.raises(ImportError, match=r"perceive-anything\[a2d\]"):
            read("a2d", tmp_path)
        return
    with h5py.File(masks / "00001.h5", "w") as file:
        file["instance"], file["reMask"] = [1, 2], np.stack([SQUARE.T, OTHER.T]).astype(np.uint8)
    with h5py.File(masks / "00003.h5", "w") as file:
        file["instance"], file["reMask"] = [2], OTHER.T.astype(np.uint8)
    (record,), _ = read("a2d", tmp_path)
    assert np.array_equal(masks_of(record.regions[0])[0], SQUARE)
    assert np.array_equal(masks_of(record.regions[1])[2], OTHER)
