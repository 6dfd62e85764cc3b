"""EfficientNet-Lite as a SAM 2 trunk: pixels in, feature maps at strides 4, 8, 16 and 32 out.

Knows nothing of prompts, masks or text. Shape suffixes: B images, C channels, H W rows and columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from transformers import AutoModel, PreTrainedModel
from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModelOutput

from perceive_anything.modeling.configuration import EfficientNetLiteConfig

# Kernel and stride of the seven block groups; expansion is 1 in the first and 6 in the others.
_KERNELS = (3, 3, 5, 3, 5, 5, 3)
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_OUTPUT_GROUPS = (1, 2, 4, 6)
FINE_GROUPS = 2  # up to stride 4


class SamePaddedConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow does ("same"): the odd pixel goes right and below."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pad, then convolve."""
        return self.convolve(x_BCHW, self.weight, None)

    def convolve(self, x_BCHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same convolution with other weights.

        A stride of 2 on even sides needs one pixel more behind than before. Padding the kernel in
        front (with nothing) does that without a padded copy of the map, which costs more.
        """
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 2:
            weight = F.pad(weight, (1, 0, 1, 0))
        return F.conv2d(x_BCHW, weight, bias, stride, kernel // 2, 1, self.groups)


class ConvNorm(nn.Sequential):
    """A convolution and its batch normalisation, as one convolution where nothing is learned."""

    def __init__(self, conv: SamePaddedConv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__(conv, norm)
        self._folded: tuple[Tensor, Tensor] | None = None
        self._folded_from: list[tuple[int, int]] = []

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Folded in evaluation unless its weights learn, else one after the other.

        What is compiled folds by itself.
        """
        conv, norm = self
        learns = torch.is_grad_enabled() and conv.weight.requires_grad
        if learns or norm.training or torch.compiler.is_compiling():
            return norm(conv(x_BCHW))
        parts = (conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        now = [(part.data_ptr(), part._version) for part in parts]
        if self._folded is None or now != self._folded_from:
            weight, bias = fuse_conv_bn_weights(
                conv.weight, None, *parts[3:], norm.eps, *parts[1:3]
            )
            weight = weight.detach().contiguous(memory_format=torch.channels_last)
            self._folded, self._folded_from = (weight, bias.detach()), now
        return conv.convolve(x_BCHW, *self._folded)


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int, eps: float, *, depthwise: bool = False
) -> ConvNorm:
    """Convolution without bias and its batch normalisation."""
    groups = inputs if depthwise else 1
    conv = SamePaddedConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return ConvNorm(conv, nn.BatchNorm2d(outputs, eps=eps))


class InvertedBottleneck(nn.Module):
    """Expand, depthwise, project, with a residual where the shape allows it."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expand: int, eps: float
    ) -> None:
        super().__init__()
        width = inputs * expand
        self.expand = conv_norm(inputs, width, 1, 1, eps) if expand > 1 else None
        self.depthwise = conv_norm(width, width, kernel, stride, eps, depthwise=True)
        self.project = conv_norm(width, outputs, 1, 1, eps)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        hidden = x_BCHW if self.expand is None else F.relu6(self.expand(x_BCHW), inplace=True)
        hidden = self.project(F.relu6(self.depthwise(hidden), inplace=True))
        return x_BCHW + hidden if self.residual else hidden


class EfficientNetLiteModel(PreTrainedModel):
    """The trunk; its output type and layout (channels last) are those of SAM 2's Hiera."""

    config: EfficientNetLiteConfig
    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"
    base_model_prefix = "backbone"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        eps = config.batch_norm_eps
        self.stem = conv_norm(config.num_channels, config.stem_channels, 3, 2, eps)
        self.groups = nn.ModuleList()
        inputs = config.stem_channels
        for index, outputs in enumerate(config.block_channels):
            blocks = []
            for repeat in range(config.block_repeats[index]):
                stride = _STRIDES[index] if repeat == 0 else 1
                expand = 6 if index else 1
                blocks.append(
                    InvertedBottleneck(inputs, outputs, _KERNELS[index], stride, expand, eps)
                )
                inputs = outputs
            self.groups.append(nn.Sequential(*blocks))
        self.head = (
            conv_norm(inputs, config.head_channels, 1, 1, eps) if config.head_channels else None
        )
        norm = nn.LayerNorm if config.normalize_stages else nn.Identity
        self.norms = nn.ModuleList(norm(channels) for channels in config.output_channels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The first layer, as transformers asks of every backbone."""
        return self.stem

    def stages(self, pixel_values: Tensor) -> list[Tensor]:
        """Raw maps (B, C, H, W) at strides 4, 8, 16 and 32, before the LayerNorms."""
        fine_BCHW = self.fine_stage(pixel_values)
        return [fine_BCHW, *self.coarser_stages(fine_BCHW)]

    def fine_stage(self, pixel_values: Tensor) -> Tensor:
        """The raw map at stride 4; with the channels last in memory a CPU takes half the time."""
        pixels = pixel_values.to(self.dtype).contiguous(memory_format=torch.channels_last)
        fine_BCHW = F.relu6(self.stem(pixels), inplace=True)
        for group in self.groups[:FINE_GROUPS]:
            fine_BCHW = group(fine_BCHW)
        return fine_BCHW

    def coarser_stages(self, fine_BCHW: Tensor) -> list[Tensor]:
        """The raw maps at strides 8, 16 and 32 that follow from the one at stride 4."""
        x_BCHW, maps = fine_BCHW.contiguous(memory_format=torch.channels_last), []
        for index, group in enumerate(self.groups[FINE_GROUPS:], start=FINE_GROUPS):
            x_BCHW = group(x_BCHW)
            if index in _OUTPUT_GROUPS:
                maps.append(x_BCHW)
        if self.head is not None:
            maps[-1] = F.relu6(self.head(maps[-1]), inplace=True)
        return maps

    def normalize(self, maps: list[Tensor]) -> tuple[Tensor, ...]:
        """(B, C, H, W) maps -> normalised (B, H, W, C) maps, the layout of SAM 2's trunks."""
        return tuple(
            norm(x_BCHW.permute(0, 2, 3, 1)) for norm, x_BCHW in zip(self.norms, maps, strict=True)
        )

    def forward(self, pixel_values: Tensor, **_: object) -> Sam2HieraDetModelOutput:
        """Images (B, 3, S, S), normalised -> feature maps for SAM 2's neck, and the raw last one.

        Args:
            pixel_values: Float images; S a multiple of 32.
        """
        raw = self.stages(pixel_values)
        return Sam2HieraDetModelOutput(
            last_hidden_state=raw[-1].permute(0, 2, 3, 1),
            intermediate_hidden_states=self.normalize(raw),
        )


AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel)
