"""Augmented reality: labels that stay on their things, and what a frame takes against a budget.

python examples/ar.py [SOURCE]     a camera number or a clip; 60 frames of it

A thing is pointed at once, named once from the frame it was pointed at, and followed; what is
drawn hangs on the track. The budget is what a frame may take: 1000 ms / frames a second.
"""

import time
from itertools import islice

import numpy as np
import samples

import perceive_anything as pa
from perceive_anything.live import open_stream
from perceive_anything.video_writer import VideoWriter

BUDGET_MS, MOST_FRAMES, WARM_UP = 150.0, 60, 2


def main() -> None:
    """Draw the labels into out/examples/ar.mp4 and print p50 and p95 of a frame."""
    pam = pa.Perceiver.from_pretrained()
    frames = islice(open_stream(samples.source(samples.clip())), MOST_FRAMES)
    stream, labels, spent_ms, writer = pam.stream(caption_every=None), {}, [], None
    start_frame = min(10, samples.NUM_FRAMES // 2)
    for frame in frames:
        image = frame.image
        if frame.index == start_frame:
            box = samples.pointed_at(image.shape[1::-1])  # a tap, or a gaze
            begin = time.perf_counter()
            region = pam.image(image).perceive(box, tasks=["recognize"])
            labels[stream.add(box)] = region.label or "?"
            print(f"named once, {region.label}: {1000 * (time.perf_counter() - begin):.0f} ms")
        begin = time.perf_counter()
        event = stream.push(image, frame.time_s)[0]
        drawn = event.plot(image, labels=labels)
        if any(seen.visible for seen in event.tracks):
            shown = drawn
            spent_ms.append(1000 * (time.perf_counter() - begin))
        writer = writer or VideoWriter(samples.OUT / "ar.mp4", samples.FPS, image.shape[1::-1])
        writer.write(drawn)
    if writer is None or len(spent_ms) <= WARM_UP:
        raise SystemExit("the source gave too few frames to time")
    writer.close()
    p50, p95 = np.percentile(spent_ms[WARM_UP:], [50, 95])
    kept = "kept" if p95 <= BUDGET_MS else "missed: skip frames, or take a faster device"
    print(f"a frame: p50 {p50:.0f} ms, p95 {p95:.0f} ms; budget {BUDGET_MS:.0f} ms {kept}")
    samples.show(shown, "ar.png")


if __name__ == "__main__":
    samples.run(main)
