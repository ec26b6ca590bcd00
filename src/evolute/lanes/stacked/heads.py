"""Rows of attention, and of torch's own layer of it."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from evolute.lanes import attending
from evolute.lanes.base import CannotStackError
from evolute.lanes.stacked.functions import dropout, matmul
from evolute.lanes.stacked.layers import linear
from evolute.lanes.stacked.table import Step, row
from evolute.lanes.stacked.value import Lanes, aligned, apart


@row(functional.scaled_dot_product_attention)
def attention(
    step: Step,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Lanes:
    """Return softmax(q·kᵀ/√d + mask)·v, lanes and examples side by side."""
    if enable_gqa:
        raise CannotStackError("it groups the queries of its attention")
    if dropout_p:
        return _attention_with_dropout(
            step, query, key, value, attn_mask, dropout_p, is_causal, scale
        )
    parts = [apart(each, step.count) for each in (query, key, value)]
    if attn_mask is None and attending.serves_heads(*parts):
        mixed = attending.attention(*parts, causal=is_causal, scale=scale)
        return Lanes(mixed, step.count)
    queries, keys, values = (part.flatten(0, 1) for part in parts)
    shape = (step.count, *query.shape)
    mask = attn_mask
    if isinstance(mask, Lanes):
        mask = aligned(mask, len(shape) - 1).expand(*shape[:-1], key.shape[-2]).flatten(0, 1)
    elif mask is not None and mask.ndim > 2:
        mask = mask.expand(step.count, *shape[1:-1], key.shape[-2]).flatten(0, 1)
    result = functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=is_causal, scale=scale
    )
    return Lanes(result.unflatten(0, (step.count, -1)), step.count)


def _attention_with_dropout(
    step: Step,
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
) -> Lanes:
    parts = [apart(each, step.count) for each in (query, key, value)]
    rank = parts[0].ndim - 1
    factor = parts[0].shape[-1] ** -0.5 if scale is None else scale
    queries, keys = Lanes(parts[0] * factor, step.count), Lanes(parts[1].mT, step.count)
    scores = matmul(step, queries, keys).data
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        own = aligned(mask, rank) if isinstance(mask, Lanes) else mask
        if own.dtype == torch.bool:
            scores = scores.masked_fill(~own, float("-inf"))
        else:
            scores = scores + own
    kept = dropout(step, Lanes(scores.softmax(dim=-1), step.count), dropout_p)
    mixed: Lanes = matmul(step, kept, Lanes(parts[2], step.count))
    return mixed


@row(functional.multi_head_attention_forward)
def _multi_head_attention(
    step: Step,
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    is_causal: bool = False,
    **_more: Any,  # static keys and values, which no layer of torch's own gives
) -> tuple[Lanes, None]:
    """Attention of torch's own layer: [T, N, E] in and out, without its weights returned."""
    unusual = (bias_k, bias_v, key_padding_mask)
    if any(each is not None for each in unusual) or add_zero_attn or use_separate_proj_weight:
        raise CannotStackError("its attention has extra keys, a padding mask or sizes of its own")
    if need_weights:
        raise CannotStackError("its attention returns its weights: give need_weights=False")
    width = embed_dim_to_check
    heads: list[Lanes] = []
    for number, given in enumerate((query, key, value)):
        part = slice(number * width, (number + 1) * width)
        weight = Lanes(apart(in_proj_weight, step.count)[:, part], step.count)
        bias = None
        if in_proj_bias is not None:
            bias = Lanes(apart(in_proj_bias, step.count)[:, part], step.count)
        data = linear(step, given, weight, bias).apart()
        split = data.unflatten(-1, (num_heads, width // num_heads))
        heads.append(Lanes(split.permute(0, 2, 3, 1, 4), step.count))
    mixed = attention(
        step,
        *heads,
        attn_mask=attn_mask,
        dropout_p=dropout_p if training else 0.0,
        is_causal=is_causal and attn_mask is None,
    )
    joined = Lanes(mixed.apart().permute(0, 3, 1, 2, 4).flatten(-2), step.count)
    return linear(step, joined, out_proj_weight, out_proj_bias), None
