"""Medical images: how to fine-tune on a segmentation set. A recipe, not a medical device.

python examples/medical.py [FOLDER]     a COCO folder; without: nuclei of a stained tissue sample
WARNING: no clinical meaning, before or after. nano saw everyday photos, the masks are a threshold,
the set is one picture, nothing was validated. Diagnosis and treatment take data with consent,
experts' masks, held-out patients, and the rules of your country.
"""

from pathlib import Path

import numpy as np
import samples
from PIL import Image
from scipy import ndimage
from skimage import color, data, filters

import perceive_anything as pa
from perceive_anything.config import load_config
from perceive_anything.masks import encode_rle
from perceive_anything.training.config import FinetuneRecipe
from perceive_anything.training.finetune import finetune

RECIPE = Path(__file__).parent.parent / "recipes" / "finetune_lora.yaml"
TILE, LEAST_PX, PER_TILE = 128, 120, 3


def nuclei(tile: np.ndarray) -> list[dict]:
    """The largest blobs of the haematoxylin stain, as COCO annotations."""
    stain = filters.gaussian(color.rgb2hed(tile)[..., 0], 1)
    parts, _ = ndimage.label(stain > filters.threshold_otsu(stain))
    order = np.argsort(-np.bincount(parts.ravel())[1:])[:PER_TILE]
    masks = [parts == number + 1 for number in order if (parts == number + 1).sum() >= LEAST_PX]
    places = [ndimage.find_objects(mask.astype(int))[0] for mask in masks]
    corners = [(x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in places]
    rows = zip(corners, map(encode_rle, masks), strict=True)
    return [{"bbox": corner, "segmentation": mask} for corner, mask in rows]


def main() -> None:
    """Train on all tiles but the last; ask both models about that one."""
    photo = data.immunohistochemistry()
    corners = [(y, x) for y in range(0, 512, TILE) for x in range(0, 512, TILE)]
    *train, held_out = [photo[y : y + TILE, x : x + TILE] for y, x in corners]
    images = [Image.fromarray(tile).resize((2 * TILE, 2 * TILE)) for tile in train]
    rows = [(i, row) for i, image in enumerate(images) for row in nuclei(np.asarray(image))]
    (folder,) = samples.given(samples.write_coco(samples.OUT / "nucleus", images, rows))
    alone = {"rehearsal": 0, "training.steps": 3 * samples.TRAINING["training.steps"]}
    changes = {"output": samples.OUT / "medical", **samples.TRAINING, **alone}
    recipe = load_config(RECIPE, FinetuneRecipe, [f"{name}={to}" for name, to in changes.items()])
    model = finetune(recipe, Path(folder))
    picture = np.asarray(Image.fromarray(held_out).resize((2 * TILE, 2 * TILE)))
    x, y, width, height = nuclei(picture)[0]["bbox"]
    for name in ("nano", str(model)):
        image = pa.Perceiver.from_pretrained(name).image(picture)
        print(name, "says", image.perceive(pa.Box(x, y, x + width, y + height)).label)
    print("This shows how to train. It says nothing about tissue.")


if __name__ == "__main__":
    samples.run(main)
