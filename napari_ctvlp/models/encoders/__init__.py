"""Encoders: one readable file each, named by its card."""
