"""How the embedded model came to be."""
