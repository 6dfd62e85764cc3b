"""A stream: regions are followed and described while frames arrive.

`python examples/stream.py [SOURCE]` — a file, a camera number, or an rtsp:// or http:// address;
without any: a made-up clip. What a stream holds does not grow with its length.
"""

# %%
import samples

import perceive_anything as pa

pam = pa.Perceiver.from_pretrained()
stream = pam.stream(
    samples.source(samples.clip()), caption_every=1.0
)  # or "auto": when the region changes for good

# %% [markdown]
# ## Regions may be added and removed at any time; here on the tenth frame, or half way
# %%
start = min(10, samples.NUM_FRAMES // 2)
for event in stream:
    match event:
        case pa.FrameEvent(frame=number, size_wh=size_wh) if number == start:
            track = stream.add(samples.pointed_at(size_wh))
            print(f"{event.time_s:.1f} s: following region {track}")
        case pa.FrameEvent(tracks=(seen, *_)):
            print(f"{event.time_s:.1f} s: box {seen.box_xyxy}, visible: {seen.visible}")
            if seen.visible and stream.frame:
                picture = event.plot(stream.frame.image)
        case pa.CaptionEvent():
            print(f"{event.start_s:.1f} to {event.end_s:.1f} s: {event.text} ({event.reason})")
        case pa.EndEvent():
            print(f"end: {event.reason}, {event.frames} frames, {event.dropped} dropped")

# %% [markdown]
# ## The last frame on which the region was seen
# %%
samples.show(picture, "stream.png")
