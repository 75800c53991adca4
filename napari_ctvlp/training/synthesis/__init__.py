"""Findings painted into real chests: one file per family."""
