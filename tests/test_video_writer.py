"""Videos are written whole: odd sizes, any times, and what is left after an interruption."""

import subprocess
import sys

import av
import numpy as np
import pytest

from perceive_anything.errors import MediaError
from perceive_anything.video import VideoFile, VideoWriter
from test_video_io import SIZE_WH, collect, picture, write


def test_odd_sizes_are_padded_by_their_edge(tmp_path):
    video = VideoFile(write(tmp_path / "clip.mp4", 3, size_wh=(31, 17)))
    image = video.frame(2).image
    assert video.size_wh == (32, 18)
    assert np.abs(image[:17, :31].astype(int) - picture(2, (31, 17))).mean() < 4
    assert np.abs(image[:, 31].astype(int) - image[:, 30]).mean() < 6


def test_there_is_a_keyframe_every_two_seconds(tmp_path):
    for name, times in {"even": None, "slow": [index * 0.7 for index in range(20)]}.items():
        path = write(tmp_path / f"{name}.mp4", 20, 4, times=times)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            keys = [float(p.pts * p.time_base) for p in container.demux(stream) if p.is_keyframe]
        assert keys[0] == 0
        assert max(np.diff(keys)) <= 2 + 0.7


@pytest.mark.parametrize(
    ("name", "fps", "size_wh", "text"),
    [
        ("no/such/clip.mp4", 25, SIZE_WH, "there is no folder"),
        ("clip.gif", 25, SIZE_WH, "names another format"),
        ("folder.mp4", 25, SIZE_WH, "folder.mp4"),
        ("clip.mp4", 0, SIZE_WH, "0 frames a second"),
        ("clip.mp4", 25, (0, 5), "0x5"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, fps, size_wh, text):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(MediaError, match=text) as caught:
        VideoWriter(tmp_path / name, fps, size_wh)
    assert caught.value.code == "out_unwritable"


def test_frames_that_do_not_fit(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 25, SIZE_WH) as writer:
        writer.write(picture(0))
        for array in (picture(0)[:, :40], picture(0) / 255):
            with pytest.raises(MediaError, match="does not fit") as caught:
                writer.write(array)
            assert caught.value.code == "frame_size"
    with pytest.raises(MediaError, match="closed already"):
        writer.write(picture(0))
    assert len(list(VideoFile(tmp_path / "clip.mp4").frames())) == 1


def test_an_exception_leaves_all_that_was_written(tmp_path):
    def interrupted():
        with VideoWriter(tmp_path / "clip.mp4", 25, SIZE_WH) as writer:
            for index in range(13):
                writer.write(picture(index))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(list(VideoFile(tmp_path / "clip.mp4").frames())) == 13


def test_a_killed_process_leaves_all_but_the_last_two_seconds(tmp_path):
    code = (
        "import os, sys, numpy as np\n"
        "from perceive_anything.video import VideoWriter\n"
        "writer = VideoWriter(sys.argv[1], 10, (48, 32))\n"
        "for index in range(55): writer.write(np.full((32, 48, 3), index, np.uint8))\n"
        "os._exit(0)"
    )
    path = tmp_path / "clip.mp4"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    seen, _ = collect(VideoFile(path).frames())
    assert len(seen) >= 35
    assert np.abs(seen[30].image.astype(int) - 30).mean() < 4
