"""Streams: what is live, what comes back after a loss, and what is given up."""

import asyncio
import functools
import http.server
import itertools
import threading
from pathlib import Path

import numpy as np
import pytest

from perceive_anything import live
from perceive_anything.errors import MediaError
from perceive_anything.live import Reconnect, is_live, open_stream
from perceive_anything.types import Frame
from perceive_anything.video import FrameList, VideoFile, VideoWriter

ARRAYS = [np.full((32, 48, 3), 10 * index, np.uint8) for index in range(6)]
URL = "rtsp://user:secret@camera.local/1"
FAST = Reconnect(attempts=3, first_s=0.01, factor=2, max_s=0.03)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 25, (48, 32)) as writer:
        for array in ARRAYS * 5:
            writer.write(array)
    return path


@pytest.fixture
def waits(monkeypatch):
    """Seconds that were waited between attempts."""
    found = []
    monkeypatch.setattr(live.time, "sleep", found.append)
    return found


@pytest.mark.parametrize(
    "source", [0, "0", "12", "/dev/video0", URL, "http://a/b.mp4", "HTTPS://a/b"]
)
def test_what_is_live(source):
    assert is_live(source)


@pytest.mark.parametrize("source", ["clip.mp4", "a/0.mp4", ARRAYS, iter(ARRAYS), None])
def test_what_is_not_live(source):
    assert not is_live(source)


def test_a_file_is_a_stream(clip):
    assert not is_live(clip)
    expected = list(VideoFile(clip).frames())
    for source in (clip, str(clip), VideoFile(clip)):
        frames = list(open_stream(source))
        assert [frame.time_s for frame in frames] == [frame.time_s for frame in expected]
        assert len(frames) == 30


async def arriving(items):
    for item in items:
        await asyncio.sleep(0.001)
        yield item


@pytest.mark.parametrize("make", [iter, list, arriving, FrameList])
def test_iterators_of_arrays(make):
    source = make(ARRAYS)
    frames = list(open_stream(source) if make is FrameList else open_stream(source, fps=10))
    step = 1 / (25 if make is FrameList else 10)
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.time_s for frame in frames] == pytest.approx([step * i for i in range(6)])
    assert all(frame.image is ARRAYS[frame.index] for frame in frames)


@pytest.mark.parametrize("make", [iter, arriving])
def test_frames_pass_unchanged(make):
    given = [Frame(ARRAYS[0], 3.5, 7), Frame(ARRAYS[1], 3.9, 8)]
    frames = list(open_stream(make(given)))
    assert all(frame is other for frame, other in zip(frames, given, strict=True))


def test_an_endless_iterator_is_read_lazily():
    frames = open_stream(itertools.cycle(ARRAYS))
    assert [frame.index for frame in itertools.islice(frames, 20)] == list(range(20))


def test_an_async_iterator_inside_a_loop_that_runs_and_closed_early():
    closed = []

    async def source():
        try:
            async for item in arriving(itertools.cycle(ARRAYS)):
                yield item
        finally:
            closed.append(True)

    async def consume():
        frames = open_stream(source())
        taken = list(itertools.islice(frames, 3))
        frames.close()
        return taken

    assert len(asyncio.run(consume())) == 3
    assert closed == [True]


@pytest.mark.parametrize("make", [iter, arriving])
def test_errors_of_a_source_pass(make):
    def broken():
        yield ARRAYS[0]
        raise MediaError("the camera is gone.\n  Plug it in.", code="stream_lost")

    frames = open_stream(make(broken()))
    next(frames)
    with pytest.raises(MediaError, match="camera is gone"):
        next(frames)
    with pytest.raises(MediaError, match="frame 1 is no picture but NoneType"):
        list(open_stream(make([ARRAYS[0], None])))


@pytest.mark.parametrize("source", [None, b"bytes", 3.5, {}])
def test_what_is_no_stream(source):
    with pytest.raises(MediaError, match="cannot read a stream from") as caught:
        open_stream(source)
    assert caught.value.code == "unsupported_source"


def connections(*runs):
    """A connect function: an exception refuses, a number gives so many frames and is lost."""
    left = iter(runs)

    def connect():
        run = next(left)
        if isinstance(run, Exception):
            raise run
        yield from ARRAYS[: abs(run)]
        if run > 0:
            raise ConnectionError("the cable is out")

    return connect


def test_a_lost_stream_goes_on_counting(waits):
    refused = ConnectionRefusedError("refused")
    connect = connections(3, refused, refused, 2, refused, -4)
    with pytest.warns(UserWarning, match="rtsp://camera.local/1") as caught:
        frames = list(open_stream(URL, reconnect=FAST, _connect=connect))
    assert [frame.index for frame in frames] == list(range(9))
    assert [frame.image[0, 0, 0] for frame in frames] == [0, 10, 20, 0, 10, 0, 10, 20, 30]
    times = [frame.time_s for frame in frames]
    assert times[0] == 0
    assert times == sorted(times)
    assert waits == [0.01, 0.02, 0.03, 0.01, 0.02]  # grows, is bounded, starts anew
    texts = [str(warning.message) for warning in caught]
    assert "lost after 3 frames (the cable is out)" in texts[0]
    assert "attempt 3 of 3" in texts[2]
    assert not any("secret" in text for text in texts)


@pytest.mark.filterwarnings("ignore:.*connecting again")
def test_a_stream_that_does_not_come_back_is_given_up(waits):
    connect = connections(2, *[OSError("no route")] * 3)
    frames = open_stream(URL, reconnect=FAST, _connect=connect)
    seen = [next(frames), next(frames)]
    with (
        pytest.warns(UserWarning, match="attempt 3 of 3"),
        pytest.raises(MediaError, match="lost after 2 frames: no route") as caught,
    ):
        next(frames)
    assert caught.value.code == "stream_lost"
    assert "secret" not in str(caught.value)
    assert (len(seen), len(waits)) == (2, 3)


def test_without_reconnecting_a_loss_is_final(waits):
    frames = open_stream(URL, reconnect=None, _connect=connections(1, -5))
    with pytest.raises(MediaError, match="the cable is out"):
        list(frames)
    assert waits == []


def test_the_wait_doubles_and_is_bounded():
    waits = [Reconnect().wait_s(attempt) for attempt in range(1, 8)]
    assert waits == [0.5, 1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize("source", [97, "97", "/dev/video97"])
def test_a_camera_that_is_not_there(source, waits):
    with pytest.raises(MediaError, match="camera 97") as caught:
        next(open_stream(source))
    assert caught.value.code == "stream_lost"
    assert waits == []


@pytest.mark.parametrize(
    ("system", "file", "container"),
    [
        ("Linux", "/dev/video1", "v4l2"),
        ("Darwin", "1", "avfoundation"),
        ("Windows", "video=Front", "dshow"),
    ],
)
def test_cameras_of_each_system(monkeypatch, system, file, container):
    monkeypatch.setattr(live.platform, "system", lambda: system)
    monkeypatch.setattr(live, "_windows_camera", lambda index: ["Back", "Front"][index])
    address = live._address(1)
    assert (address.file, address.format) == (file, container)


class Server(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; /live/ is sent without its length, /half/ breaks off the first time."""

    broken = 0

    def log_message(self, *args):
        pass

    def do_GET(self):
        kind, name = self.path[1:5], self.path[5:]
        if kind not in ("live", "half"):
            return super().do_GET()
        content = Path(self.translate_path(name)).read_bytes()
        self.send_response(200)
        if kind == "half":
            self.send_header("Content-Length", str(len(content)))
            if not Server.broken:
                Server.broken, content = 1, content[: len(content) // 2]
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def address(clip):
    handler = functools.partial(Server, directory=str(clip.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_file_behind_an_address_ends(address, clip):
    frames = list(open_stream(f"{address}/clip.mp4"))
    expected = list(VideoFile(clip).frames())
    assert [frame.index for frame in frames] == list(range(30))
    for frame, other in zip(frames, expected, strict=True):
        assert np.array_equal(frame.image, other.image)


def test_an_address_without_an_end_is_connected_again(address, waits):
    frames = open_stream(f"{address}/live/clip.mp4", reconnect=FAST)
    with pytest.warns(UserWarning, match="lost after 30 frames"):
        taken = list(itertools.islice(frames, 40))
    frames.close()
    assert [frame.index for frame in taken] == list(range(40))
    assert waits == [0.01]


def test_a_file_that_broke_off_goes_on_where_it_was_lost(address, clip, waits):
    with pytest.warns(UserWarning, match="connecting again"):
        frames = list(open_stream(f"{address}/half/clip.mp4", reconnect=FAST))
    assert [frame.index for frame in frames] == list(range(30))
    expected = list(VideoFile(clip).frames())
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, expected, strict=True))


@pytest.mark.parametrize("name", ["missing.mp4", "text.mp4"])
def test_an_address_of_no_video_is_given_up_at_once(address, clip, name, waits):
    (clip.parent / "text.mp4").write_text("hello\n" * 9)
    with pytest.raises(MediaError, match="cannot be opened") as caught:
        next(open_stream(f"{address}/{name}"))
    assert caught.value.code == "stream_lost"
    assert waits == []


@pytest.mark.filterwarnings("ignore:.*connecting again")
def test_nobody_listening_is_tried_again(waits):
    with (
        pytest.warns(UserWarning, match="attempt 2 of 2"),
        pytest.raises(MediaError, match="cannot be opened"),
    ):
        next(open_stream("http://127.0.0.1:9/clip.mp4", reconnect=Reconnect(attempts=2)))
    assert waits == [0.5, 1.0]
