"""Real servers for tests: in a thread with settings of its own, or `perceive serve` itself."""

import base64
import io
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import torch
from PIL import Image
from skimage import data

from perceive_anything import Perceiver
from perceive_anything.evaluation.random_models import random_perceiver
from perceive_anything.server.app import create_app
from perceive_anything.server.run import server_of
from perceive_anything.server.settings import ServerSettings
from perceive_anything.video_writer import VideoWriter

CAT = data.chelsea()  # 451 x 300
SLACK_MIB = 60  # between two levels of a server that holds the same
BOX = {"type": "box", "box": [5, 5, 446, 296]}


def png(array, **settings):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", **settings)
    return file.getvalue()


def uri(encoded, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(encoded).decode()}"


CAT_PNG = png(CAT)
CAT_URI = uri(CAT_PNG)


def toy():
    """A model with random weights: every step of the real one, in a moment."""
    return random_perceiver("random:tiny", device="cpu")


def nano():
    return Perceiver.from_pretrained()


@contextmanager
def serving(perceiver, **settings):
    """A server in a thread; gives its address."""
    torch.set_num_threads(1)
    chosen = ServerSettings(**settings)
    app = create_app(perceiver, chosen)
    server = server_of(app, chosen, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
    assert not thread.is_alive()


class Process:
    """`perceive serve` as people start it."""

    def __init__(self, *options):
        command = [sys.executable, "-u", "-m", "perceive_anything.cli", "serve", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + self.process.stderr.read()
        self.url = found[0]
        while True:
            try:
                httpx.get(f"{self.url}/healthz").raise_for_status()
                return
            except httpx.HTTPError:
                assert self.process.poll() is None
                time.sleep(0.05)

    @property
    def resident_mib(self):
        status = Path(f"/proc/{self.process.pid}/statm").read_text("ascii")
        return int(status.split()[1]) * 4096 / 2**20

    def settled_mib(self, level=0.0):
        """The least resident set within some seconds, in which freed memory goes back.

        Args:
            level: Below it there is nothing to wait for.
        """
        began, least = time.monotonic(), self.resident_mib
        while time.monotonic() - began < 6 and least > level:
            time.sleep(0.2)
            least = min(least, self.resident_mib)
        return least

    def stop(self):
        """What it wrote to stderr."""
        self.process.terminate()
        _, told = self.process.communicate(timeout=60)
        return told

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Watch:
    """The largest resident set while inside."""

    def __init__(self, process):
        self._process, self.peak_mib, self._done = process, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self):
        while not self._done.wait(0.1):
            self.peak_mib = max(self.peak_mib, self._process.resident_mib)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


def clip(path, num_frames=10, size_wh=(96, 64)):
    """A bright square that wanders to the right."""
    width, height = size_wh
    with VideoWriter(path, 10.0, size_wh) as writer:
        for index in range(num_frames):
            frame = np.full((height, width, 3), 40, np.uint8)
            frame[20:40, 10 + 2 * index : 30 + 2 * index] = (230, 60, 60)
            writer.write(frame)
    return path.read_bytes()


def refusal(answer, status, code):
    """See that an answer is that error, complete and in our shape."""
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    assert error["message"]
    assert error["hint"]
    assert "Traceback" not in answer.text
    return error


def sse(text):
    """Events as (name, data)."""
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)
    assert len(found) == text.count("\n\n")
    return found
