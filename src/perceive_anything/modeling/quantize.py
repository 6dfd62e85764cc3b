"""8-bit weights for a model on a CPU: the language model and SAM 2's image encoder shrink.

Knows torch's x86 kernels, the only ones found faster than float32 without VNNI: torchao's and
`torch._int_mm` took 25 times as long there. Knows nothing of files: models are saved in floats.
Shape suffixes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from perceive_anything.errors import OptionError
from perceive_anything.modeling.model import PamForConditionalGeneration

# Seven bits of input: AVX2 adds two products in 16 bits, which eight would overflow.
LEVELS = 127
ENGINES = ("x86", "fbgemm")
# Rows at a time, so that what is made between two kernels stays in the cache.
ROWS = 512
# Narrower layers cost more in 8 bits than in 32 and hold little.
NARROWEST = 256
TINY = torch.finfo(torch.float32).tiny


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights, float32 in and out; learns nothing, cannot be saved.

    torch's kernel rounds its whole input to one grid, on which one token with large numbers leaves
    the others nothing. Here each row has a grid of its own and is handed over as numbers 0..127,
    which that kernel leaves as they are: no row depends on its neighbours in the batch.

    Args:
        linear: The layer that it stands for.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight_OI = _rounded(linear.weight.detach())
        self.packed = torch.ops.quantized.linear_prepack(weight_OI, None)
        self.weight_sum = nn.Buffer(weight_OI.dequantize().sum(1), persistent=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        parts = [self._multiply(part_NI) for part_NI in x.reshape(-1, self.in_features).split(ROWS)]
        y_NO = parts[0] if len(parts) == 1 else torch.cat(parts)
        return y_NO.view(*x.shape[:-1], self.out_features)

    def _multiply(self, x_NI: Tensor) -> Tensor:
        low_N1 = x_NI.amin(1, keepdim=True).clamp_max_(0)
        high_N1 = x_NI.amax(1, keepdim=True).clamp_min_(0)
        step_N1 = (high_N1 - low_N1).div_(LEVELS).clamp_min_(TINY)
        low_N1 = low_N1.div_(step_N1).round_()
        grid_NI = (x_NI / step_N1).sub_(low_N1).round_().clamp_(0, LEVELS)
        y_NO = torch.ops.quantized.linear_dynamic(grid_NI, self.packed, True)
        y_NO = y_NO.add_(low_N1 * self.weight_sum).mul_(step_N1)
        return y_NO if self.bias is None else y_NO.add_(self.bias)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights: one an entry, and a float scale an output."""
        return self.out_features * (self.in_features + 4)

    def _save_to_state_dict(self, *_: object) -> None:
        raise OptionError(
            "a model with int8 weights cannot be saved.\n"
            '  Save or convert it without quantize, and load that with quantize="int8".',
            code="unknown_option",
        )


def int8_engine() -> str | None:
    """Name of the 8-bit kernels that this torch uses; None if it has none that are fast."""
    engine = torch.backends.quantized.engine
    return engine if engine in ENGINES else None


def check_int8(device: torch.device, dtype: torch.dtype) -> None:
    """See that a model of this kind can have 8-bit weights.

    Raises:
        OptionError: Not a CPU, not float32, or a torch without the kernels.
    """
    if device.type != "cpu" or dtype != torch.float32:
        name = str(dtype).removeprefix("torch.")
        raise OptionError(
            f"int8 is for float32 on a CPU, the model is {name} on {device.type}.\n"
            "  Take device cpu and dtype float32, or leave quantize out.",
            code="unknown_option",
        )
    if int8_engine() is None:
        raise OptionError(
            f"int8 needs the kernels {' or '.join(ENGINES)}, this torch uses "
            f'"{torch.backends.quantized.engine}".\n'
            "  Leave quantize out; bfloat16 halves the memory, too.",
            code="unknown_option",
        )


def quantize_int8(model: PamForConditionalGeneration) -> None:
    """Give a model 8-bit weights in place, in its language model and its image encoder.

    Embeddings, convolutions, norms, narrow layers, mask decoder, memory and perceiver stay float.
    A head that shares the numbers of the embedding gets its own. The float weights are freed.

    Args:
        model: Any PAM in float32 on a CPU.

    Raises:
        OptionError: It is elsewhere or in another precision.
    """
    check_int8(model.device, model.dtype)
    model.requires_grad_(False)
    for part in (model.language_model, model.sam.vision_encoder):
        for parent in [module for module in part.modules() if not isinstance(module, nn.Linear)]:
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear) and child.in_features >= NARROWEST:
                    setattr(parent, name, Int8Linear(child))


def weight_bytes(model: nn.Module) -> int:
    """Bytes of a model's weights: parameters and buffers, shared ones once, and packed weights."""
    floats = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    layers = (module for module in model.modules() if isinstance(module, Int8Linear))
    return floats + sum(layer.packed_bytes for layer in layers)


def _rounded(weight_OI: Tensor) -> Tensor:
    """A quantized tensor with one scale an output."""
    scale_O = (weight_OI.abs().amax(1) / LEVELS).clamp_min(TINY)
    zero_O = torch.zeros(len(weight_OI), dtype=torch.long)
    with warnings.catch_warnings():  # torch 2.13 calls it deprecated and offers no such kernel
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        return torch.quantize_per_channel(weight_OI, scale_O.double(), zero_O, 0, torch.qint8)
