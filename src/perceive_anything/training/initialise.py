"""A model that can learn from nothing: initial values for a SAM 2 and a perceiver of our own.

Knows modules only. Without these steps a SAM 2 of transformers does not learn to follow prompts.
"""

from __future__ import annotations

import torch
from torch import nn

from perceive_anything.modeling import PamForConditionalGeneration


@torch.no_grad()
def initialise(model: PamForConditionalGeneration) -> None:
    """Give SAM 2, the perceiver and the projectors torch's own initial values.

    The two position matrices of SAM 2 become one, as prompts and image must share their code, and
    mask prompts start at the logits -10 and +10 that SAM 2 uses.
    """
    for part in (model.sam, model.perceiver, model.image_projector, model.semantic_projector):
        for module in part.modules():
            if isinstance(
                module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.LayerNorm, nn.Embedding)
            ):
                module.reset_parameters()
    sam = model.sam
    sam.prompt_encoder.shared_embedding.positional_embedding.copy_(
        sam.shared_image_embedding.positional_embedding
    )
    sam.mask_downsample.weight.fill_(20 / sam.mask_downsample.weight.numel())
    sam.mask_downsample.bias.fill_(-10)


@torch.no_grad()
def start_perceiver(model: PamForConditionalGeneration) -> None:
    """Let the perceiver begin as a copy of the mask decoder's transformer.

    That one already looks at the prompted region; the semantic tokens begin as mask token 0 with
    some noise.
    """
    decoder, perceiver = model.sam.mask_decoder, model.perceiver
    perceiver.transformer.load_state_dict(decoder.transformer.state_dict())
    perceiver.positional_embedding.copy_(model.sam.shared_image_embedding.positional_embedding)
    tokens = perceiver.semantic_tokens.weight
    tokens.copy_(decoder.mask_tokens.weight[:1] + 0.3 * torch.randn_like(tokens))


def freeze_all_but(model: PamForConditionalGeneration, trainable: tuple[str, ...]) -> None:
    """Let only parameters learn whose names start with one of `trainable`."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trainable))
