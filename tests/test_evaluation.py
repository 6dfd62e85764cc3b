"""A run of `perceive eval`: lines as they come, killed and gone on with, scored without a model."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from benchmark_fixtures import POLYGON, SQUARE_XYWH, make_own, picture, write
from perceive_anything.cli import main
from perceive_anything.data.handles import VideoFrame
from perceive_anything.data.schema import ByteRange
from perceive_anything.errors import DataError, OptionError
from perceive_anything.evaluation import random_models
from perceive_anything.evaluation.marks import marked
from perceive_anything.evaluation.predictions import Head, PredictionWriter, read_predictions
from perceive_anything.evaluation.samples import (
    Answer,
    Answered,
    Media,
    Question,
    Sample,
    Span,
    Truth,
)
from perceive_anything.masks import encode_rle
from perceive_anything.pipeline import Perceiver
from perceive_anything.types import Box, Mask, Points

HEAD = Head("captions", "nano", "/data")
RLE = encode_rle(np.eye(8, dtype=bool))
FULL = Answered(
    Sample(
        "a|b:0",
        Media((VideoFrame("/data/a.mp4", 3), VideoFrame("/data/a.mp4", 4))),
        Points([(1.5, 2)], labels=[1], box=Box(0, 0, 7, 7)),
        Truth(
            label="猫", texts=("a", "b"), rle=RLE, rles=(RLE, None), spans=(Span(0, 1.5),),
            question="what?", background="nothing",
            quiz=(Question("q", "positive", (("yes", 1.0), ("no", -0.5))),),
        ),
        "cat",
        1,
    ),
    Answer("a cat", ("x",), {"box": RLE}, (RLE,), (16,)),
    0.25,
)  # fmt: skip


@pytest.fixture(scope="module")
def nano():
    return Perceiver.from_pretrained()


@pytest.fixture
def once(monkeypatch, nano):
    """The embedded model, loaded once for all tests; counts how often it is asked for."""
    asked = []
    monkeypatch.setattr(random_models, "load_any", lambda *_: asked.append(1) or nano)
    return asked


def many_pictures(folder, count):
    """COCO format, one square a picture."""
    for number in range(count):
        picture(folder / f"{number}.png")
    content = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": 96, "height": 72} for n in range(count)
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": SQUARE_XYWH, "segmentation": POLYGON}
            for n in range(count)
        ],
        "categories": [{"id": 1, "name": "square"}],
    }
    write(folder / "coco.json", content)


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(
    "prompt", [Box(1, 2, 3, 4.5), Points([(1, 2), (3, 4)], labels=[1, 0]), Mask(np.eye(8) > 0)]
)
def test_a_line_is_the_whole_sample(prompt):
    for line in (FULL, Answered(Sample("k", Media(video="v.mp4"), prompt, Truth()), Answer())):
        row = json.loads(json.dumps(line.to_json()))
        assert Answered.from_json(row).to_json() == line.to_json()
    back = Answered.from_json(FULL.to_json())
    assert back.sample.truth == FULL.sample.truth
    assert back.sample.media == FULL.sample.media
    assert type(back.sample.media.files[0]) is VideoFrame


def test_lines_are_on_the_disk_one_by_one_and_a_cut_one_is_forgotten(tmp_path):
    path = tmp_path / "predictions.jsonl"
    samples = [
        Answered(
            Sample(f"k{n}", Media((ByteRange("a.png"),)), Box(1, 1, 5, 5), Truth()), Answer("é")
        )
        for n in range(3)
    ]
    with PredictionWriter(path, HEAD) as writer:
        for number, line in enumerate(samples[:2], start=1):
            writer.add(line)
            assert len(read_predictions(path)[1]) == number
    with pytest.raises(OptionError, match="--resume"):
        PredictionWriter(path, HEAD)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    assert len(read_predictions(path)[1]) == 1
    with PredictionWriter(path, HEAD, resume=True) as writer:
        assert writer.done == {"k0"}
        writer.add(samples[1])
    assert path.read_bytes() == whole
    with pytest.raises(OptionError, match="Give the same benchmark, model"):
        PredictionWriter(path, Head("lvis", "nano", "/data"), resume=True)
    path.write_bytes(b'{"schema": "perceive.predictions/1", "ben')  # killed in its first line
    with PredictionWriter(path, HEAD, resume=True) as writer:
        writer.add(samples[0])
    assert read_predictions(path)[0] == HEAD


@pytest.mark.parametrize("text", ["", "no json\n", '{"schema": "other/1"}\n', "[1]\n"])
def test_what_is_no_file_of_predictions(tmp_path, text):
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"p\.jsonl:1 is no line of predictions"):
        read_predictions(tmp_path / "p.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "nowhere.jsonl")


def test_killed_and_gone_on_with(tmp_path, once, capsys):
    """A process killed in the middle leaves whole lines; the rest is asked for, nothing twice."""
    count = 12
    many_pictures(tmp_path / "data", count)
    arguments = ["eval", "segmentation", "--data", str(tmp_path / "data"), "--model", "random:tiny"]
    path = tmp_path / "out" / "predictions.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "perceive_anything.cli", *arguments, "--out", str(path.parent)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= 4:
            break
        time.sleep(0.005)
    process.kill()
    process.wait()
    done = len(read_predictions(path)[1])
    assert 3 <= done < count
    assert main(["eval", "score", str(path)]) == 0
    assert last_json(capsys)["complete"] is False
    assert "not complete" in (path.parent / "report.md").read_text("utf-8")
    assert main([*arguments, "--out", str(path.parent), "--resume"]) == 0
    told = last_json(capsys)
    assert (told["samples"], told["complete"]) == (count, True)
    keys = [line.sample.key for line in read_predictions(path)[1]]
    assert keys == [f"{number}:0" for number in range(count)]
    assert once == [1]
    assert main([*arguments, "--out", str(path.parent), "--resume"]) == 0
    assert once == [1]  # nothing is left to be asked: no model is loaded
    assert [line.sample.key for line in read_predictions(path)[1]] == keys


def test_scored_once_more_without_data_and_model(tmp_path, once, capsys):
    make_own(tmp_path / "data")
    out = str(tmp_path / "out")
    data = ["--data", str(tmp_path / "data"), "--metrics", "exact,semantic_iou"]
    assert main(["eval", "recognition", *data, "--out", out, "--lang", "en"]) == 0
    first = last_json(capsys)
    assert once == [1]
    (tmp_path / "data").rename(tmp_path / "moved")
    assert main(["eval", "score", f"{out}/predictions.jsonl", "--metrics", "semantic_iou"]) == 0
    (again,) = last_json(capsys)["scores"]
    assert again in first["scores"]
    assert once == [1]
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert set(report["versions"]) >= {"torch", "perceive-anything"}
    assert {"hardware", "commit", "command"} <= set(report)
    assert report["command"] == shlex.join(
        ["perceive", "eval", "recognition", *data, "--out", out, "--lang", "en"]
    )
    assert len(report["left_out"]) == 1
    assert report["groups"]["Sem. IoU"]["square"]["count"] == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["lvs", "--data", "x"], 'Did you mean "lvis"'),
        (["lvis"], "--data DIR"),
        (["lvis", "file.jsonl", "--data", "x"], "takes no file"),
        (["score"], "predictions.jsonl"),
        (["score", "nowhere.jsonl"], "cannot be read"),
        (["lvis", "--data", "nowhere"], "github.com/CircleRadon/Osprey"),
        (["lvis", "--data", ".", "--metrics", "metor"], 'Did you mean "meteor"'),
        (["lvis", "--data", ".", "--lang", "xx"], "unknown language"),
        (["lvis", "--data", ".", "--limit", "0"], "--limit"),
        (["packs", "--data", ".", "--split", "all"], "unknown split"),
    ],
)
def test_mistakes_say_what_to_do(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert main(["eval", *arguments]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not (tmp_path / "runs" / "eval").exists() or not any(tmp_path.rglob("*.jsonl"))


def test_a_picture_that_cannot_be_asked_about_is_counted(tmp_path, once, capsys):
    many_pictures(tmp_path, 3)
    (tmp_path / "1.png").write_bytes(b"no picture")
    Image.new("RGB", (96, 4)).save(tmp_path / "2.png")
    out = tmp_path / "out"
    assert (
        main(["eval", "segmentation", "--data", str(tmp_path / "coco.json"), "--out", str(out)])
        == 0
    )
    assert last_json(capsys)["samples"] == 1
    left_out = json.loads((out / "report.json").read_text("utf-8"))["left_out"]
    assert [line.split(" is left out")[0] for line in left_out] == ["sample 1:0", "sample 2:0"]


def test_too_many_bad_rows_end_the_run(tmp_path, once, capsys):
    row = json.dumps({"image": "gone.png", "box": [1, 1, 9, 9], "label": "x"}) + "\n"
    (tmp_path / "own.jsonl").write_text(row * 201)
    assert main(["eval", "recognition", "--data", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "200 may be left out" in capsys.readouterr().err
    (tmp_path / "own.jsonl").write_text(row)
    again = ["--out", str(tmp_path / "o"), "--resume"]
    assert main(["eval", "recognition", "--data", str(tmp_path), *again]) == 2
    assert "nothing of" in capsys.readouterr().err
    assert once == []


def test_prompts_are_marked_on_pictures():
    blank = np.full((40, 60, 3), 200, np.uint8)
    middle = np.zeros((40, 60), bool)
    middle[10:20, 10:30] = True
    for prompt in (Box(5, 5, 30, 20), Points([(20, 20)]), Mask(middle)):
        drawn = marked(blank, prompt)
        assert drawn.shape == blank.shape
        assert (drawn != blank).any()
        assert (blank == 200).all()


def test_the_commit_and_the_machine_are_told(tmp_path, once):
    make_own(tmp_path / "data")
    out = tmp_path / "out"
    assert main(["eval", "recognition", "--data", str(tmp_path / "data"), "--out", str(out),
                 "--metrics", "exact"]) == 0  # fmt: skip
    page = (out / "report.md").read_text("utf-8")
    for name in ("command", "commit", "versions", "scored with", "hardware", "median time"):
        assert f"- {name}" in page
    assert (out / "worst.png").stat().st_size > 1000
