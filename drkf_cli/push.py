"""`drkf push`: a folder with a checkpoint becomes a revision of a Hub repository."""

import sys
from pathlib import Path

from modeling_drkf.release.hub import PublishError, publish


def run_push(folder: Path, repo_id: str, public: bool, predictions: bool, revision: str | None) -> int:
    """Publishes the folder; returns the exit status."""
    try:
        commit = publish(folder, repo_id, private=not public, predictions=predictions, revision=revision)
    except (PublishError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Published: {commit.commit_url}")
    return 0
