"""Files to nouns and back: headers before voxels, content before file names."""
