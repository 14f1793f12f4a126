"""What stands behind `model_cards/study.md`: runs, tables, simple baselines, the starter checkpoint, its encoder."""
