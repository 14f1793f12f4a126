"""What a run needs: its options and recipes, the model and datasets built from them, folds, and the report."""
