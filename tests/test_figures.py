"""Figures: what stands in them (read back from SVG text), and that they leave the caller's matplotlib alone."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from processing.evaluation.calibration import brier_score, calibration
from processing.figures.embeddings import EXPLANATION, plot_embeddings, tsne
from processing.figures.loss_curves import _columns, _curves, _spreads, plot_loss_curves
from processing.figures.predictions import (
    MULTI_LABEL,
    plot_class_scores,
    plot_confusion_matrix,
    plot_reliability,
    wilson,
)
from processing.figures.style import is_wide, wide_fonts

matplotlib = pytest.importorskip("matplotlib")

LOG_HISTORY = [
    {"loss": 3.0, "halves_loss": 2.5, "reconstruction_loss": 0.5, "grad_norm": 1.0, "epoch": 0.5, "step": 1},
    {"loss": 2.0, "halves_loss": 1.6, "reconstruction_loss": 0.4, "learning_rate": 1e-5, "epoch": 1.0, "step": 2},
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
    expected = ["loss", "halves loss", "reconstruction loss", "unweighted accuracy"]
    assert [text for text in texts if text in expected] == expected
    assert (texts.count("training"), texts.count("validation"), texts.count("epoch")) == (1, 1, 4)


def test_panels_fill_their_rows() -> None:
    assert [_columns(panels) for panels in range(1, 13)] == [1, 2, 3, 4, 3, 3, 4, 4, 3, 4, 4, 4]


def test_what_never_occurs_has_no_panel_and_what_spans_decades_a_logarithmic_axis() -> None:
    terms = {"cross_loss": 0.0, "even_loss": 2.0, "flat_loss": 1.0}
    curves = _curves([{"loss": 10.0 ** (3 - epoch), **terms, "epoch": epoch} for epoch in range(4)])
    assert list(curves) == ["loss", "even_loss", "flat_loss"]
    assert (_spreads(curves["loss"]), _spreads(curves["flat_loss"])) == (True, False)
    assert not _spreads({"training": [(0, 1.0), (1, 1000.0)], "validation": [(1, 0.0)]})


def test_the_only_term_of_a_loss_is_drawn_once() -> None:
    """The trainer's loss is a mean over steps, its term a mean over clips: they differ where a batch is not full."""
    history = [{"loss": 1.31, "classification_loss": 1.3048, "cross_loss": 0.0, "epoch": 1.0}]
    history += [{"eval_loss": 1.2, "eval_classification_loss": 1.2, "eval_weighted_f1": 0.4, "epoch": 1.0}]
    assert list(_curves(history)) == ["loss", "weighted_f1"]


def test_curves_hold_the_logged_values() -> None:
    assert _curves(LOG_HISTORY) == {
        "loss": {"training": [(0.5, 3.0), (1.0, 2.0)], "validation": [(1.0, 2.5)]},
        "halves_loss": {"training": [(0.5, 2.5), (1.0, 1.6)], "validation": []},
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
    with pytest.raises(ImportError, match=r"pip install 'drkf\[plots\]'"):
        plot_loss_curves(LOG_HISTORY, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_neither_pyplot_nor_a_backend_is_touched(tmp_path: Path) -> None:
    script = (
        "import sys, processing.figures.predictions as f; assert 'matplotlib' not in sys.modules;"
        "f.plot_confusion_matrix([[1]], ['a'], sys.argv[1]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    folder = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "matrix.png")], cwd=folder, check=True)


def test_calibration_of_decisions_counted_by_hand() -> None:
    """Two at 0.9 of which one is right, two at 0.6 that are right: ECE = (2 * |0.5 - 0.9| + 2 * |1 - 0.6|) / 4."""
    probabilities = [[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]]
    bins = calibration(probabilities, [0, 0, 0, 1])
    assert bins.counts.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert (bins.accuracy[6], bins.accuracy[9]) == (1.0, 0.5)
    assert (bins.confidence[6], bins.confidence[9]) == pytest.approx((0.6, 0.9))
    assert np.isnan(bins.accuracy[0])
    assert bins.expected_error == pytest.approx(0.4)
    assert brier_score(probabilities, [0, 0, 0, 1]) == pytest.approx((2 * 0.01 + 2 * 0.81 + 4 * 0.16) / 4)


def test_calibration_of_label_sets_counts_every_class() -> None:
    """Certain and right three times, certain and wrong once: a probability of 1 lies in the last bin."""
    bins = calibration([[1.0, 0.0], [1.0, 1.0]], [[1, 0], [0, 1]])
    assert bins.counts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    assert bins.accuracy[[0, 9]] == pytest.approx([0, 2 / 3])
    assert bins.expected_error == pytest.approx(0.25)
    assert brier_score([[1.0, 0.0], [1.0, 1.0]], [[1, 0], [0, 1]]) == pytest.approx(0.5)


def test_calibration_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match="Row 1 holds no probabilities"):
        calibration([[0.5, 0.5], [3.0, -2.0]], [0, 1])
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(3,\)"):
        brier_score([[0.5, 0.5], [0.5, 0.5]], [0, 1, 0])


@pytest.mark.usefixtures("texts_stay_texts")
def test_reliability_diagram_shows_counts_and_error(tmp_path: Path) -> None:
    bins = calibration([[0.9, 0.1]] * 3 + [[0.7, 0.3]] * 1200, [0] * 603 + [1] * 600)
    texts = svg_texts(plot_reliability(bins, tmp_path / "bins.svg", "meld, test"))
    assert {"3", "1,200", "meld, test", "probability of the predicted class", "predictions"} <= set(texts)
    assert f"expected calibration error {bins.expected_error:.3f}" in texts
    texts = svg_texts(plot_reliability(bins, tmp_path / "sets.svg", "m3ed", MULTI_LABEL))
    assert {"decisions", "share of classes that were present"} <= set(texts)


@pytest.mark.usefixtures("texts_stay_texts")
def test_class_scores_show_every_score(tmp_path: Path) -> None:
    scores = {
        "Happy": {"precision": 0.25, "recall": 1.0, "f1": 0.4, "support": 12},
        "Fear": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    }
    texts = svg_texts(plot_class_scores(scores, tmp_path / "scores.svg", "m3ed"))
    assert [text for text in texts if re.fullmatch(r"\d?\.\d\d", text)] == [".25", ".00", "1.00", ".00", ".40", ".00"]
    assert {"Happy", "(12)", "Fear", "(0)", "precision", "recall", "F1"} <= set(texts)


@pytest.mark.usefixtures("texts_stay_texts")
def test_a_class_name_may_be_long_or_hold_a_dollar(tmp_path: Path) -> None:
    names = ["$a$", "moderately surprised and rather more amused than afraid"]
    texts = svg_texts(plot_confusion_matrix([[1, 0], [0, 1]], names, tmp_path / "matrix.svg", title="costs $5 or $6"))
    assert {"$a$", "costs $5 or $6", "moderately"} <= {text.strip() for text in texts}
    assert not any("afraid" in text for text in texts)


def clusters(count: int = 30, width: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Three distant clouds of points, and which cloud each is of."""
    rng = np.random.default_rng(0)
    classes = np.arange(count) % 3
    return 5 * rng.normal(size=(3, width))[classes] + rng.normal(size=(count, width)), classes


@pytest.mark.parametrize(("count", "width"), [(60, 60), (30, 8), (6, 60)])
def test_tsne_keeps_clusters_together_and_repeats_itself(count: int, width: int) -> None:
    points, classes = clusters(count, width)
    picture = tsne(points)
    assert picture is not None
    assert picture.shape == (count, 2)
    distances = np.linalg.norm(picture[:, None] - picture[None], axis=-1) + 1e9 * np.eye(count)
    assert (classes[distances.argmin(axis=1)] == classes).all()
    assert np.array_equal(picture, tsne(points))


@pytest.mark.usefixtures("texts_stay_texts")
def test_embeddings_are_drawn_by_emotion(tmp_path: Path) -> None:
    points, classes = clusters()
    vectors = {"fused": points, "speech": np.random.default_rng(1).normal(size=(30, 8)), "text": np.ones((30, 8))}
    texts = svg_texts(plot_embeddings(vectors, classes, ["ang", "neu", "sad", "joy"], tmp_path / "tsne.svg", "test"))
    assert {EXPLANATION, "ang (10)", "neu (10)", "sad (10)", "the same for every utterance"} <= set(texts)
    assert not any("joy" in text for text in texts)
    silhouettes = [float(text.split()[2]) for text in texts if text.startswith("emotions apart: ")]
    assert len(silhouettes) == 2
    assert silhouettes[0] > 0.8 > 0.2 > silhouettes[1]


@pytest.mark.usefixtures("texts_stay_texts")
def test_utterances_of_several_emotions_are_grey(tmp_path: Path) -> None:
    points, classes = clusters()
    sets = np.eye(3)[classes]
    sets[:4, :2] = 1
    texts = svg_texts(plot_embeddings({"fused": points}, sets, ["ang", "neu", "sad"], tmp_path / "t.svg", "test"))
    assert {"several or none (4)", "ang (8)", "neu (9)", "sad (9)"} <= set(texts)


def test_29_utterances_are_too_few_for_a_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="30 utterances or more"):
        plot_embeddings({"fused": np.eye(29)}, [0] * 29, ["a", "b"], tmp_path / "tsne.png", "test")


def test_the_interval_of_a_share_counted_by_hand() -> None:
    """Wilson's for 8 of 10 at 95 %: 0.490 to 0.943."""
    centre, half = wilson(np.array([0.8, 1.0]), np.array([10, 1]))
    assert (centre - half)[0] == pytest.approx(0.490, abs=5e-4)
    assert (centre + half)[0] == pytest.approx(0.943, abs=5e-4)
    assert (centre + half)[1] == pytest.approx(1.0)


def test_chinese_names_have_a_font_or_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not is_wide("Café")
    assert is_wide("快乐")
    plot_confusion_matrix([[1, 0], [0, 1]], ["快乐", "b"], tmp_path / "matrix.png")
    warned = [record.message for record in caplog.records if "Install fonts-noto-cjk" in record.message]
    assert len(warned) == (0 if wide_fonts() else 1)
