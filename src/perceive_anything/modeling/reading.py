"""What the language model keeps of what it has read: a cache with room, and how it is filled.

Knows transformers' decoders and caches; no regions, no texts. Shape suffixes: N rows, L positions,
D width.
"""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

ROOM = 64
AnyModule = TypeVar("AnyModule", bound=nn.Module)


class RoomyLayer(DynamicLayer):
    """Transformers' growing layer, with room ahead: a token moves nothing of what came before.

    `keys` and `values` are the filled parts of larger tensors. With rows that leave or are repeated
    transformers puts others in their place, which get room at the next token.
    """

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.roomy: dict[str, Tensor] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Add positions to both; (N, heads, L, head width)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._extended("keys", self.keys, key_states)
        self.values = self._extended("values", self.values, value_states)
        return self.keys, self.values

    def _extended(self, name: str, filled: Tensor, new: Tensor) -> Tensor:
        start = filled.shape[-2] if filled.numel() else 0
        end, roomy = start + new.shape[-2], self.roomy.get(name)
        if roomy is None or roomy.data_ptr() != filled.data_ptr() or roomy.shape[-2] < end:
            roomy = new.new_empty(*new.shape[:-2], end + ROOM, new.shape[-1])
            if start:
                roomy[..., :start, :] = filled
            self.roomy[name] = roomy
        roomy[..., start:end, :] = new
        return roomy[..., :end, :]


def roomy_cache(config: PreTrainedConfig) -> DynamicCache:
    """An empty cache for a decoder; layers of another kind (sliding windows) stay as they are."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(one) is DynamicLayer else one for one in cache.layers]
    return cache


def read(language_model: PreTrainedModel, embeds_NLD: Tensor, cache: DynamicCache) -> None:
    """Fill an empty cache with what stands before every answer.

    Nothing is predicted from it, so the last layer goes without its feed-forward part.

    Args:
        language_model: A causal language model.
        embeds_NLD: What is read.
        cache: Receives keys and values.
    """
    decoder = language_model.model
    last = with_parts(decoder.layers[-1], mlp=nn.Identity())
    layers = nn.ModuleList([*decoder.layers[:-1], last])
    with_parts(decoder, layers=layers)(inputs_embeds=embeds_NLD, past_key_values=cache)


def with_parts(module: AnyModule, **parts: nn.Module) -> AnyModule:
    """A module that shares everything with another but the given children."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **parts}
    return twin
