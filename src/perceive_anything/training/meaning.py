"""What the semantic rows must tell of a region besides its label, in `alignment`.

Labels alone are learned by heart: there are a few photos of each. What a region looks like to SAM 2
and to an ImageNet classifier is different for every region and known for all of them, so rows that
tell it have to be read off the region. The heads are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEACHER, LABEL = 0.2, 0.3
FAR = 5.0


class RowMeaning(nn.Module):
    """Linear heads on the mean of a region's semantic rows; training only.

    Args:
        width: Of the rows.
        names: Labels of all regions, in their order.
        sample: Means of the tapped embedding and of the head maps in some regions: their scale.
        classifier: Reads the head maps; frozen, and not ours to save.
        smoothing: Share of a label that is spread over all others.
    """

    def __init__(
        self,
        width: int,
        names: Sequence[str],
        sample: tuple[Tensor, Tensor],
        classifier: nn.Linear,
        smoothing: float,
    ) -> None:
        super().__init__()
        index = {name: number for number, name in enumerate(sorted(set(names)))}
        self.labels = torch.tensor([index[name] for name in names])
        self.smoothing = smoothing
        for name, values in zip(("inside", "head"), sample, strict=True):
            scale = torch.stack([values.mean(0), values.std(0) + 1e-2])
            setattr(self, f"{name}_scale", nn.Buffer(scale, persistent=False))
            setattr(self, name, nn.Linear(width, values.shape[1]))
        self.teacher = nn.Linear(width, classifier.out_features)
        self.label = nn.Linear(width, len(index))
        object.__setattr__(self, "classifier", classifier)

    def forward(
        self, semantic_RSD: Tensor, inside_RC: Tensor, head_RC: Tensor, label_R: Tensor
    ) -> dict[str, Tensor]:
        """Terms of the loss.

        Args:
            semantic_RSD: Semantic rows.
            inside_RC: Mean of the tapped embedding in each region.
            head_RC: Mean of the ImageNet trunk's last maps in each region.
            label_R: Numbers of the labels, see `labels`.
        """
        mean = semantic_RSD.mean(1)
        with torch.no_grad():
            opinion = self.classifier(head_RC).softmax(1)
        label = F.cross_entropy(self.label(mean), label_R, label_smoothing=self.smoothing)
        return {
            "inside": F.mse_loss(self.inside(mean), scaled(inside_RC, self.inside_scale)),
            "head": F.mse_loss(self.head(mean), scaled(head_RC, self.head_scale)),
            "teacher": TEACHER * F.cross_entropy(self.teacher(mean), opinion),
            "label": LABEL * label,
        }


def scaled(values: Tensor, scale: Tensor) -> Tensor:
    """Values in standard deviations, cut where they are far off."""
    return ((values - scale[0]) / scale[1]).clamp(-FAR, FAR)
