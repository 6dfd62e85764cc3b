"""Surveillance: things that enter and leave a camera's view, to a JSONL event log.

python examples/surveillance.py [SOURCE]     a file, camera number or rtsp:// address

For a camera that stands still: what differs from the learned scene has entered, is named once
and followed, and has left when it is not seen any more.
"""

import numpy as np
import samples
from scipy import ndimage

import perceive_anything as pa
from perceive_anything.live import open_stream

DIFFERENT, LEAST_PX, SLOW, NEAR_PX, GONE_FRAMES = 40, 1500, 0.01, 40, 2


def newcomer(new: np.ndarray) -> pa.Box | None:
    """The largest connected part, if it is large enough and wholly in view."""
    parts, count = ndimage.label(ndimage.binary_opening(new, iterations=3))
    areas = np.bincount(parts.ravel(), minlength=2)[1:]
    ys, xs = ndimage.find_objects(parts)[int(areas.argmax())] if count else np.s_[0:0, 0:0]
    inside = ys.start and xs.start and ys.stop < new.shape[0] and xs.stop < new.shape[1]
    wanted = inside and areas.max() >= LEAST_PX
    return pa.Box(xs.start, ys.start, xs.stop, ys.stop) if wanted else None


def main() -> None:
    """Follow, name, and write a line for each thing that enters or leaves."""
    pam = pa.Perceiver.from_pretrained()
    stream, scene, since, unseen = pam.stream(caption_every=None), None, {}, {}
    with (samples.OUT / "events.jsonl").open("w", encoding="utf-8", buffering=1) as log:
        for frame in open_stream(samples.source(samples.clip())):
            image, now = frame.image, round(frame.time_s, 2)
            scene = image.astype(np.float32) if scene is None else scene + SLOW * (image - scene)
            new = np.abs(image - scene).max(2) > DIFFERENT
            for seen in stream.push(image, frame.time_s)[0].tracks:
                x1, y1, x2, y2 = np.add(seen.box_xyxy, (-NEAR_PX, -NEAR_PX, NEAR_PX, NEAR_PX))
                new[max(0, y1) : y2, max(0, x1) : x2] = False
                unseen[seen.track] = 0 if seen.visible else unseen[seen.track] + 1
                if unseen[seen.track] == GONE_FRAMES:
                    stream.remove(seen.track)
                    stay_s = round(now - since[seen.track], 2)
                    samples.tell(log, time_s=now, event="left", track=seen.track, stay_s=stay_s)
            if (box := newcomer(new)) is not None:
                track = stream.add(box)
                since[track], unseen[track] = now, 0
                region = pam.image(image).perceive(box, tasks=["recognize", "caption"])
                texts = {"label": region.label, "caption": region.caption}
                samples.tell(log, time_s=now, event="entered", track=track, **texts)


if __name__ == "__main__":
    samples.run(main)
