"""Figures: what stands in them (read back from SVG text), and that they leave the caller's matplotlib alone."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from processing.figures_drkf import _curves, plot_confusion_matrix, plot_loss_curves

matplotlib = pytest.importorskip("matplotlib")

LOG_HISTORY = [
    {"loss": 3.0, "reconstruction_loss": 0.5, "grad_norm": 1.0, "learning_rate": 1e-5, "epoch": 0.5, "step": 1},
    {"loss": 2.0, "reconstruction_loss": 0.4, "grad_norm": 1.0, "learning_rate": 1e-5, "epoch": 1.0, "step": 2},
    {
        "eval_loss": 2.5,
        "eval_unweighted_accuracy": 0.6,
        "eval_f1_ang": 0.5,
        "eval_runtime": 1.0,
        "eval_samples_per_second": 9.0,
        "epoch": 1.0,
        "step": 2,
    },
    {"train_runtime": 4.0, "train_loss": 2.5, "total_flos": 0.0, "epoch": 1.0, "step": 2},
    {"test_loss": 2.7, "test_unweighted_accuracy": 0.5, "epoch": 1.0, "step": 2},
]


def svg_texts(path: Path) -> list[str]:
    return re.findall(r"<text[^>]*>(?:\s*<tspan[^>]*>)?([^<]+)<", path.read_text(encoding="utf-8"))


@pytest.fixture
def texts_stay_texts():
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        yield


@pytest.mark.usefixtures("texts_stay_texts")
def test_confusion_matrix_shows_counts_and_row_percent(tmp_path: Path) -> None:
    matrix = [[30, 10, 0], [1, 199, 0], [0, 0, 0]]
    path = plot_confusion_matrix(
        matrix, ["ang", "neu", "sad"], tmp_path / "new folder" / "matrix.svg", title="UA 0.87"
    )
    texts = svg_texts(path)
    assert {"UA 0.87", "predicted", "ang (40)", "neu (200)", "sad (0)"} <= set(texts)
    cells = [text for text in texts if re.fullmatch(r"\d+%|-", text)]
    assert cells == ["75%", "25%", "0%", "0%", "100%", "0%", "-", "-", "-"]
    assert {"30", "10", "1", "199"} <= set(texts)


@pytest.mark.usefixtures("texts_stay_texts")
def test_loss_curves_have_a_panel_per_term(tmp_path: Path) -> None:
    texts = svg_texts(plot_loss_curves(LOG_HISTORY, tmp_path / "curves.svg"))
    titles = [text for text in texts if text in ("loss", "reconstruction loss", "unweighted accuracy")]
    assert titles == ["loss", "reconstruction loss", "unweighted accuracy"]
    assert (texts.count("training"), texts.count("validation"), texts.count("epoch")) == (2, 2, 1)


def test_curves_hold_the_logged_values() -> None:
    assert _curves(LOG_HISTORY) == {
        "loss": {"training": [(0.5, 3.0), (1.0, 2.0)], "validation": [(1.0, 2.5)]},
        "reconstruction_loss": {"training": [(0.5, 0.5), (1.0, 0.4)], "validation": []},
        "unweighted_accuracy": {"training": [], "validation": [(1.0, 0.6)]},
    }


def test_pictures_are_drawn_in_colour(tmp_path: Path) -> None:
    pixels = matplotlib.image.imread(plot_confusion_matrix(np.diag([5, 5]), ["a", "b"], tmp_path / "matrix.png"))
    dark_blue = (pixels[..., 2] > pixels[..., 0] + 0.3).mean()
    assert 0.15 < dark_blue < 0.5  # the diagonal
    pixels = matplotlib.image.imread(plot_loss_curves(LOG_HISTORY, tmp_path / "curves.png"))
    assert (pixels[..., 2] > pixels[..., 0] + 0.1).any(), "no blue training curve"
    assert (pixels[..., 0] > pixels[..., 2] + 0.1).any(), "no red validation curve"


def test_a_diverged_loss_leaves_a_gap(tmp_path: Path) -> None:
    history = [{"loss": value, "epoch": epoch} for epoch, value in enumerate([1.0, float("nan"), 0.5])]
    assert plot_loss_curves(history, tmp_path / "curves.png").stat().st_size > 1000


def test_bad_input_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 2\), and there are 3 label names"):
        plot_confusion_matrix(np.eye(2), ["a", "b", "c"], tmp_path / "matrix.png")
    with pytest.raises(ValueError, match="no losses"):
        plot_loss_curves([{"train_runtime": 1.0, "epoch": 1.0}], tmp_path / "curves.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'drkf\[demo\]'"):
        plot_loss_curves(LOG_HISTORY, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_neither_pyplot_nor_a_backend_is_touched(tmp_path: Path) -> None:
    script = (
        "import sys, figures_drkf as f; assert 'matplotlib' not in sys.modules;"
        "f.plot_confusion_matrix([[1]], ['a'], sys.argv[1]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    folder = Path(__file__).resolve().parents[1] / "processing"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "matrix.png")], cwd=folder, check=True)
