"""BERT bodies of hosted text towers: transformers' own network, without downloads or heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class NoTypes(nn.Module):
    """Stands for a table of token types that a model never adds."""

    def forward(self, ids: Tensor) -> Tensor:
        """Return a zero that adds to every token, shape (1,)."""
        return ids.new_zeros(1, dtype=torch.float32)


def bert_body(
    width: int,
    layers: int,
    heads: int,
    inner: int,
    vocabulary: int,
    positions: int = 512,
    token_types: bool = True,
) -> Any:
    """Return an untrained BERT without pooler, whose state dict has the published names.

    Parameters
    ----------
    width, layers, heads, inner, vocabulary, positions : int
        Sizes as in BERT's config.
    token_types : bool
        False adds none and needs no such table in the checkpoint.

    Returns
    -------
    transformers.BertModel
    """
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
    )
    body: Any = BertModel(config, add_pooling_layer=False)
    if not token_types:
        body.embeddings.token_type_embeddings = NoTypes()
    return body
