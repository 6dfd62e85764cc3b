"""Perceive the cat of scikit-image's `chelsea` photo and draw what was found.

Run: python examples/chelsea.py (what `make run` does). Writes out/chelsea_overlay.png.
"""

from pathlib import Path

from skimage import data

import perceive_anything as pa
from perceive_anything import media

CAT = pa.Box(5, 5, 446, 296)
OUT = Path("out")


def main() -> None:
    """Load nano, encode the photo once, ask about one box."""
    OUT.mkdir(exist_ok=True)
    pam = pa.Perceiver.from_pretrained()
    photo = OUT / "chelsea.png"
    media.save_image(data.chelsea(), photo)
    image = pam.image(photo)
    region = image.perceive(CAT)

    print(f"label        {region.label}")
    print(f"explanation  {region.explanation}")
    print(f"caption      {region.caption}")
    print(f"description  {region.description}")
    print(f"mask         {region.mask.mean():.0%} of the image, box {region.box_xyxy}")
    overlay = OUT / "chelsea_overlay.png"
    region.save(overlay, image.array)
    print(f"overlay      {overlay}")


if __name__ == "__main__":
    main()
