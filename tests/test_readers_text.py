"""Text in pictures: words with outlines in JSON, MATLAB and text files, as each set has them."""

import numpy as np
import pytest
from scipy.io import savemat

from perceive_anything.data.readers.scene_text import _icdar_word
from reader_fixtures import SQUARE, picture, read, write

BOX_XYXY = (5, 4, 15, 10)
QUAD = [5, 4, 15, 4, 15, 10, 5, 10]


def test_coco_text(tmp_path):
    images = {
        str(n): {"id": n, "file_name": f"{n}.jpg", "width": 30, "height": 20, "set": kind}
        for n, kind in ((7, "train"), (8, "val"), (9, "train"), (10, "train"))
    }
    word = {"image_id": 7, "bbox": [5, 4, 10, 6], "mask": QUAD, "class": "machine printed"}
    rows = [
        {**word, "utf8_string": "Café", "legibility": "legible", "language": "not english"},
        {**word, "legibility": "illegible"},
        {**word, "bbox": [50, 4, 10, 6], "utf8_string": "out", "legibility": "legible"},
        {**word, "mask": [], "utf8_string": "x", "legibility": "legible"},
        {**word, "image_id": 8, "utf8_string": "val", "legibility": "legible"},
        {**word, "image_id": 9, "utf8_string": "no picture", "legibility": "legible"},
    ]
    anns = {str(n): {"id": n, **row} for n, row in enumerate(rows)}
    content = {"imgs": images, "anns": anns, "imgToAnns": {}, "cats": {}, "info": {}}
    write(tmp_path / "cocotext.v2.json", content)
    for number in (7, 8, 10):
        picture(tmp_path / "train2014" / f"{number}.jpg")
    (record,), told = read("coco_text", tmp_path)
    first, second, third = record.regions
    assert (first.label, first.box_xyxy) == ("text", BOX_XYXY)
    assert first.extra["transcription"] == "Café"
    assert first.extra["language"] == "not english"
    assert np.array_equal(first.mask(), SQUARE)
    assert second.extra == {"text_class": "machine printed", "legible": False}
    assert third.mask() is None
    assert len(told) == 2
    (record,), _ = read("coco_text", tmp_path, "val")
    assert record.regions[0].extra["transcription"] == "val"


def test_textocr(tmp_path):
    image = {"id": "aa", "width": 30, "height": 20, "set": "train", "file_name": "train/aa.jpg"}
    word = {"image_id": "aa", "bbox": [5, 4, 10, 6], "points": QUAD, "area": 60}
    anns = {"aa_1": {"id": "aa_1", "utf8_string": "STOP", **word},
            "aa_2": {"id": "aa_2", "utf8_string": ".", **word},
            "aa_3": {"id": "aa_3", "utf8_string": "x", **word, "points": [1, 2, 3]}}  # fmt: skip
    content = {"info": {}, "imgs": {"aa": image}, "anns": anns, "imgToAnns": {"aa": ["aa_1"]}}
    write(tmp_path / "TextOCR_0.1_train.json", content)
    picture(tmp_path / "train_images" / "aa.jpg")
    (record,), told = read("textocr", tmp_path)
    assert [region.extra for region in record.regions] == [
        {"transcription": "STOP"}, {"legible": False}
    ]  # fmt: skip
    assert len(told) == 1
    assert "anns[aa_3]" in told[0]


TOTAL_TEXT = """x: [[ 5 15 15
  5]], y: [[ 4  4 10 10]], ornt: [u'c'], transcriptions: [u'CAFÉ']
x: [[5 15 15 5]], y: [[4 4 10 10]], ornt: [u'm'], transcriptions: [u"it's"]
x: [[5 15 15 5]], y: [[4 4 10 10]], ornt: [u'#'], transcriptions: [u'#']
x: [[5 15 15]], y: [[4 4 10 10]], ornt: [u'm'], transcriptions: [u'uneven']
x: [[5 15 15 5]], y: nothing
"""


def test_total_text_as_text(tmp_path):
    write(tmp_path / "txt_format" / "Train" / "poly_gt_img1.txt", TOTAL_TEXT)
    write(tmp_path / "txt_format" / "Train" / "poly_gt_img2.txt", TOTAL_TEXT)
    write(tmp_path / "txt_format" / "Test" / "poly_gt_img1.txt", TOTAL_TEXT.split("\nx")[1])
    picture(tmp_path / "Images" / "Train" / "img1.jpg", 40)
    picture(tmp_path / "Images" / "Test" / "img1.jpg", 90)
    (record,), told = read("total_text", tmp_path)
    assert [region.extra for region in record.regions] == [
        {"transcription": "CAFÉ"}, {"transcription": "it's"}, {"legible": False}
    ]  # fmt: skip
    assert {region.box_xyxy for region in record.regions} == {BOX_XYXY}
    assert np.array_equal(record.regions[0].mask(), SQUARE)
    assert record.load()[0, 0, 0] < 60  # the picture of the same split
    assert len(told) == 3


def test_total_text_as_matlab_has_it(tmp_path):
    def row(text, number=4):
        cells = np.empty(6, dtype=object)
        cells[:] = ["x:", np.array([[5, 15, 15, 5]][:number]), "y:", np.array([[4, 4, 10, 10]]),
                    np.array([text]), np.array(["c"])]  # fmt: skip
        return cells

    empty = row("x")
    empty[4] = np.array([])
    path = tmp_path / "Groundtruth" / "Polygon" / "Train" / "poly_gt_img1.mat"
    path.parent.mkdir(parents=True)
    savemat(path, {"polygt": np.stack([row("CAFÉ"), row("#"), empty])})
    path.with_name("poly_gt_img2.mat").write_bytes(b"MATLAB 7.3 MAT-file, and then HDF5")
    for name in ("img1", "img2"):
        picture(tmp_path / "Images" / "Train" / f"{name}.jpg")
    (record,), told = read("total_text", tmp_path)
    assert [region.extra for region in record.regions] == [
        {"transcription": "CAFÉ"}, {"legible": False}, {"legible": False}
    ]  # fmt: skip
    assert record.regions[0].box_xyxy == BOX_XYXY
    assert len(told) == 1
    assert "SciPy" in told[0]


def test_icdar_2015_begins_with_a_byte_order_mark(tmp_path):
    lines = ["5,4,15,4,15,10,5,10,Genaxis, Theatre", "5,4,15,4,15,10,5,10,###", "",
             "5,4,15,4,15,10,5,10,007", "5,4,x,4,15,10,5,10,bad",
             "50,4,65,4,65,10,50,10,outside"]  # fmt: skip
    folder = tmp_path / "ch4_training_localization_transcription_gt"
    write(folder / "gt_img_1.txt", "\ufeff" + "\r\n".join(lines))
    write(folder / "gt_img_2.txt", "\ufeff" + lines[0])
    picture(tmp_path / "ch4_training_images" / "img_1.jpg")
    picture(tmp_path / "ch4_test_images" / "img_2.jpg")
    (record,), told = read("icdar", tmp_path)
    assert [region.extra for region in record.regions] == [
        {"transcription": "Genaxis, Theatre"}, {"legible": False}, {"transcription": "007"}
    ]  # fmt: skip
    assert record.regions[0].box_xyxy == BOX_XYXY
    assert len(told) == 3
    for reason in ("does not begin with 4 or 8 numbers", "no picture img_2"):
        assert any(reason in line for line in told)


@pytest.mark.parametrize(
    ("line", "text", "script", "count"),
    [
        ('38, 43, 920, 215, "Tiredness"', "Tiredness", "", 4),  # 2013, test
        ('158 128 411 181 "Footpath, left"', "Footpath, left", "", 4),  # 2013, training
        ("1,2,3,2,3,4,1,4,Latin,a,b", "a,b", "Latin", 4),  # MLT
        ("1,2,3,2,3,4,1,4,Latin", "Latin", "", 4),
        ("1,2,3,2,3,4,1,4,", "", "", 4),
        ("1,2,3,4,10,000", "10,000", "", 4),
    ],
)
def test_lines_of_icdar(line, text, script, count):
    word = _icdar_word(line)
    assert (word.text, word.script, len(word.polygon) // 2) == (text, script, count)
