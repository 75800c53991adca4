"""Linked planes, crosshair, letters, presets and readout."""
