"""napari and Qt: shows and asks, never calculates."""
