"""Figure 4 of the paper: how far the representations of the emotions stand apart, drawn with t-SNE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors_drkf import OptionError
from .style import PALETTE, new_figure, save, set_title, short_names

MARKERS = "os^DvPX*"
SEVERAL = "several or none"
EXPLANATION = "A point is an utterance in the colour of its true emotion, near those that the model finds alike"
FEWEST_UTTERANCES = 30
PCA_WIDTH = 50  # as van der Maaten and Hinton (2008) reduce their data before t-SNE
PANELS = {"fused": "voice and words together", "speech": "voice alone", "text": "words alone"}


def plot_embeddings(
    embeddings: Mapping[str, Any], references: Any, label_names: Sequence[str], path: str | Path, title: str
) -> Path:
    """Draw embeddings in two dimensions, a panel each, with a colour and a marker for each emotion (Figure 4).

    Distances between far points mean little in a t-SNE; how well the emotions stand apart is said by the mean
    silhouette in each panel's title, computed on the embeddings themselves (cosine distance; the grey points are left
    out). The same embeddings give the same picture.

    Args:
        embeddings: "fused", "speech" and "text", each (utterances, d).
        references: class ids (utterances,), or multi-hot label sets (utterances, classes); an utterance that has
            several emotions, or none, is drawn in grey.
        path: the image to write; its ending chooses the format (.png, .svg, .pdf).

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: fewer than `FEWEST_UTTERANCES`, or as many embeddings as there are not labels.
    """
    classes = _one_class(np.asarray(references))
    for name, points in embeddings.items():
        if len(points) != len(classes) or len(classes) < FEWEST_UTTERANCES:
            raise OptionError(
                f"There are {len(points)} {name} embeddings and {len(classes)} labels: t-SNE wants one each, and "
                f"{FEWEST_UTTERANCES} utterances or more."
            )
    figure = new_figure(4.3 * len(embeddings), 5.2)
    grid = figure.subplots(1, len(embeddings), squeeze=False).flat
    handles = {}
    for axes, (name, points) in zip(grid, embeddings.items(), strict=True):
        points = np.asarray(points, dtype=np.float64)
        axes.set_title(f"{PANELS.get(name, name)}{_silhouette(points, classes)}", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        picture = tsne(points)
        if picture is None:
            axes.text(0.5, 0.5, "the same for every utterance", ha="center", transform=axes.transAxes)
            continue
        for index in [-1, *range(len(label_names))]:
            chosen = picture[classes == index]
            if len(chosen):
                label = SEVERAL if index < 0 else short_names([label_names[index]])[0]
                style = _style(index) | {"s": 18 if len(classes) < 1000 else 8, "label": f"{label} ({len(chosen)})"}
                handles[index] = axes.scatter(*chosen.T, alpha=0.8, linewidths=0, **style)
    if handles:
        figure.legend(
            handles=[handles[i] for i in sorted(handles)],
            loc="outside lower center",
            ncols=_columns(len(handles), len(embeddings)),
            frameon=False,
        )
    set_title(figure, f"{title}\n{EXPLANATION}")
    return save(figure, path)


def _columns(entries: int, panels: int) -> int:
    """Of a legend below so many panels: as few rows as fit, all of about the same length."""
    rows = -(-entries // (3 * panels))
    return -(-entries // rows)


def tsne(points: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """(utterances, d) to (utterances, 2), after a reduction to 50 principal components; None where all are equal."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    points = points - points.mean(axis=0)
    scale = points.std()
    if scale < 1e-6:
        return None
    if min(points.shape) > PCA_WIDTH:
        points = PCA(PCA_WIDTH, random_state=seed).fit_transform(points)
    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(points / scale)


def _one_class(references: np.ndarray) -> np.ndarray:
    """Class ids; -1 where a label set does not hold exactly one."""
    if references.ndim == 1:
        return references
    return np.where(references.sum(axis=1) == 1, references.argmax(axis=1), -1)


def _silhouette(points: np.ndarray, classes: np.ndarray) -> str:
    from sklearn.metrics import silhouette_score

    points, classes = points[classes >= 0], classes[classes >= 0]
    if not 1 < len(np.unique(classes)) < len(classes) or np.ptp(points, axis=0).max() < 1e-6:
        return ""
    score = silhouette_score(points, classes, metric="cosine")
    return f"\nemotions apart: {score:.2f} (1 apart, 0 mixed, below 0 nearer to others)"


def _style(index: int) -> dict[str, Any]:
    if index < 0:
        return {"color": "#bbbbbb", "marker": "h"}
    shift = index // len(PALETTE)
    return {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[(index + shift) % len(MARKERS)]}
