"""What is true about scans, phrases and scores: nouns and the arithmetic on them."""
