"""Frames a second and memory of a long stream: stream_memory.py [--frames 20000] [--regions 3].

Pushes made-up frames through `Perceiver.stream`, and prints the resident set as it goes. The last
line is one JSON object; `slope_mib` is the growth over 1,000 frames, fitted after the first tenth.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator

import numpy as np

from perceive_anything import Box, CaptionEvent, Perceiver
from perceive_anything.evaluation.memory import resident_mib
from perceive_anything.evaluation.provenance import provenance
from perceive_anything.evaluation.random_models import PREFIX, random_perceiver

HEIGHT, WIDTH = 480, 640


def frames(count: int) -> Iterator[np.ndarray]:
    """Coloured squares that circle over a fixed noise picture."""
    ground = np.random.default_rng(0).integers(60, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    colours = ((220, 40, 40), (40, 200, 60), (60, 80, 230))
    for index in range(count):
        frame = ground.copy()
        for number, colour in enumerate(colours):
            angle = index / 60 + 2 * np.pi * number / len(colours)
            x, y = (int(320 + 180 * np.cos(angle)), int(240 + 130 * np.sin(angle)))
            frame[y - 45 : y + 45, x - 45 : x + 45] = colour
        yield frame


def prompts(count: int) -> list[Box]:
    """The squares where they begin."""
    made = []
    for number in range(count):
        angle = 2 * np.pi * number / 3
        x, y = 320 + 180 * np.cos(angle), 240 + 130 * np.sin(angle)
        made.append(Box(x - 45, y - 45, x + 45, y + 45))
    return made


def main() -> None:
    """Push, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--regions", type=int, default=3, choices=[1, 2, 3])
    parser.add_argument("--fps", type=float, default=25.0, help="frames a second of the stream")
    parser.add_argument("--caption-every", type=float, default=0.0, help="seconds; 0: no captions")
    parser.add_argument("--model", default="nano", help="a model, or random:tiny")
    args = parser.parse_args()
    load = random_perceiver if args.model.startswith(PREFIX) else Perceiver.from_pretrained
    session = load(args.model).stream(caption_every=args.caption_every or None)
    for prompt in prompts(args.regions):
        session.add(prompt)
    start, captions, samples = time.perf_counter(), 0, []
    for index, frame in enumerate(frames(args.frames)):
        events = session.push(frame, index / args.fps)
        captions += sum(isinstance(event, CaptionEvent) for event in events)
        if index % max(1, args.frames // 100) == 0:
            samples.append((index, resident_mib()))
        if index % max(1, args.frames // 10) == 0:
            rate = (index + 1) / (time.perf_counter() - start)
            print(f"{index:7} frames {rate:6.2f} fps {samples[-1][1]:8.1f} MiB", flush=True)
    seconds = time.perf_counter() - start
    settled = np.array(samples[len(samples) // 10 :])
    slope = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]) * 1000
    report = {
        "config": vars(args),
        "fps": round(args.frames / seconds, 2),
        "captions": captions,
        "resident_mib": round(samples[-1][1], 1),
        "slope_mib": round(slope, 3),
        **provenance(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
