"""The demo's corpus: synthetic voices that say what they feel, made on the spot."""
