"""`perceive video` and `perceive stream` from the outside, on a small released checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from conftest import FIXTURE
from perceive_anything.cli.app import main
from perceive_anything.video import open_video
from perceive_anything.video_writer import VideoWriter

DOCS = Path(__file__).parent.parent / "docs"
BOX = ["--box", "39,79,121,161"]
COUNT = 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    frames = sorted((FIXTURE / "frames").glob("*.png"))[:COUNT]
    with VideoWriter(path, 10.0, (320, 240)) as writer:
        for frame in frames:
            writer.write(np.asarray(Image.open(frame).convert("RGB")))
    return path


@pytest.fixture
def run(released, capsys):
    def call(*arguments):
        code = main([*map(str, arguments), "--model", str(released)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def schema(name):
    return json.loads((DOCS / name).read_text("utf-8"))


def test_a_video_is_followed_described_and_drawn(run, clip, tmp_path):
    out = tmp_path / "out.mp4"
    short = ["--max-new-tokens", "2", "--frame", "3"]
    code, stdout, _ = run("video", clip, *BOX, *short, "--json", "-", "--save", out)
    assert code == 0
    result = json.loads(stdout)
    jsonschema.validate(result, schema("result.schema.json"))
    assert (result["frames"], result["fps"]) == (COUNT, 10)
    region = result["regions"][0]
    assert [entry["frame"] for entry in region["track"]] == list(range(COUNT))
    assert all(isinstance(region[name], str) for name in ("label", "caption", "description"))
    drawn = list(open_video(out).frames())
    assert len(drawn) == COUNT


def test_people_read_lines(run, clip):
    code, stdout, stderr = run("video", clip, *BOX, "--task", "segment")
    assert code == 0
    assert "320x240  8 frames" in stdout
    assert "of 8 frames" in stdout
    assert "Traceback" not in stderr


def test_what_was_decoded_of_a_broken_video_is_kept(run, clip, tmp_path):
    broken = tmp_path / "broken.mp4"
    content = clip.read_bytes()
    broken.write_bytes(content[: int(0.7 * len(content))])
    target = tmp_path / "out.json"
    code, _, stderr = run("video", broken, *BOX, "--task", "segment", "--json", target)
    assert code == 2
    assert "video_truncated" in stderr
    track = json.loads(target.read_text("utf-8"))["regions"][0]["track"]
    assert 0 < len(track) < COUNT


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["video", "no.mp4", *BOX], "no.mp4"),
        (["video", "CLIP"], "no region was pointed at"),
        (["video", "CLIP", *BOX, "--frame", "99"], "there is no frame 99"),
        (["video", "CLIP", "--box", "0,0,9000,10"], "lies outside"),
        (["stream", "CLIP", *BOX, "--caption-every", "soon"], "is no time"),
        (["stream", "no.mp4", *BOX], "no.mp4"),
    ],
)
def test_bad_input_is_named(run, clip, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    code, _, stderr = run(*(str(clip) if a == "CLIP" else a for a in arguments))
    assert code == 2
    assert says in stderr
    assert "Traceback" not in stderr


def test_a_stream_writes_lines_and_a_recording(run, clip, tmp_path):
    out = tmp_path / "out.mp4"
    code, stdout, _ = run(
        "stream", clip, *BOX, "--caption-every", "0.3s", "--jsonl", "-", "--save", out
    )
    assert code == 0
    lines = [json.loads(line) for line in stdout.splitlines()]
    for line in lines:
        jsonschema.validate(line, schema("event.schema.json"))
    kinds = [line["type"] for line in lines]
    assert kinds.count("frame") == COUNT
    assert kinds.count("caption") == 3
    assert kinds[-1] == "end"
    assert len(list(open_video(out).frames())) == COUNT


def test_a_reader_that_goes_away_ends_the_stream(clip, released):
    command = [sys.executable, "-m", "perceive_anything.cli", "stream", str(clip), *BOX]
    options = ["--model", str(released), "--jsonl", "-", "--caption-every", "never"]
    stream = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert json.loads(stream.stdout.readline())["type"] == "frame"
    stream.stdout.close()
    stderr = stream.stderr.read()
    stream.wait(timeout=60)
    assert "Traceback" not in stderr
    assert stream.returncode in (0, 1)
