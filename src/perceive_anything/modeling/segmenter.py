"""SAM 2 for one image: encode once, decode prompts, and keep the tensors that PAM taps.

Knows SAM 2 of transformers and prompts as tensors in its square input frame; no text, no pixels.
Shape suffixes: B images, R regions (one row each), P points, C width, H W grid, M masks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from transformers import Sam2VideoModel

from perceive_anything.modeling.close_ups import cut_close_ups, mask_boxes

NO_OBJECT_LOGIT = -1024.0
STABILITY_OFFSET = 1.0  # that of SAM's mask generator
PEAK_PX = 12.0
PAD_LABEL, BOX_LABELS, PADDING_ROW = -1, (2, 3), -10


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What SAM 2 keeps of B images.

    Attributes:
        embedding: (B, C, S/16, S/16), ready for the mask decoder.
        high_res: (B, C/8, S/4, S/4) and (B, C/4, S/8, S/8).
        pixels: (B, 3, S, S), for close-ups; None for models without them.
    """

    embedding: Tensor
    high_res: tuple[Tensor, Tensor]
    pixels: Tensor | None = None

    def select(self, image_index: Tensor) -> ImageFeatures:
        """One row per region, without the pixels: (R,) indices into the images."""
        first, second = self.high_res
        return ImageFeatures(self.embedding[image_index], (first[image_index], second[image_index]))


@dataclass(frozen=True, slots=True)
class PromptTensors:
    """Prompts of R regions in pixels of the square model input.

    Attributes:
        points: (R, P, 2) float32 x, y. A box is its two corners, in front of other points.
        labels: (R, P) int: 1 inside, 0 outside, 2 and 3 box corners, -1 no point, -10 padding.
        masks: (R, 1, S, S) float 0..1 or None. Rows of zeros have no mask prompt.
        image_index: (R,) image of each region.
    """

    points: Tensor
    labels: Tensor
    image_index: Tensor
    masks: Tensor | None = None

    def to(self, device: torch.device) -> PromptTensors:
        """The same prompts on another device."""
        masks = None if self.masks is None else self.masks.to(device)
        return PromptTensors(
            self.points.to(device), self.labels.to(device), self.image_index.to(device), masks
        )

    def rows(self, rows: Tensor, num_points: int) -> PromptTensors:
        """The given rows, cut to their first `num_points` points."""
        return PromptTensors(
            self.points[rows, :num_points],
            self.labels[rows, :num_points],
            self.image_index[rows],
            None if self.masks is None else self.masks[rows],
        )


@dataclass(frozen=True, slots=True)
class RegionFeatures:
    """What the mask decoder says of R regions.

    Attributes:
        mask_logits: (R, S/4, S/4) logits of the answered mask.
        all_masks: (R, 4, S/4, S/4) logits of all mask tokens.
        iou: (R, 4) predicted IoU of each mask.
        object_logit: (R,) > 0 where the object is present.
        embedding: (R, C, S/16, S/16) image embedding after the decoder's transformer (tapped).
        mask_tokens: (R, 2, C) mask tokens after the same transformer (tapped).
        score: (R,) predicted IoU of the answered mask.
        close_ups: (R, 3, s, s) the regions enlarged, see `PamConfig.close_up_size`; None for models
            without them.
    """

    mask_logits: Tensor
    all_masks: Tensor
    iou: Tensor
    object_logit: Tensor
    embedding: Tensor
    mask_tokens: Tensor
    score: Tensor
    close_ups: Tensor | None = None

    def rows(self, keep: Tensor | list[int]) -> RegionFeatures:
        """Some of the regions: by a mask or by their numbers."""
        return RegionFeatures(**{name: value[keep] for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """What there is, by field."""
        fields = {name: getattr(self, name) for name in RegionFeatures.__slots__}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SeenRegions:
    """What the perceiver reads of R regions.

    Attributes:
        embedding: (R, C, S/16, S/16) tapped.
        mask_tokens: (R, 2, C) tapped.
        inside: (R, C) mean of the tapped embedding under the answered mask.
        close: (R, `PamConfig.close_up_width`) what the trunk sees in close-ups. Both are None for
            models without close-ups.
    """

    embedding: Tensor
    mask_tokens: Tensor
    inside: Tensor | None = None
    close: Tensor | None = None


Decode = Callable[[PromptTensors], RegionFeatures]


def encode_images(sam: Sam2VideoModel, pixel_values: Tensor) -> ImageFeatures:
    """Normalised images (B, 3, S, S) -> features; each image needs this once."""
    pyramid = sam.vision_encoder(pixel_values).fpn_hidden_states
    features = project_pyramid(sam, pyramid)
    return replace(features, pixels=pixel_values) if sam.close_up_size else features


def project_pyramid(sam: Sam2VideoModel, pyramid: tuple[Tensor, ...]) -> ImageFeatures:
    """The neck's maps (strides 4, 8, 16) -> decoder features of a frame without memory."""
    decoder = sam.mask_decoder
    embedding = pyramid[2] + sam.no_memory_embedding.view(1, -1, 1, 1)
    return ImageFeatures(embedding, (decoder.conv_s0(pyramid[0]), decoder.conv_s1(pyramid[1])))


def decode_regions(
    sam: Sam2VideoModel,
    features: ImageFeatures,
    prompts: PromptTensors,
    *,
    render: bool,
    choose: bool,
    twice: bool = False,
) -> RegionFeatures:
    """Prompts -> masks and tapped tensors, whatever the number of points of each row.

    Args:
        sam: The SAM 2 part.
        features: Features of the B images.
        prompts: Prompts of R regions.
        render: Draw points and boxes into the dense prompt too (`PamConfig.render_prompts`).
        choose: Answer with the best of the four masks (`PamConfig.choose_mask`).
        twice: Ask again with the box of what clicks found (`PamConfig.ask_clicks_twice`).
    """
    decode = partial(_decode_equal, sam, features, render=render, choose=choose)
    found = _decode_rows(decode, prompts)
    if twice:
        found = _asked_again(decode, prompts, found, sam.image_size)
    return replace(found, close_ups=_close_ups(sam, features, prompts, found.mask_logits))


def _asked_again(
    decode: Decode, prompts: PromptTensors, found: RegionFeatures, side: int
) -> RegionFeatures:
    """What was found, for clicks alone with the mean of it and of the answer to its box."""
    sure = (found.object_logit > 0) & (found.mask_logits > 0).flatten(1).any(1)
    rows = (sure & _only_clicks(prompts)).nonzero()[:, 0]
    if not len(rows):
        return found
    first, some = found.rows(rows), prompts.rows(rows, prompts.labels.shape[1])
    with torch.no_grad():
        again = _decode_rows(decode, with_boxes(some, mask_boxes(first.mask_logits, side)))
    return _with_mean_masks(found, rows, first, again)


def _only_clicks(prompts: PromptTensors) -> Tensor:
    """Which regions have clicks and nothing else, (R,)."""
    labels = prompts.labels
    clicked = ((labels == 0) | (labels == 1)).any(1) & ~(labels >= BOX_LABELS[0]).any(1)
    return clicked if prompts.masks is None else clicked & ~_has_mask(prompts).flatten()


def with_boxes(prompts: PromptTensors, box_R4: Tensor) -> PromptTensors:
    """Prompts of clicks with a box, x1, y1, x2, y2 in pixels of the model input, in front."""
    corners = prompts.labels.new_tensor(BOX_LABELS).expand(len(box_R4), 2)
    points = torch.cat([box_R4.view(-1, 2, 2).to(prompts.points), prompts.points], 1)
    return replace(prompts, points=points, labels=torch.cat([corners, prompts.labels], 1))


def _with_mean_masks(
    found: RegionFeatures, rows: Tensor, first: RegionFeatures, again: RegionFeatures
) -> RegionFeatures:
    """What was found, in some rows with the mean of two answers where both see an object."""
    seen = again.object_logit > 0
    masks, scores = (
        torch.where(seen.view(-1, *[1] * (a.dim() - 1)), (a + b) / 2, a)
        for a, b in ((first.mask_logits, again.mask_logits), (first.score, again.score))
    )
    return replace(
        found,
        mask_logits=found.mask_logits.index_copy(0, rows, masks),
        score=found.score.index_copy(0, rows, scores),
    )


def _decode_rows(decode: Decode, prompts: PromptTensors) -> RegionFeatures:
    """Each row by itself, without close-ups.

    Rows with as many points go through the decoder together, so that a row's answer does not
    depend on its neighbours in the batch.
    """
    counts = (prompts.labels != PADDING_ROW).sum(1)
    order, parts = [], []
    for count in counts.unique().tolist():
        rows = (counts == count).nonzero()[:, 0]
        order.append(rows)
        parts.append(decode(prompts.rows(rows, count)))
    back = torch.cat(order).argsort()
    names = parts[0].tensors()
    return RegionFeatures(
        **{name: torch.cat([part.tensors()[name] for part in parts])[back] for name in names}
    )


def _decode_equal(
    sam: Sam2VideoModel,
    features: ImageFeatures,
    prompts: PromptTensors,
    *,
    render: bool,
    choose: bool,
) -> RegionFeatures:
    decoder = sam.mask_decoder
    regions = features.select(prompts.image_index)
    num_regions, width, side, _ = regions.embedding.shape
    points, labels = prompts.points[:, None], prompts.labels[:, None]
    sparse_R1PC, _ = sam.prompt_encoder(points, labels, None, None)
    output = torch.cat(
        [decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight]
    )
    sparse_RPC = sparse_R1PC[:, 0].to(output.dtype)  # positions come in float32
    tokens = torch.cat([output.expand(num_regions, -1, -1), sparse_RPC], 1)
    positions = sam.get_image_wide_positional_embeddings().to(output.dtype)
    canvas = _canvas(sam, prompts, output.dtype, render=render)
    dense = _dense_prompt(sam, prompts, canvas, render=render)
    tokens, cells_R1KC = decoder.transformer(
        point_embeddings=tokens[:, None],
        image_embeddings=regions.embedding + dense,
        image_positional_embeddings=positions.expand(num_regions, -1, -1, -1),
        attention_similarity=None,
    )
    tokens = tokens[:, 0]
    embedding = cells_R1KC[:, 0].transpose(1, 2).reshape(num_regions, width, side, side)
    mask_tokens = tokens[:, 2 : 2 + decoder.num_mask_tokens]
    upscaled = _upscale(sam, embedding, regions.high_res)
    all_masks = _masks_from_tokens(sam, upscaled, mask_tokens)
    iou = decoder.iou_prediction_head(tokens[:, 1])
    object_logit = decoder.pred_obj_score_head(tokens[:, 0])[:, 0]
    tapped_tokens = _tapped_tokens(sam, all_masks, iou, mask_tokens)
    if sam.mask_refiner is not None:
        all_masks, iou = sam.mask_refiner(
            all_masks, iou, canvas, upscaled, regions.high_res, embedding
        )
    absent = (object_logit <= 0)[:, None, None]
    answer = torch.zeros_like(prompts.image_index)
    if choose:
        best = best_mask(all_masks, iou, prompts)
        answer = torch.where((prompts.labels >= 0).any(1), best, answer)
    rows = torch.arange(num_regions, device=answer.device)
    mask_logits = all_masks[rows, answer].masked_fill(absent, NO_OBJECT_LOGIT)
    return RegionFeatures(
        mask_logits=mask_logits,
        all_masks=all_masks,
        iou=iou,
        object_logit=object_logit,
        embedding=embedding,
        mask_tokens=tapped_tokens,
        score=iou[rows, answer],
    )


def _close_ups(
    sam: Sam2VideoModel, features: ImageFeatures, prompts: PromptTensors, mask_logits_RHW: Tensor
) -> Tensor | None:
    """Of the box that was given, else of the mask."""
    if features.pixels is None:
        return None
    found_R4 = mask_boxes(mask_logits_RHW, features.pixels.shape[-1])
    has_box, given_R4 = _given_boxes(prompts)
    boxes_R4 = torch.where(has_box[:, None], given_R4.to(found_R4.dtype), found_R4)
    return cut_close_ups(features.pixels, prompts.image_index, boxes_R4, sam.close_up_size)


def _given_boxes(prompts: PromptTensors) -> tuple[Tensor, Tensor]:
    """Which of the prompts have a box (R,), and its corners (R, 4): the points that lead."""
    first, last = prompts.points[:, 0], prompts.points[:, :2][:, -1]
    return (prompts.labels == BOX_LABELS[1]).any(1), torch.cat([first, last], 1)


def _upscale(sam: Sam2VideoModel, embedding: Tensor, high_res: tuple[Tensor, Tensor]) -> Tensor:
    """(R, C/8, S/4, S/4) features that the masks are read from."""
    decoder = sam.mask_decoder
    fine, middle = high_res
    upscaled = decoder.upscale_layer_norm(decoder.upscale_conv1(embedding) + middle)
    return decoder.activation(decoder.upscale_conv2(decoder.activation(upscaled)) + fine)


def _masks_from_tokens(
    sam: Sam2VideoModel, upscaled_RCHW: Tensor, mask_tokens_RMC: Tensor
) -> Tensor:
    heads = sam.mask_decoder.output_hypernetworks_mlps
    kernels = torch.stack([mlp(mask_tokens_RMC[:, i]) for i, mlp in enumerate(heads)], 1)
    return torch.einsum("rmc,rchw->rmhw", kernels, upscaled_RCHW)


def _tapped_tokens(
    sam: Sam2VideoModel, all_masks: Tensor, iou: Tensor, mask_tokens: Tensor
) -> Tensor:
    """[token 0 if its mask is stable else the best of tokens 1..3, token 0], (R, 2, C)."""
    decoder = sam.mask_decoder
    scores = stability_score(all_masks[:, 0], decoder.dynamic_multimask_stability_delta)
    stable = scores >= decoder.dynamic_multimask_stability_thresh
    best = torch.where(stable, 0, iou[:, 1:].argmax(1) + 1)
    rows = torch.arange(len(best), device=best.device)
    return torch.stack([mask_tokens[rows, best], mask_tokens[:, 0]], 1)


def best_mask(all_masks: Tensor, iou: Tensor, prompts: PromptTensors) -> Tensor:
    """Which mask has the highest predicted IoU times stability times fit to the prompt.

    The fit is the squared share of it that lies in the box, times that of the clicks it obeys.

    Args:
        all_masks: (R, 4, h, h) logits.
        iou: (R, 4).
        prompts: Of the R regions.

    Returns:
        (R,) 0..3.
    """
    stability = stability_score(all_masks.flatten(0, 1), STABILITY_OFFSET).view_as(iou)
    masks = all_masks > 0
    fit = _share_in_box(masks, prompts) * _share_of_clicks(masks, prompts)
    return (iou * stability * fit.square()).argmax(1)


def _share_of_clicks(masks_RMHW: Tensor, prompts: PromptTensors) -> Tensor:
    """Part of the clicks whose cell each mask takes in, or leaves out, as told, (R, M)."""
    clicks_RP = (prompts.labels == 0) | (prompts.labels == 1)
    cells = (prompts.points / 4).long().clamp(0, masks_RMHW.shape[-1] - 1)
    rows = torch.arange(len(cells), device=cells.device)[:, None]
    inside_RPM = masks_RMHW[rows, :, cells[..., 1], cells[..., 0]]
    obeyed_RPM = (inside_RPM == (prompts.labels == 1)[..., None]) & clicks_RP[..., None]
    count = clicks_RP.sum(1, keepdim=True)
    return torch.where(count > 0, obeyed_RPM.sum(1) / count.clamp(min=1), 1.0)


def _share_in_box(masks_RMHW: Tensor, prompts: PromptTensors) -> Tensor:
    """Part of each mask that lies in the box of its prompt, (R, M); 1 without a box."""
    has_box, box_R4 = _given_boxes(prompts)
    centres = (torch.arange(masks_RMHW.shape[-1], device=box_R4.device) + 0.5) * 4
    x_RW, y_RH = (
        (box_R4[:, i, None] <= centres) & (centres <= box_R4[:, i + 2, None]) for i in (0, 1)
    )
    inside_RHW = y_RH[:, :, None] & x_RW[:, None]
    area = masks_RMHW.flatten(2).sum(2).clamp(min=1)
    share = (masks_RMHW & inside_RHW[:, None]).flatten(2).sum(2) / area
    return torch.where(has_box[:, None], share, 1.0)


def stability_score(logits: Tensor, delta: float) -> Tensor:
    """How little masks change with their threshold: (N, h, h) logits -> (N,), 0..1.

    Args:
        logits: Of the masks.
        delta: Distance of the two thresholds from 0.
    """
    flat = logits.flatten(1)
    inner, outer = (flat > delta).sum(1).float(), (flat > -delta).sum(1).float()
    return torch.where(outer > 0, inner / outer, 1.0)


def _canvas(
    sam: Sam2VideoModel, prompts: PromptTensors, dtype: torch.dtype, *, render: bool
) -> Tensor | None:
    """The prompt as one map, (R, 1, S/4, S/4): what is drawn, the mask where there is one.

    Rows without either are zeros; None if nothing is drawn and there is no mask at all.
    """
    side = sam.prompt_encoder.mask_input_size[0]
    canvas = render_prompts(prompts, side) if render else None
    if prompts.masks is not None:
        mask = sam.mask_downsample(prompts.masks.to(dtype))
        drawn = torch.zeros_like(mask) if canvas is None else canvas
        canvas = torch.where(_has_mask(prompts), mask, drawn)
    return None if canvas is None else canvas.to(dtype)


def _has_mask(prompts: PromptTensors) -> Tensor:
    """(R, 1, 1, 1) bool."""
    return prompts.masks.flatten(1).any(1).view(-1, 1, 1, 1)


def _dense_prompt(
    sam: Sam2VideoModel, prompts: PromptTensors, canvas: Tensor | None, *, render: bool
) -> Tensor:
    """The prompt as a (R, C, S/16, S/16) map to be added to the image embedding."""
    encoder = sam.prompt_encoder
    plain = encoder.no_mask_embed.weight.view(1, -1, 1, 1)
    if canvas is None:
        return plain.expand(len(prompts.points), -1, *encoder.image_embedding_size)
    dense = encoder.mask_embed(canvas)
    return dense if render else torch.where(_has_mask(prompts), dense, plain)


def render_prompts(prompts: PromptTensors, side: int) -> Tensor:
    """Draw points and boxes as one smooth map, -1..1 inside and outside boxes, cones at points.

    Args:
        prompts: Prompts in pixels of a square input four times as wide as `side`.
        side: Side of the map.

    Returns:
        (R, 1, side, side) float32: for a box +1 at its centre, 0 on its edge and falling to -1;
        for a point +5 (inside) or -5 (outside): a peak that marks its cell, on a slope of height
        2 that fades over a quarter of the side.
    """
    centres = (torch.arange(side, device=prompts.points.device) + 0.5) * 4
    x, y = centres.view(1, 1, 1, side), centres.view(1, 1, side, 1)
    points, labels = prompts.points[..., None, None].float(), prompts.labels[..., None, None]
    distance = torch.hypot(x - points[:, :, 0], y - points[:, :, 1])
    cone = 2 * torch.exp(-distance / side) + 3 * torch.exp(-((distance / PEAK_PX) ** 2))
    sign = (labels == 1).float() - (labels == 0).float()
    canvas = (cone * sign).sum(1)
    corner1 = (points * (labels == BOX_LABELS[0])[:, :, None]).sum(1)
    corner2 = (points * (labels == BOX_LABELS[1])[:, :, None]).sum(1)
    half = (corner2 - corner1).clamp(min=1) / 2
    middle = (corner1 + corner2) / 2
    off = torch.maximum(
        (x[:, 0] - middle[:, 0]).abs() / half[:, 0], (y[:, 0] - middle[:, 1]).abs() / half[:, 1]
    )
    has_box = (labels == BOX_LABELS[0]).any(1)
    return (canvas + torch.where(has_box, (1 - off).clamp(min=-1), 0.0))[:, None]
