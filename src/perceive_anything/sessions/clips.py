"""Which frames of a clip the language model will read, chosen while the clip runs.

Knows frame numbers and region features; nothing of files or of how captions are written.
"""

from __future__ import annotations

from perceive_anything.modeling.processing import CLIP_FRAMES, clip_frames
from perceive_anything.modeling.segmenter import RegionFeatures

KEPT_FRAMES = 2 * CLIP_FRAMES


class ClipFeatures:
    """Features of one region on a few frames of a clip; bounded, whatever the clip's length.

    A clip of known length keeps exactly the frames that are read. Otherwise every frame is kept
    until there are 32, then every second, fourth, ...: of these the sixteen nearest to the wanted
    ones are read, which are the wanted ones themselves as long as the clip has 32 frames or fewer.

    Args:
        first: Number of the clip's first frame.
        num_frames: Length of the clip if it is known.
    """

    def __init__(self, first: int = 0, num_frames: int | None = None) -> None:
        self.first = first
        self._wanted = None if num_frames is None else set(clip_frames(num_frames))
        self._stride, self._kept = 1, dict[int, RegionFeatures]()

    def add(self, frame: int, features: RegionFeatures) -> None:
        """Offer what was seen on a frame; it is kept or not."""
        offset = frame - self.first
        if self._wanted is not None:
            if offset in self._wanted:
                self._kept[offset] = features
            return
        if offset % self._stride:
            return
        self._kept[offset] = features
        if len(self._kept) > KEPT_FRAMES:
            self._stride *= 2
            self._kept = {o: f for o, f in self._kept.items() if o % self._stride == 0}

    def sample(self, num_frames: int) -> list[RegionFeatures]:
        """Features of at most sixteen frames in time order, the first one first.

        Args:
            num_frames: Length that the clip turned out to have.
        """
        offsets = sorted(self._kept)
        nearest = dict.fromkeys(
            min(offsets, key=lambda offset: abs(offset - wanted))
            for wanted in clip_frames(num_frames)
        )
        return [self._kept[offset] for offset in nearest]
