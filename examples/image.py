"""An image: point, draw a box, read along, ask in Chinese, find everything.

`python examples/image.py [PHOTO]` — without a photo of yours: scikit-image's cat.
"""

# %%
import samples

import perceive_anything as pa

pam = pa.Perceiver.from_pretrained()  # nano: embedded, offline, any CPU
(photo,) = samples.given(samples.photos() / "chelsea.png")
image = pam.image(photo)  # encoded once, for all that follows
width, height = image.size_wh
print(f"{photo}: {width} x {height}, encoded in {image.timing_s['encode']:.2f} s")

# %% [markdown]
# ## A box: mask and four texts
# %%
region = image.perceive(pa.Box(0.02 * width, 0.02 * height, 0.98 * width, 0.98 * height))
print("label       ", region.label, region.label_confidence)
print("explanation ", region.explanation)
print("caption     ", region.caption)
print("description ", region.description)
samples.show(region.plot(image.array), "image.png")

# %% [markdown]
# ## Points inside (1) and outside (0), and a mask as a prompt
# %%
points = pa.Points([(0.5 * width, 0.5 * height), (0.97 * width, 0.03 * height)], labels=[1, 0])
both = image.perceive([points, pa.Mask(region.mask)], tasks=["recognize", "caption"])
for one in both:
    print(one.id, one.label, "|", one.caption, "|", one.box_xyxy)

# %% [markdown]
# ## Text as it is written, and in Chinese
# %%
for chunk in image.perceive(points, tasks=["describe"], stream=True):
    print(chunk.text, end="", flush=True)
print()
print(image.perceive(points, tasks=["recognize"], language="zh").label)

# %% [markdown]
# ## Everything: regions without any prompt, the largest first
# %%
found = image.everything(max_regions=4, tasks=["recognize"])
for one in found:
    print(f"{one.label}: {one.mask.mean():.0%} of the image, score {one.score:.2f}")
