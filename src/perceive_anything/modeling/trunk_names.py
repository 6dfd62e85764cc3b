"""Names that the trunk has for what it sees in a close-up, spelled into the semantic rows.

An ImageNet trunk comes with a classifier that knows more kinds of things than a small perceiver can
learn from few photos. Knows features and token ids; no words, no pictures.
Shape suffixes: R regions, S semantic rows, D language-model width, C channels, T tokens of a name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NAME_LENGTH = 8
NO_TOKEN = NO_CLASS = -1


class TrunkNames(nn.Module):
    """Writes the classifier's name where it is sure and the rows are not.

    Rows spell the label, one token each (the stage `alignment` teaches them). With p for the share
    of the likeliest class, and q for that of the likeliest first token, the name is written where
    p * (1 - q), how likely the trunk is right and the rows wrong, exceeds `above`. Its tokens get
    the length of the rows in whose place they stand.

    Args:
        width: Channels of what the trunk sees.
        num_classes: Of its classifier.
        above: See above.
    """

    def __init__(self, width: int, num_classes: int, above: float) -> None:
        super().__init__()
        self.above = above
        self.classifier = nn.Linear(width, num_classes)
        self.name_ids = nn.Buffer(torch.full((num_classes, NAME_LENGTH), NO_TOKEN))

    def forward(
        self,
        semantic_RSD: Tensor,
        close_RC: Tensor,
        words: nn.Embedding,
        given_R: Tensor | None = None,
    ) -> Tensor:
        """Rows with the tokens of a name in the first places where the trunk names the region.

        Args:
            semantic_RSD: Rows as projected.
            close_RC: What the trunk sees in close-ups.
            words: Token embeddings of the language model.
            given_R: Classes whose names are written whatever is seen; `NO_CLASS` for none.
        """
        sure_R, class_R = self.classifier(close_RC).float().softmax(-1).max(-1)
        known_R = (semantic_RSD[:, 0] @ words.weight.T).float().softmax(-1).amax(-1)
        named_R = sure_R * (1 - known_R) > self.above
        if given_R is not None:
            named_R |= given_R != NO_CLASS
            class_R = torch.where(given_R != NO_CLASS, given_R, class_R)
        ids_RT = self.name_ids[class_R]
        written_RT = named_R[:, None] & (ids_RT != NO_TOKEN)
        first_RTD = semantic_RSD[:, :NAME_LENGTH]
        name_RTD = F.normalize(words(ids_RT.clamp(min=0)), dim=-1)
        name_RTD = name_RTD * first_RTD.norm(dim=-1, keepdim=True)
        first_RTD = torch.where(written_RT[..., None], name_RTD, first_RTD)
        return torch.cat([first_RTD, semantic_RSD[:, NAME_LENGTH:]], 1)

    @torch.no_grad()
    def load(self, classifier: nn.Linear, ids_NT: Tensor) -> None:
        """Take over a trained classifier and the token ids of its names, `NO_TOKEN` after them."""
        self.classifier.load_state_dict(classifier.state_dict())
        self.name_ids.copy_(ids_NT)
