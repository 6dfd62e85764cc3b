"""Linear layers for a few rows at a time, as when answers are written on a CPU.

Knows torch's float32 products only. Shape suffixes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEWEST, MOST = 4, 64


class FewRowsLinear(nn.Linear):
    """A linear layer that multiplies 2 to 64 rows from the other side.

    For as few rows torch's product x W^T packs all of W anew and takes one thread; W x^T streams W
    on all threads, in two thirds of the time on one thread and a third on two (docs/log.md). One
    row is a product with a vector, which is fast as it is. Rows are padded to a power of two, for
    which the kernels are made.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        count = x.numel() // self.in_features
        if not 1 < count <= MOST:
            return super().forward(x)
        padded = max(FEWEST, 1 << (count - 1).bit_length())
        x_NI = F.pad(x.reshape(count, self.in_features), (0, 0, 0, padded - count))
        y_NO = torch.mm(self.weight, x_NI.t()).t()[:count].contiguous()
        if self.bias is not None:
            y_NO += self.bias
        return y_NO.view(*x.shape[:-1], self.out_features)


def use_few_rows(part: nn.Module) -> None:
    """Let every plain linear layer of a part be one of these; weights stay where they are."""
    for module in part.modules():
        if type(module) is nn.Linear:
            module.__class__ = FewRowsLinear
