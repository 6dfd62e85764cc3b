"""A model that can learn from nothing: initial values for a SAM 2 and a perceiver of our own.

Knows modules only. Without these steps a SAM 2 of transformers does not learn to follow prompts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceive_anything.modeling import PamForConditionalGeneration

SURENESS = 0.1
ALIGNMENT_PARTS = (
    "perceiver", "image_projector", "semantic_projector", "image_newline", "semantic_newline",
)  # fmt: skip

ROW_PARTS = ("perceiver", "semantic_projector")
MEANS_PARTS = ("perceiver.region_means", "semantic_projector")
LATER_PARTS = ("sam.mask_refiner.", "perceiver.region_means.", "trunk_names.")


@torch.no_grad()
def initialise(model: PamForConditionalGeneration) -> None:
    """Give SAM 2, the perceiver and the projectors torch's own initial values.

    The two position matrices of SAM 2 become one, as prompts and image must share their code, and
    mask prompts start at the logits -10 and +10 that SAM 2 uses. Means of regions begin by adding
    nothing, so that a perceiver that did without them goes on as it was.
    """
    reset_parts(model.sam, model.perceiver, model.image_projector, model.semantic_projector)
    sam, means = model.sam, model.perceiver.region_means
    if sam.mask_refiner is not None:
        sam.mask_refiner.start()
    if means is not None:
        nn.init.zeros_(means.proj.weight)
        nn.init.zeros_(means.proj.bias)
    sam.prompt_encoder.shared_embedding.positional_embedding.copy_(
        sam.shared_image_embedding.positional_embedding
    )
    sam.mask_downsample.weight.fill_(20 / sam.mask_downsample.weight.numel())
    sam.mask_downsample.bias.fill_(-10)


def reset_parts(*parts: nn.Module) -> None:
    """Give every layer of the parts torch's own initial values."""
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.LayerNorm, nn.GroupNorm, nn.Embedding)
    for module in (module for part in parts for module in part.modules()):
        if isinstance(module, kinds):
            module.reset_parameters()


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


@torch.no_grad()
def start_memory(model: PamForConditionalGeneration, embeddings_BCHW: Tensor) -> None:
    """Let memory attention begin by changing nothing, so that the decoder sees what it knows.

    Its last LayerNorm undoes its own normalisation as well as a scale and a shift a channel can,
    and its layers begin with no say. The object score, which images have only taught to say
    "present", becomes less sure of it.

    Args:
        model: Its memory is untrained.
        embeddings_BCHW: Image embeddings of some frames, without `no_memory_embedding`.
    """
    attention = model.sam.memory_attention
    raw = embeddings_BCHW.permute(0, 2, 3, 1).flatten(0, 2)
    normed, wanted = F.layer_norm(raw, raw.shape[1:]), raw + model.sam.no_memory_embedding[0]
    spread = normed - normed.mean(0)
    attention.layer_norm.weight.copy_((spread * wanted).mean(0) / spread.square().mean(0))
    shift = wanted.mean(0) - attention.layer_norm.weight * normed.mean(0)
    attention.layer_norm.bias.copy_(shift)
    for layer in attention.layers:
        for last in (layer.self_attn.o_proj, layer.cross_attn_image.o_proj, layer.linear2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    score = model.sam.mask_decoder.pred_obj_score_head.proj_out
    score.weight.mul_(SURENESS)
    score.bias.mul_(SURENESS)


def load_finished(model: PamForConditionalGeneration, done: PamForConditionalGeneration) -> None:
    """Take over the weights of a finished model, which may lack `LATER_PARTS`.

    Raises:
        RuntimeError: The models differ in more than that.
    """
    own = {name: v for name, v in model.state_dict().items() if name.startswith(LATER_PARTS)}
    model.load_state_dict(own | done.state_dict())


def freeze_all_but(model: PamForConditionalGeneration, trainable: tuple[str, ...]) -> None:
    """Let only parameters learn whose names start with one of `trainable`."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trainable))
