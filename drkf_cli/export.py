"""`drkf export`: a checkpoint in other forms."""

import sys
from pathlib import Path


def run_export_onnx(checkpoint: str, folder: Path, int8: bool) -> int:
    """Prints where the graph is; returns the exit status."""
    from modeling_drkf.release.onnx_export import export_onnx

    from .checkpoint import check_name

    try:
        check_name(checkpoint)
        path = export_onnx(checkpoint, folder, int8)
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB); its contract: {path.with_name('README.md')}")
    return 0
