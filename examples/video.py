"""A video: point on one frame, follow forward and backward, describe.

`python examples/video.py [CLIP]` — without a clip of yours: cut-outs that move over a photo.
"""

# %%
import samples

import perceive_anything as pa

pam = pa.Perceiver.from_pretrained()
(path,) = samples.given(samples.clip())
video = pam.video(path)
width, height = video.size_wh
num_frames = video.num_frames or sum(1 for _ in video.source.frames())  # not all files say
print(f"{path}: {width} x {height}, {num_frames} frames")

# %% [markdown]
# ## Point at something half way through
# %%
box = samples.pointed_at(video.size_wh)
track = video.perceive(box, frame=num_frames // 2)
print("label   ", track.label)
print("caption ", track.caption)
print("visible ", int(track.visible.sum()), "of", len(track.frames), "frames")

# %% [markdown]
# ## One entry a frame: mask, box, score; absent frames say so
# %%
for index in range(0, len(track.frames), max(1, len(track.frames) // 4)):
    print(f"{track.times_s[index]:.1f} s", track.boxes_xyxy[index], f"{track.scores[index]:.2f}")

# %% [markdown]
# ## The clip with the region drawn on it
# %%
frame = next(video.source.frames(num_frames // 2))
samples.show(track.plot(frame.image, frame.index), "video.png")
target = track.save(samples.OUT / "video.mp4", video.source)
print(f"wrote {target} and {track.save(samples.OUT / 'video.json')}")
