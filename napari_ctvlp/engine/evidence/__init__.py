"""Evidence behind an answer; whatever has to run a model again."""
