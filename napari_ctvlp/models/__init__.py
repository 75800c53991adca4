"""Anything with weights, behind the two protocols of ``protocol.py``."""
