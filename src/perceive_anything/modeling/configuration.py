"""Configurations of the model: trunk, semantic perceiver and the whole PAM.

Knows sizes and switches only. nano, PAM-1.5B and PAM-3B are values of the same classes.
"""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, Sam2VideoConfig
from transformers.configuration_utils import SubConfigSpec


@strict
class EfficientNetLiteConfig(PreTrainedConfig):
    """EfficientNet-Lite (no squeeze-and-excite, ReLU6) with outputs at strides 4, 8, 16, 32.

    Args:
        stem_channels: Channels behind the first convolution (stride 2).
        block_channels: Output channels of the seven block groups.
        block_repeats: Blocks in each of the seven groups.
        head_channels: Channels of the 1x1 head convolution on the stride-32 map; 0 leaves it out.
        normalize_stages: LayerNorm over the channels of each output, which keeps a convolutional
            trunk's large activations from drowning SAM 2's position code.

    Source: the scaling rules of EfficientNet (arXiv 1905.11946) with the Lite changes.
    """

    model_type = "efficientnet_lite"

    num_channels: int = 3
    stem_channels: int = 32
    block_channels: list[int] | None = None
    block_repeats: list[int] | None = None
    head_channels: int = 0
    normalize_stages: bool = True
    batch_norm_eps: float = 1e-3

    def __post_init__(self, **kwargs: object) -> None:
        """Fill in EfficientNet-Lite0 where a list is missing."""
        if self.block_channels is None:
            self.block_channels = [16, 24, 40, 80, 112, 192, 320]
        if self.block_repeats is None:
            self.block_repeats = [1, 2, 2, 3, 3, 4, 1]
        super().__post_init__(**kwargs)

    @property
    def output_channels(self) -> list[int]:
        """Channels of the outputs at strides 4, 8, 16 and 32."""
        _, stride4, stride8, _, stride16, _, stride32 = self.block_channels
        return [stride4, stride8, stride16, self.head_channels or stride32]


@strict
class PamPerceiverConfig(PreTrainedConfig):
    """The semantic perceiver: a two-way transformer over the tapped SAM 2 tensors.

    Args:
        hidden_size: Width; equals SAM 2's.
        num_semantic_tokens: Learnable queries that become semantic tokens.
        image_shuffle: Side of the patch that becomes one LLM token (image, first frame of a clip).
        frame_shuffle: The same for the other frames of a clip.
    """

    base_config_key = "perceiver_config"
    model_type = "pam_perceiver"

    hidden_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    mlp_dim: int = 2048
    num_semantic_tokens: int = 16
    image_shuffle: int = 2
    frame_shuffle: int = 4


@strict
class PamConfig(PreTrainedConfig):
    """The Perceive Anything Model: SAM 2, semantic perceiver, projectors, language model.

    Args:
        sam_config: A `Sam2VideoConfig`; any backbone that transformers can build.
        perceiver_config: The semantic perceiver.
        text_config: Any causal language model of transformers.
        render_prompts: Draw points and boxes into SAM 2's dense prompt as well. False for released
            checkpoints; nano needs it (little training leaves sparse prompts unused).
        video_captions: The model was trained to caption clips. False for nano: its captions of a
            video come from the frame that shows the region best.
        label_calibration: Slope and offset of a logistic curve from the mean log-probability of a
            label's tokens to how likely the label is right; None where it was not fitted.
        label_threshold: Labels of a lower confidence are said to be uncertain: 0.5 where confidence
            was fitted, as such a label is more likely wrong than right; None, where it was not,
            says it of none.
        label_spelling: How much the semantic rows, which spell the English label in nano, count in
            the choice of its tokens beside the language model, see `LabelSpelling`; 0 where they
            were not taught to, as in released checkpoints.
        label_guidance: How much likelier (added to logits) an English label that is not in doubt
            makes its own words in the region's other texts until they name it, see `LabelGuide`; 0,
            as for released checkpoints, leaves each text to itself.
        label_names: Other words that texts may call a label by, which then are as good as it: a
            person is named by "a man".
        choose_mask: Of the decoder's four masks for points or a box, answer with the one whose
            predicted IoU times stability, times the squared shares of it in the box and of the
            clicks that it obeys, is highest; False: with that of token 0, as the released models.
        ask_clicks_twice: Ask clicks without a box again, with the box of what they found, and
            answer with the mean of both masks' logits; False, as the released models.
        min_mask_part: Islands and holes of less than this share of a mask's area are removed and
            filled; 0 leaves masks as the decoder draws them, as the released models do.
        look_closer_below: A box in an image whose sides are below this share of the picture's gets
            its mask from a second look at its surroundings, which the model encodes once more; 0,
            as for the released models, never looks twice.
        mask_refiner: Channels at strides 4, 8 and 16 of a convolutional network that sharpens the
            decoder's masks, see `MaskRefiner`; wants `render_prompts`. None for released
            checkpoints, which have none.
        memory_selection: Through a video remember the last frames that show the region, rather than
            the last frames, so that it is known again after an absence; False, as released.
        close_up_size: Side in pixels of a close-up of each region, cut from the model's input, of
            which the trunk tells the perceiver what it sees; 0 for released checkpoints, which have
            none.
        trunk_classes: Classes of the trunk's own classifier, which names close-ups where it is sure
            and the semantic rows are not, see `TrunkNames`; 0 for none.
        trunk_names_above: How likely the trunk must be right, and the rows wrong.
        mask_generation: How masks are found that nobody pointed at, by field of `MaskGeneration`,
            where it differs from SAM 2's way; nano is less sure of a click than of a box.
        image_token_id: Placeholder in `input_ids` for one visual row; outside every vocabulary.

    Source: arXiv 2506.05302.
    """

    model_type = "pam"
    sub_configs_defaults = {  # noqa: RUF012 - the shape that transformers reads
        "sam_config": SubConfigSpec(config_class=Sam2VideoConfig),
        "perceiver_config": SubConfigSpec(config_class=PamPerceiverConfig),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen2"),
    }

    sam_config: dict | PreTrainedConfig | None = None
    perceiver_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    render_prompts: bool = False
    video_captions: bool = True
    label_calibration: list[float] | None = None
    label_threshold: float | None = None
    label_spelling: float = 0.0
    label_guidance: float = 0.0
    label_names: dict[str, list[str]] | None = None
    choose_mask: bool = False
    ask_clicks_twice: bool = False
    min_mask_part: float = 0.0
    look_closer_below: float = 0.0
    mask_refiner: list[int] | None = None
    memory_selection: bool = False
    close_up_size: int = 0
    trunk_classes: int = 0
    trunk_names_above: float = 0.7
    mask_generation: dict | None = None
    image_token_id: int = -200
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: object) -> None:
        """Check that the parts fit together."""
        super().__post_init__(**kwargs)
        self.tie_word_embeddings = bool(self.text_config.tie_word_embeddings)
        sam_width = self.sam_config.mask_decoder_config.hidden_size
        if self.perceiver_config.hidden_size != sam_width:
            raise ValueError(
                f"perceiver_config.hidden_size is {self.perceiver_config.hidden_size} but SAM 2 is "
                f"{sam_width} wide; they must be equal."
            )
        for name in ("image_shuffle", "frame_shuffle"):
            shuffle = getattr(self.perceiver_config, name)
            if self.grid_size % shuffle:
                raise ValueError(
                    f"perceiver_config.{name} is {shuffle}, which does not divide the "
                    f"{self.grid_size}x{self.grid_size} image embedding."
                )

    @property
    def image_size(self) -> int:
        """Side of the square image that the model reads, in pixels."""
        return int(self.sam_config.image_size)

    @property
    def close_up_width(self) -> int:
        """Channels of what the trunk sees in a close-up; 0 without close-ups."""
        return self.sam_config.vision_config.backbone_channel_list[0] if self.close_up_size else 0

    @property
    def grid_size(self) -> int:
        """Side of SAM 2's image embedding, in cells (stride 16)."""
        return self.image_size // 16

    @property
    def image_rows(self) -> int:
        """Rows that one region of an image takes in the language model's input."""
        tokens = (self.grid_size // self.perceiver_config.image_shuffle) ** 2
        return tokens + 1 + self.perceiver_config.num_semantic_tokens + 1


AutoConfig.register("efficientnet_lite", EfficientNetLiteConfig)
AutoConfig.register("pam", PamConfig)
