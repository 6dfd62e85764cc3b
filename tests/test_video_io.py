"""Videos in and out: exact numbers, real times, damage that is told, streams that come back."""

import io
import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from perceive_anything import video as video_module
from perceive_anything.decoding import oriented
from perceive_anything.errors import MediaError
from perceive_anything.live import open_stream
from perceive_anything.video import FrameList, VideoFile, VideoWriter, open_video

SIZE_WH = (48, 32)


def picture(index, size_wh=SIZE_WH):
    """A smooth picture in which the frame's number can be seen."""
    width, height = size_wh
    array = np.zeros((height, width, 3), np.uint8)
    array[..., 0] = (np.arange(width) * 4 + 10)[None].clip(0, 250)
    array[..., 1] = (np.arange(height) * 5 + 5)[:, None].clip(0, 250)
    array[..., 2] = 40 + 6 * index % 200
    return array


def write(path, count=30, fps=25, size_wh=SIZE_WH, times=None):
    with VideoWriter(path, fps, size_wh) as writer:
        for index in range(count):
            writer.write(picture(index, size_wh), times and times[index])
    return path


def encode(path, codec="libx264", count=40, gop=8, rotation=None, **options):
    """A file as others write it: frames in another order than shown, keyframes in between."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), "rgb24")))
        container.mux(stream.encode(None))
    return path


def packets(path):
    """Place and length of each packet."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def times_of(frames):
    return [frame.time_s for frame in frames]


def same(frames, expected):
    return [f.index for f in frames] == [f.index for f in expected] and all(
        np.array_equal(a.image, b.image) and a.time_s == b.time_s
        for a, b in zip(frames, expected, strict=True)
    )


@pytest.mark.parametrize(("count", "fps"), [(1, 25), (7, 3), (70, 60), (5, 29.97)])
def test_round_trip(tmp_path, count, fps):
    video = VideoFile(write(tmp_path / "clip.mp4", count, fps))
    frames = list(video.frames())
    assert [frame.index for frame in frames] == list(range(count))
    assert video.num_frames == count
    assert video.size_wh == SIZE_WH
    assert video.fps == pytest.approx(fps, abs=1e-2)
    assert video.duration_s == pytest.approx(count / fps, abs=1e-3)
    assert times_of(frames) == pytest.approx([i / fps for i in range(count)], abs=1e-4)
    for frame in frames:
        assert frame.image.dtype == np.uint8
        assert np.abs(frame.image.astype(int) - picture(frame.index)).mean() < 3


def test_variable_frame_rate(tmp_path):
    times = [0, 0.1, 0.15, 1.0, 1.5, 5.0]
    given = [7 + time for time in times]
    frames = list(VideoFile(write(tmp_path / "clip.mp4", 6, times=given)).frames())
    assert times_of(frames) == pytest.approx(times, abs=1e-4)
    stuck = write(tmp_path / "stuck.mp4", 3, times=[1.0, 1.0, 0.5])
    grown = times_of(VideoFile(stuck).frames())
    assert len(grown) == 3
    assert grown == sorted(set(grown))


@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
def test_the_rotation_of_the_file_is_applied(tmp_path, rotation):
    plain = VideoFile(encode(tmp_path / "plain.mp4", count=2))
    turned = VideoFile(encode(tmp_path / "turned.mp4", count=2, rotation=rotation))
    expected = np.rot90(plain.frame(1).image, rotation // 90)
    assert turned.size_wh == expected.shape[1::-1]
    assert np.array_equal(turned.frame(1).image, expected)


def test_mirrored_pictures():
    image, one = picture(0), 1 << 16
    assert oriented(image, None) is image
    mirror = np.array([[-one, 0, 0], [0, one, 0], [0, 0, 1 << 30]], np.int32)
    assert np.array_equal(oriented(image, mirror), image[:, ::-1])
    transpose = np.array([[0, one, 0], [one, 0, 0], [0, 0, 1 << 30]], np.int32)
    assert np.array_equal(oriented(image, transpose), image.swapaxes(0, 1))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.avi", "mpeg4"),
        ("b.avi", "libx264"),
        ("a.h264", "libx264"),
        ("a.webm", "libvpx"),
        ("a.mkv", "mjpeg"),
    ],
)
def test_jumping_gives_the_same_frames_as_reading(tmp_path, name, codec):
    video = VideoFile(encode(tmp_path / name, codec))
    late = list(video.frames(33))  # nothing is known yet: decoded from the beginning
    frames = list(video.frames())
    assert len(frames) == video.num_frames == 40
    assert times_of(frames) == pytest.approx([i / 25 for i in range(40)], abs=2e-3)
    assert same(late, frames[33:])
    for start in (0, 1, 8, 15, 39, 40):
        assert same(list(video.frames(start)), frames[start:])
        assert start == 40 or same([video.frame(start)], frames[start : start + 1])
    assert same(list(video.frames_backward(39)), frames[::-1])


def test_reading_jumps_to_keyframes_that_are_known(tmp_path, monkeypatch):
    video = VideoFile(encode(tmp_path / "clip.mp4", bf="2"))
    expected = list(video.frames())
    jumps = []
    seek = video_module.Decoder.seek
    monkeypatch.setattr(
        video_module.Decoder, "seek", lambda self, *a: jumps.append(a[1]) or seek(self, *a)
    )
    assert same(list(video.frames(30)), expected[30:])
    assert len(jumps) == 1
    monkeypatch.setattr(video_module.Decoder, "seek", lambda self, *a: None)
    assert same(list(video.frames(30)), expected[30:])  # not safe: from the beginning


def test_backward_holds_small_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(video_module, "BLOCK_BYTES", 7 * 3 * SIZE_WH[0] * SIZE_WH[1])
    video = VideoFile(write(tmp_path / "clip.mp4", 30))
    frames = list(video.frames())
    assert same(list(video.frames_backward(29)), frames[::-1])
    assert same(list(video.frames_backward(10)), frames[10::-1])
    assert same(list(video.frames_backward(0)), frames[:1])


@pytest.mark.parametrize(
    "make", [VideoFile, lambda path: FrameList([picture(i) for i in range(5)])]
)
def test_numbers_that_do_not_exist(tmp_path, make):
    video = make(write(tmp_path / "clip.mp4", 5))
    for call in (lambda index: [video.frame(index)], video.frames_backward):
        for index in (-1, 5, 500):
            assert len(list(video.frames())) == 5
            with pytest.raises(MediaError, match=f"no frame {index}.*\n.*0 to 4") as caught:
                list(call(index))
            assert caught.value.code == "frame_missing"
    with pytest.raises(MediaError, match="no frame -1"):
        video.frames(-1)
    assert list(video.frames(5)) == []


def collect(frames):
    """Frames and the error that follows them."""
    seen = []
    try:
        seen.extend(frames)
    except MediaError as error:
        return seen, error
    return seen, None


@pytest.mark.parametrize("name", ["own.mp4", "plain.mp4", "a.mkv", "a.avi", "a.flv"])
def test_a_cut_file_gives_what_is_left_and_says_so(tmp_path, name):
    path = tmp_path / name
    if name == "own.mp4":
        write(path, 60)
    else:
        encode(path, "mpeg4" if name == "a.avi" else "libx264", count=60)
    if name == "plain.mp4":
        index_first(path)
    whole = list(VideoFile(path).frames())
    at = packets(path)[40]
    path.write_bytes(path.read_bytes()[: at[0] + at[1] // 2])
    video = VideoFile(path)
    seen, error = collect(video.frames())
    assert error is not None
    assert error.code == "video_truncated"
    assert f"{len(seen)} frames were read" in str(error)
    assert 35 <= len(seen) <= 41
    assert video.num_frames == len(seen)
    assert same(seen[:35], whole[:35])
    assert same(list(itertools.islice(video.frames(20), 10)), whole[20:30])
    assert same(list(video.frames_backward(30)), whole[30::-1])
    with pytest.raises(MediaError, match="ends too early"):
        video.frame(59)


def index_first(path):
    """As files for the network are: cut, they can still be opened."""
    content, options = path.rename(path.with_suffix(".tmp.mp4")), {"movflags": "faststart"}
    with av.open(str(content)) as old, av.open(str(path), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)


@pytest.mark.parametrize("bad", [[20], [20, 21, 22]])
def test_a_bad_spot_is_left_out_with_a_warning(tmp_path, bad):
    path = write(tmp_path / "clip.mp4", 60)
    content = bytearray(path.read_bytes())
    for position, length in [packets(path)[index] for index in bad]:
        content[position : position + length] = b"\xff" * length
    path.write_bytes(content)
    video = VideoFile(path)
    span = "at 0.80 s" if len(bad) == 1 else "from 0.80 s to 0.88 s"
    with pytest.warns(UserWarning, match=span) as caught:
        frames = list(video.frames())
    assert len(caught) == 1
    assert [frame.index for frame in frames] == list(range(60 - len(bad)))
    kept = [index / 25 for index in range(60) if index not in bad]
    assert times_of(frames) == pytest.approx(kept, abs=1e-4)
    assert same(list(video.frames(52)), frames[52:])


def test_a_file_that_is_bad_from_some_point_on_is_cut(tmp_path):
    path = write(tmp_path / "clip.mp4", 60)
    content = bytearray(path.read_bytes())
    for position, length in packets(path)[45:]:
        content[position : position + length] = b"\xff" * length
    path.write_bytes(content)
    seen, error = collect(VideoFile(path).frames())
    assert len(seen) == 45
    assert error.code == "video_truncated"


def sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        samples.rate = 8000
        container.mux([*stream.encode(samples), *stream.encode(None)])


def still(path):
    Image.fromarray(picture(0)).save(path)


@pytest.mark.parametrize(
    ("name", "make", "code", "text"),
    [
        ("missing.mp4", lambda path: None, "file_missing", "there is no file"),
        ("folder", Path.mkdir, "file_missing", "is a folder"),
        ("empty.mp4", Path.touch, "file_unreadable", "not a video"),
        ("text.mp4", lambda path: path.write_text("hello\n" * 9), "file_unreadable", "not a video"),
        ("text.toml", lambda path: path.write_text("[a]\n" * 9), "file_unreadable", "not a video"),
        ("sound.wav", sound, "file_unreadable", "only sound"),
        ("image.png", still, "file_unreadable", "a still image"),
        ("image.jpg", still, "file_unreadable", "a still image"),
        ("image.mp4", lambda path: path.write_bytes(png()), "file_unreadable", "a still image"),
        ("head.mp4", lambda path: head(path), "file_unreadable", "no picture in it|not a video"),
        ("end.mp4", lambda path: no_index(path), "file_unreadable", "cut or damaged"),
    ],
)
def test_what_is_no_video(tmp_path, name, make, code, text):
    path = tmp_path / name
    make(path)
    for open_it in (VideoFile, open_video, open_stream):
        with pytest.raises(MediaError, match=text) as caught:
            open_it(path)
        assert caught.value.code == code
        assert str(path) in str(caught.value)


def png():
    stream = io.BytesIO()
    Image.fromarray(picture(0)).save(stream, "PNG")
    return stream.getvalue()


def head(path):
    write(path, 5)
    path.write_bytes(path.read_bytes()[: packets(path)[0][0]])


def no_index(path):
    encode(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_list_is_a_video():
    arrays = [picture(index) for index in range(6)]
    video = open_video([arrays[0], Image.fromarray(arrays[1]), *arrays[2:]], fps=10)
    assert isinstance(video, FrameList)
    assert (video.size_wh, video.fps, video.num_frames, video.duration_s) == (SIZE_WH, 10, 6, 0.6)
    frames = list(video.frames())
    assert times_of(frames) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert all(np.array_equal(frame.image, arrays[frame.index]) for frame in frames)
    assert same(list(video.frames(4)), frames[4:])
    assert same(list(video.frames_backward(3)), frames[3::-1])
    assert open_video(video) is video
    for source in (tuple(arrays), iter(arrays), np.stack(arrays), video.frames()):
        assert open_video(source).num_frames == 6


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ([], "no frames"),
        ([picture(0), picture(0)[:, :40]], "frame 1 is 40x32 but frame 0 is 48x32"),
        ([picture(0), "a.png"], "frame 1 is no picture but str"),
        ([picture(0) / 255], r"frame 0 is no picture but float64 \(32, 48, 3\)"),
        ([picture(0)[..., 0]], "frame 0"),
        (picture(0), r"ndarray of shape \(32, 48, 3\)"),
        (b"bytes", "from bytes"),
        (5, "from int"),
    ],
)
def test_lists_that_are_no_video(source, text):
    with pytest.raises(MediaError, match=text) as caught:
        open_video(source)
    assert caught.value.code in ("unsupported_source", "frame_size")


def test_importing_loads_neither_torch_nor_pyav():
    code = (
        "import sys, perceive_anything.live; assert not {'torch', 'av', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
