"""BERT bodies of hosted text towers: transformers' own network, without downloads or heads."""

from __future__ import annotations

from typing import Any


def bert_body(
    width: int,
    layers: int,
    heads: int,
    inner: int,
    vocabulary: int,
    positions: int = 512,
) -> Any:
    """Return an untrained BERT without pooler, whose state dict has the published names.

    Parameters
    ----------
    width, layers, heads, inner, vocabulary, positions : int
        Sizes as in BERT's config.

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
    return BertModel(config, add_pooling_layer=False)
