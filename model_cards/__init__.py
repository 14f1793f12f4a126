"""Model cards, the recipes that `train_drkf.py` finds by name, and the starter checkpoint."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
STARTER = "starter"


def starter_folder() -> Path:
    """Where the starter checkpoint and its example clip lie."""
    return FOLDER / STARTER


def packaged(model: str) -> str:
    """The folder of the checkpoint that comes with the package, for its name; anything else as it is."""
    return str(starter_folder()) if model == STARTER and not Path(model).is_dir() else model
