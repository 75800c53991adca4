"""How well the model does: a protocol fixed before training, metrics, baselines, one table."""
