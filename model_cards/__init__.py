"""Model cards, and the recipes that `train_drkf.py` finds by name."""
