"""PAM as one transformers model: SAM 2 -> semantic perceiver -> projectors -> language model.

Knows tensors and token ids; words, prompts of users and pictures are the processor's business.
Shape suffixes: B images, R regions, L text positions, V visual rows, D language-model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from perceive_anything.modeling.close_ups import look, masked_mean
from perceive_anything.modeling.configuration import PamConfig
from perceive_anything.modeling.perceiver import SemanticPerceiver
from perceive_anything.modeling.segmenter import (
    ImageFeatures,
    PromptTensors,
    RegionFeatures,
    SeenRegions,
    decode_regions,
    encode_images,
)
from perceive_anything.modeling.tracking import PamSam2VideoModel
from perceive_anything.modeling.trunk_names import TrunkNames

# Positions of prompts and cells: bfloat16 has eight bits, an image side of 1024 needs ten.
KEPT_IN_FLOAT32 = "positional_embedding"


def _projector(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))


class PamPreTrainedModel(PreTrainedModel):
    """What the parts of PAM share as transformers models."""

    config: PamConfig
    config_class = PamConfig
    base_model_prefix = "pam"
    main_input_name = "pixel_values"
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = {KEPT_IN_FLOAT32}  # noqa: RUF012 - the shape that transformers reads

    def _init_weights(self, module: nn.Module) -> None:
        """Newlines and the perceiver's position matrix; every other part initialises itself."""
        super()._init_weights(module)
        if isinstance(module, PamForConditionalGeneration):
            std = self.config.text_config.hidden_size**-0.5
            for newline in (module.image_newline, module.semantic_newline, module.frame_newline):
                nn.init.normal_(newline, std=std)
        elif isinstance(module, SemanticPerceiver):
            nn.init.normal_(module.positional_embedding)


class PamForConditionalGeneration(PamPreTrainedModel):
    """The Perceive Anything Model (arXiv 2506.05302) of any size.

    Three steps make an answer: `encode_image` once an image, `segment` for all its prompts,
    `visual_rows` for the language model; `generate` does them in one call.
    """

    def __init__(self, config: PamConfig) -> None:
        super().__init__(config)
        perceiver, width = config.perceiver_config, config.text_config.hidden_size
        perceiver._attn_implementation = config._attn_implementation
        self.sam = PamSam2VideoModel(
            config.sam_config,
            render_prompts=config.render_prompts,
            choose_mask=config.choose_mask,
            ask_clicks_twice=config.ask_clicks_twice,
            memory_selection=config.memory_selection,
            mask_refiner=config.mask_refiner,
            close_up_size=config.close_up_size,
        )
        self.perceiver = SemanticPerceiver(perceiver, config.close_up_width)
        self.trunk_names: TrunkNames | None = None
        if config.close_up_size and config.trunk_classes:
            self.trunk_names = TrunkNames(
                config.close_up_width, config.trunk_classes, config.trunk_names_above
            )
        self.image_projector = _projector(perceiver.image_shuffle**2 * perceiver.hidden_size, width)
        self.semantic_projector = _projector(perceiver.hidden_size, width)
        self.image_newline = nn.Parameter(torch.empty(width))
        self.semantic_newline = nn.Parameter(torch.empty(width))
        self.frame_newline = nn.Parameter(torch.empty(width))
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings of the language model."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings of the language model."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The vocabulary head of the language model."""
        return self.language_model.get_output_embeddings()

    def encode_image(self, pixel_values: Tensor) -> ImageFeatures:
        """Normalised images (B, 3, S, S) -> SAM 2 features; the only costly step of an image."""
        return encode_images(self.sam, pixel_values)

    def segment(
        self, features: ImageFeatures, prompts: PromptTensors, *, once: bool = False
    ) -> RegionFeatures:
        """All prompts of a call as one batch -> masks and the tensors that the perceiver reads.

        Args:
            features: From `encode_image`.
            prompts: Prompts of the regions.
            once: Do not ask clicks again (`PamConfig.ask_clicks_twice`), where many are only tried.
        """
        config = self.config
        return decode_regions(
            self.sam,
            features,
            prompts,
            render=config.render_prompts,
            choose=config.choose_mask,
            twice=config.ask_clicks_twice and not once,
        )

    def visual_rows(self, regions: RegionFeatures, *, dense: bool = True) -> Tensor:
        """Rows of the language model's input for each region of an image.

        Args:
            regions: From `segment`.
            dense: The fine shuffle (images, first frame of a clip) or the coarse one.

        Returns:
            (R, V, D): image tokens, image newline, semantic tokens, semantic newline.
        """
        seen = self.see(regions)
        return self.with_names(self.rows_of(seen, dense=dense), seen)

    def see(self, regions: RegionFeatures) -> SeenRegions:
        """What the perceiver reads of regions; here the trunk looks at their close-ups."""
        seen = SeenRegions(regions.embedding, regions.mask_tokens)
        if regions.close_ups is None:
            return seen
        masks = (regions.mask_logits > 0).to(regions.embedding.dtype)
        inside = masked_mean(regions.embedding, masks)
        close = look(self.sam.vision_encoder.backbone, regions.close_ups)
        return replace(seen, inside=inside, close=close)

    def rows_of(self, seen: SeenRegions, *, dense: bool = True) -> Tensor:
        """`visual_rows` of what was seen, in the perceiver's own words."""
        semantic, image = self.perceiver(seen, dense=dense)
        num_regions = len(semantic)
        newlines = [
            newline.expand(num_regions, 1, -1)
            for newline in (self.image_newline, self.semantic_newline)
        ]
        rows = [
            self.image_projector(image),
            newlines[0],
            self.semantic_projector(semantic),
            newlines[1],
        ]
        return torch.cat(rows, 1)

    def with_names(
        self, visual_RVD: Tensor, seen: SeenRegions, given_R: Tensor | None = None
    ) -> Tensor:
        """Rows in which the trunk names what it knows better than the perceiver, see `TrunkNames`.

        Args:
            visual_RVD: From `rows_of`.
            seen: What they say.
            given_R: Classes to be named in any case, -1 for none.
        """
        if self.trunk_names is None or seen.close is None:
            return visual_RVD
        place = slice(-1 - self.config.perceiver_config.num_semantic_tokens, -1)
        words = self.get_input_embeddings()
        named = self.trunk_names(visual_RVD[:, place], seen.close, words, given_R)
        return torch.cat([visual_RVD[:, : place.start], named, visual_RVD[:, -1:]], 1)

    def clip_rows(self, frames: Sequence[RegionFeatures]) -> Tensor:
        """Rows of the language model's input for regions followed through a clip.

        Args:
            frames: What is seen of the R regions on each sampled frame, in time order.

        Returns:
            (R, V, D): per frame its `visual_rows` (the first dense) and the frame newline.
        """
        parts = []
        for index, regions in enumerate(frames):
            rows = self.visual_rows(regions, dense=index == 0)
            parts += [rows, self.frame_newline.expand(len(rows), 1, -1)]
        return torch.cat(parts, 1)

    def splice(self, input_ids: Tensor, visual_RVD: Tensor) -> Tensor:
        """Token embeddings with the visual rows in the places of `image_token_id`.

        Args:
            input_ids: (R, L) ids; each row holds as many placeholders as there are visual rows.
            visual_RVD: (R, V, D) rows.
        """
        is_visual = input_ids == self.config.image_token_id
        embeds = self.get_input_embeddings()(input_ids.masked_fill(is_visual, 0))
        if int(is_visual.sum()) != visual_RVD.shape[0] * visual_RVD.shape[1]:
            raise ValueError(
                f"input_ids hold {int(is_visual.sum())} image placeholders, expected "
                f"{visual_RVD.shape[0]} x {visual_RVD.shape[1]}; use PamProcessor to build them."
            )
        return embeds.masked_scatter(is_visual[..., None], visual_RVD.to(embeds.dtype))

    def prefix_embeds(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        points: Tensor,
        point_labels: Tensor,
        image_index: Tensor,
        masks: Tensor | None = None,
    ) -> Tensor:
        """Images and prompts -> what the language model reads, (R, L, D)."""
        prompts = PromptTensors(points, point_labels, image_index, masks)
        regions = self.segment(self.encode_image(pixel_values), prompts)
        return self.splice(input_ids, self.visual_rows(regions))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        pixel_values: Tensor | None = None,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        image_index: Tensor | None = None,
        masks: Tensor | None = None,
        **kwargs: object,
    ) -> CausalLMOutputWithPast:
        """Next-token logits (and loss) of R region answers; inputs as `PamProcessor` makes them.

        Args:
            input_ids: (R, L) ids with placeholders for the visual rows.
            attention_mask: (R, L), 0 on padding.
            labels: (R, L), -100 where no loss is wanted.
            pixel_values: (B, 3, S, S) normalised images.
            points: (R, P, 2) prompt points in pixels of the model input.
            point_labels: (R, P); see `PromptTensors`.
            image_index: (R,) image of each region.
            masks: (R, 1, S, S) mask prompts or None.
            **kwargs: For the language model.
        """
        embeds = self.prefix_embeds(
            input_ids, pixel_values, points, point_labels, image_index, masks
        )
        return self.language_model(
            inputs_embeds=embeds, attention_mask=attention_mask, labels=labels, **kwargs
        )

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        image_index: Tensor | None = None,
        masks: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor:
        """Answers of R regions as token ids (R, new tokens); settings as in transformers' generate.

        `PamConfig.label_spelling` and `label_guidance` take no part: the task is not known here.

        Args: as in `forward`.
        """
        embeds = self.prefix_embeds(
            input_ids, pixel_values, points, point_labels, image_index, masks
        )
        return self.language_model.generate(
            inputs_embeds=embeds, attention_mask=attention_mask, **kwargs
        )


AutoModelForImageTextToText.register(PamConfig, PamForConditionalGeneration)
