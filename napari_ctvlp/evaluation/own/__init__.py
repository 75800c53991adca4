"""A user's own folder: how well a model does there, and thresholds for it."""
