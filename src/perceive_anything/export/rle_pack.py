"""Label Studio's brush: the thi.ng/rle-pack bit stream over the RGBA values of a mask.

Head: number of values (32 bits), bits of a value less one (5), four run sizes less one (4 each).
Then packets: run or not (1), which size (2), length less one, and the value or values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perceive_anything.masks import BoolMask

CHANNELS, VALUE_BITS, INSIDE = 4, 8, 255
SIZES = (3, 4, 8, 16)  # bits of a run's length, as Label Studio writes them


def pack_mask(mask: BoolMask) -> list[int]:
    """The bytes of a mask, bool (H, W); all four channels are 255 inside and 0 outside."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges])
    lengths = np.diff(np.concatenate([starts, [flat.size]])) * CHANNELS
    head = f"{flat.size * CHANNELS:032b}{VALUE_BITS - 1:05b}"
    bits = [head, *(f"{size - 1:04b}" for size in SIZES)]
    for length, inside in zip(lengths.tolist(), flat[starts].tolist(), strict=True):
        bits += _packets(length, INSIDE if inside else 0)
    text = "".join(bits)
    text += "0" * (8 - len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _packets(length: int, value: int) -> list[str]:
    longest, packets = 1 << SIZES[-1], []
    while length > 0:
        part = min(length, longest)
        index = next(i for i, size in enumerate(SIZES) if part <= 1 << size)
        packets.append(f"1{index:02b}{part - 1:0{SIZES[index]}b}{value:0{VALUE_BITS}b}")
        length -= part
    return packets


def unpack_mask(packed: Sequence[int], shape_hw: tuple[int, int]) -> BoolMask:
    """The mask of such bytes: where alpha is not 0.

    Args:
        packed: Values 0..255.
        shape_hw: Height and width.

    Returns:
        Boolean (H, W).

    Raises:
        ValueError: It is no such stream, ends too early, or is of another size.
    """
    values = bytes(packed)
    bits = _Bits(values)
    count, value_bits = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    if count != CHANNELS * shape_hw[0] * shape_hw[1]:
        raise ValueError(f"a brush of {count} values in an image of {list(shape_hw)}")
    out = np.zeros(count, np.uint32)
    at = 0
    while at < count:
        is_run = bits.read(1)
        end = at + 1 + bits.read(sizes[bits.read(2)])
        if is_run:
            out[at:end] = bits.read(value_bits)
        else:
            out[at:end] = [bits.read(value_bits) for _ in range(end - at)][: count - at]
        at = end
    inside: BoolMask = out.reshape(*shape_hw, CHANNELS)[..., 3] > 0
    return inside


class _Bits:
    """Numbers of any width, from the highest bit on."""

    def __init__(self, values: bytes) -> None:
        self._text = "".join(f"{value:08b}" for value in values)
        self._at = 0

    def read(self, width: int) -> int:
        start, self._at = self._at, self._at + width
        if self._at > len(self._text):
            raise ValueError("a brush ends too early")
        return int(self._text[start : self._at], 2)
