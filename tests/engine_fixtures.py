"""Small data, a teacher process and builds for the tests of the data engine."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

SERVER = Path(__file__).with_name("teacher_server.py")
LABELS = ("cat", "dog", "cup", "boat")
NAMES_ZH = ("猫", "狗", "杯子", "船")


def make_coco(folder, images, per_image, label_of=lambda number: LABELS[number % 4]):
    """A COCO folder of tiny pictures of noise, each with some boxes; label numbers run through."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows, annotations, names = [], [], []
    for image in range(images):
        pixels = rng.integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{image}.png")
        rows.append({"id": image, "file_name": f"{image}.png", "width": 64, "height": 48})
        for place in range(per_image):
            number = len(annotations)
            label = label_of(number)
            if label not in names:
                names.append(label)
            x, y = 2 + place % 4 * 15, 2 + place // 4 * 15
            annotations.append(
                {"id": number, "image_id": image, "category_id": names.index(label),
                 "bbox": [x, y, 13, 13]}
            )  # fmt: skip
    categories = [
        {"id": number, "name": name, "name_zh": dict(zip(LABELS, NAMES_ZH, strict=True)).get(name)}
        for number, name in enumerate(names)
    ]
    content = {"images": rows, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def write_recipe(path, output, data, **settings):
    """A recipe over a COCO folder; pictures for the teacher are small."""
    recipe = {
        "kind": "images", "output": str(output), "samples": 0, "languages": ["en"],
        "sources": [{"path": str(data), "format": "coco"}],
        "marks": {"side_px": 64}, **settings,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(recipe))
    return path


@contextmanager
def teacher_server(log, *options):
    """The address of a teacher process that ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SERVER), str(port), str(log), *options])
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def openai_settings(address, **more):
    """Settings of a teacher behind an address."""
    return {
        "kind": "openai", "base_url": address, "model": "m", "concurrency": 8,
        "price_in": 2.0, "price_out": 10.0, "timeout_s": 20, **more,
    }  # fmt: skip


def start_build(recipe, *options):
    """`perceive data build` as a process."""
    command = [sys.executable, "-m", "perceive_anything.cli", "data", "build", str(recipe)]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, "--quiet", *options], **quiet, env=environment)


def completions(log):
    """What the teacher worked out, line by line."""
    path = Path(log)
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]
