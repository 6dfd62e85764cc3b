"""Fine-tune: a folder of your own images with a COCO file -> a model that knows your word.

python examples/finetune.py [FOLDER]     without: drawn "zorbs" on photos; needs the extra [train]

A recipe is a file; what you change is said beside it, as with `perceive train ... --set a.b=1`.
"""

import random
from pathlib import Path

import numpy as np
import samples
from PIL import Image, ImageDraw

import perceive_anything as pa
from perceive_anything.config import load_config
from perceive_anything.training.config import FinetuneRecipe
from perceive_anything.training.finetune import finetune

RECIPE = Path(__file__).parent.parent / "recipes" / "finetune_lora.yaml"
SIDE = 320


def draw_zorb(seed: int) -> tuple[Image.Image, list[int]]:
    """A yellow face with three eyes somewhere on a photo."""
    rng, photos = random.Random(seed), sorted(samples.photos().glob("*.png"))
    image = Image.open(rng.choice(photos)).convert("RGB").resize((SIDE, SIDE))
    width, pen = rng.randint(70, 140), ImageDraw.Draw(image)
    x, y = rng.randint(0, SIDE - width - 1), rng.randint(0, SIDE - width - 1)
    pen.ellipse((x, y, x + width, y + width), fill=(250, 200, 30), outline=(60, 40, 0), width=3)
    for eye in (0.2, 0.45, 0.7):
        left, top = x + width * eye, y + width * 0.3
        pen.ellipse((left, top, left + width * 0.12, top + width * 0.2), fill=(200, 20, 120))
    return image, [x, y, width, width]


def main() -> None:
    """Train, then ask the old and the new model about a picture that neither has seen."""
    drawn = [draw_zorb(seed) for seed in range(8)]
    rows = [
        (i, {"bbox": box, "caption": "a zorb with three eyes"}) for i, (_, box) in enumerate(drawn)
    ]
    made = samples.write_coco(samples.OUT / "zorb", [image for image, _ in drawn], rows)
    (folder,) = samples.given(made)
    changes = {"output": samples.OUT / "finetune", **samples.TRAINING}
    recipe = load_config(RECIPE, FinetuneRecipe, [f"{name}={to}" for name, to in changes.items()])
    model = finetune(recipe, Path(folder))
    image, (x, y, width, height) = draw_zorb(1000)
    box = pa.Box(x, y, x + width, y + height)
    for name in ("nano", str(model)):
        session = pa.Perceiver.from_pretrained(name).image(np.asarray(image))
        print(f"{name}: {session.perceive(box, tasks=['recognize']).label}")


if __name__ == "__main__":
    samples.run(main)
