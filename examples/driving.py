"""Driving: several things of a clip, each followed, each with a caption for every event.

python examples/driving.py [CLIP [FRAME]]     as of a dash-cam; FRAME (12) is looked at first

No prompt is given: the largest things of one frame are followed from there. Nothing here is fit
to steer by.
"""

from collections import Counter

import samples

import perceive_anything as pa
from perceive_anything.sessions.image import ImageSession

MOST, HALF = 3, 0.5


def things_of(image: ImageSession) -> list[pa.Region]:
    """The largest things, without those that lie within another or fill the picture."""
    found = image.everything(max_regions=4 * MOST, tasks=["recognize"])
    chosen: list[pa.Region] = []
    for region in found:
        overlaps = ((region.mask & one.mask).sum() / region.mask.sum() for one in chosen)
        if region.mask.mean() < HALF and all(share < HALF for share in overlaps):
            chosen.append(region)
    return chosen[:MOST]


def main() -> None:
    """Follow, and print what each thing did when."""
    pam = pa.Perceiver.from_pretrained()
    path, first = samples.given(samples.clip(), samples.NUM_FRAMES // 2)
    stream, labels, num_seen = pam.stream(caption_every="auto"), {}, Counter()
    for frame in pam.video(path).source.frames(int(first)):
        if not labels:
            found = things_of(pam.image(frame.image))
            labels = {stream.add(pa.Mask(one.mask)): one.label for one in found}
        events = stream.push(frame.image, frame.time_s)
        num_seen.update(seen.track for seen in events[0].tracks if seen.visible)
        tell(events, labels)
    tell(stream.close(), labels)
    for track, label in labels.items():
        print(f"{track} {label}: seen on {num_seen[track]} frames")


def tell(events: list[object], labels: dict[int, str | None]) -> None:
    """Print the captions among the events."""
    for event in events:
        if isinstance(event, pa.CaptionEvent):
            span = f"{event.start_s:.1f} to {event.end_s:.1f} s"
            print(f"{span}, {event.track} {labels[event.track]}: {event.text}")


if __name__ == "__main__":
    samples.run(main)
