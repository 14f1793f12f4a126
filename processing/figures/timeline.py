"""The picture of a timeline: every emotion's probability over the minutes of a recording, and the agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..answers import predicted_labels, told
from ..audio_drkf import AudioStream
from ..errors_drkf import OptionError
from ..speakers import speakers_of
from .style import new_figure, save, set_title, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4477aa", "#ee6677", "#228833", "#997700", "#33bbee", "#aa3377", "#ee7733")  # the names tell them apart
NEUTRAL, PALE = "#444444", 0.3
SOUND = "#888888"
POINTS = 1500  # of a drawn sound
TICK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # seconds
MOST_TICKS = 11
MOST_BARS = 250  # spans that stay apart on paper; more are drawn as strips of `SLICES` shades
SLICES = 300
MOST_LANES = 12
OTHERS = "others"


def plot_timeline(
    timeline: Mapping[str, Any],
    label_names: Sequence[str],
    path: str | Path,
    title: str = "Timeline",
    multi_label: bool = False,
    audio: str | Path | None = None,
) -> Path:
    """Draw a long recording: its sound; a band per emotion, whose height is the probability, in full colour where it
    is recognised; below, the score of how far voice and words agree. What was left out stays empty. Where there are
    more answers than can be told apart, a band is a strip whose shade is the mean probability. Of several speakers,
    each has a lane of its own with the emotions that are recognised in their colours.

    Args:
        timeline: `audio_seconds`, and `timeline` with answers in order of time. Of answers that overlap, the
            one that began last is drawn.
        path: the image to write; its ending chooses the format (.png, .svg, .pdf).
        audio: the recording, to draw its sound on top.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the timeline holds no answer, or the recording cannot be read.
    """
    answers = told(timeline)
    if not answers:
        raise OptionError("There is nothing to draw: no piece of the timeline has an answer.")
    if len(speakers := speakers_of(answers)) > 1:
        figure = _lanes(timeline, answers, speakers, label_names, multi_label, audio)
        set_title(figure, title)
        return save(figure, path)
    spans = _spans(answers)
    bands = [
        (label, [(_score(a, label), label in predicted_labels(a, multi_label)) for a in answers])
        for label in label_names
    ]
    if any(answer["consistency"] is not None for answer in answers):
        agreement = [answer["consistency"] or 0.0 for answer in answers]
        bands.append(("voice and\nwords agree", [(value, value > 0.5) for value in agreement]))
    duration = max(timeline["audio_seconds"], spans[-1][1])
    rows, is_dense = len(bands) + (audio is not None), len(spans) > MOST_BARS
    figure = new_figure(10, 1.1 + (0.4 if is_dense else 0.62) * rows)
    grid = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    if audio is not None:
        _draw_sound(grid[0], *envelope(audio, timeline["audio_seconds"]))
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(label_names))] + [NEUTRAL]
    if is_dense:
        shades = [_slice_means(spans, [value for value, _ in heights], duration) for _, heights in bands]
        darkest = float(np.nanmax(shades[: len(label_names)]))
        scale = f"Shade: mean probability of {duration / SLICES:.0f} seconds, the darkest {darkest:.2f}"
    else:
        scale = "Height: probability; full colour: the emotion that is recognised"
    for index, (axes, (name, heights)) in enumerate(zip(grid[-len(bands) :], bands, strict=True)):
        if is_dense:
            _draw_strip(axes, shades[index], duration, colours[index], darkest if index < len(label_names) else 1.0)
        else:
            _draw_band(axes, spans, heights, [colours[index]] * len(heights))
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    _draw_time(grid[-1], duration, scale)
    set_title(figure, title)
    return save(figure, path)


def _lanes(
    timeline: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]],
    speakers: Sequence[str],
    label_names: Sequence[str],
    multi_label: bool,
    audio: str | Path | None,
) -> Figure:
    """The sound, and a lane a speaker: when they speak, in the colour of the emotion, as high as its probability.
    Where there are many, the last lane is that of all others."""
    from matplotlib.patches import Patch

    colours = {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(label_names)}
    is_unnamed = any(answer.get("speaker") is None for answer in answers)
    known: list[str | None] = [*speakers, *([None] if is_unnamed else [])]
    names = known if len(known) <= MOST_LANES else [*known[: MOST_LANES - 1], OTHERS]
    lane_of = {name: name if name in names else OTHERS for name in known}
    duration = max(timeline["audio_seconds"], *(answer["end"] for answer in answers))
    rows = len(names) + (audio is not None)
    figure = new_figure(10, 1.5 + 0.8 * rows)
    grid = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    if audio is not None:
        _draw_sound(grid[0], *envelope(audio, timeline["audio_seconds"]))
    shown: dict[str, None] = {}
    for axes, name in zip(grid[-len(names) :], names, strict=True):
        own = [answer for answer in answers if lane_of[answer.get("speaker")] == name]
        labels = [predicted_labels(answer, multi_label)[0] for answer in own]
        shown |= dict.fromkeys(labels)
        heights = [(_score(answer, label), True) for answer, label in zip(own, labels, strict=True)]
        _draw_band(axes, _spans(own), heights, [colours[label] for label in labels])
        (lane,) = short_names(["nobody named" if name is None else name])
        axes.set_ylabel(lane, rotation=0, ha="right", va="center")
    _draw_time(grid[-1], duration, "Height: probability of the emotion that is recognised")
    patches = [Patch(color=colours[label], label=label.replace("$", r"\$")) for label in label_names if label in shown]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 7), frameon=False)
    return figure


def _draw_time(axes: Axes, duration: float, scale: str) -> None:
    axes.set_xlim(0, duration)
    axes.set_xticks(*_ticks(duration))
    unit = "h:mm:ss" if duration >= 3600 else "mm:ss"
    axes.set_xlabel(f"time ({unit}). {scale}")


def envelope(audio: str | Path, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """The greatest amplitude in each of `POINTS` even pieces of a recording, and when each begins (seconds)."""
    peaks = np.zeros(POINTS)
    with AudioStream(audio, None) as stream:
        piece = max(1.0, seconds * stream.rate / POINTS)  # samples
        position = 0
        for block in stream:
            first, last = int(position / piece), int((position + len(block) - 1) / piece)
            starts = np.maximum(np.ceil(np.arange(first, last + 1) * piece).astype(int) - position, 0)
            inside = starts < len(block)
            at = np.minimum(np.arange(first, last + 1)[inside], POINTS - 1)
            np.maximum.at(peaks, at, np.maximum.reduceat(np.abs(block), starts[inside]))
            position += len(block)
        return np.arange(POINTS) * piece / stream.rate, peaks


def clock(seconds: float, hours: bool = False, decimals: int = 0) -> str:
    """75 -> "01:15", with a decimal "01:15.0"; with `hours` (or from an hour on) "0:01:15"."""
    whole, fraction = divmod(round(seconds * 10**decimals), 10**decimals)
    minutes = f"{whole // 60 % 60:02}:{whole % 60:02}" + (f".{fraction:0{decimals}}" if decimals else "")
    return f"{whole // 3600}:{minutes}" if hours or whole >= 3600 else minutes


def _spans(answers: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, int]]:
    """(start, end, number of the answer) of what is drawn: of answers that overlap the one that began last."""
    times = sorted({answer[key] for answer in answers for key in ("start", "end")})
    spans: list[tuple[float, float, int]] = []
    running: list[int] = []
    begun = 0
    for start, end in pairwise(times):
        while begun < len(answers) and answers[begun]["start"] <= start:
            running.append(begun)
            begun += 1
        while running and answers[running[-1]]["end"] <= start:
            running.pop()
        if running:
            spans.append((start, end, running[-1]))
    return spans


def _score(answer: Mapping[str, Any], label: str) -> float:
    return next((entry["score"] for entry in answer["scores"] if entry["label"] == label), 0.0)


def _draw_sound(axes: Axes, times: np.ndarray, peaks: np.ndarray) -> None:
    axes.fill_between(times, -peaks, peaks, color=SOUND, linewidth=0)
    height = max(float(peaks.max()), 1e-6) * 1.05
    axes.set_ylim(-height, height)
    axes.set_ylabel("sound", rotation=0, ha="right", va="center")
    axes.set_yticks([])
    axes.spines[["top", "left", "right"]].set_visible(False)


def _draw_band(
    axes: Axes,
    spans: Sequence[tuple[float, float, int]],
    heights: Sequence[tuple[float, bool]],
    colours: Sequence[str],
) -> None:
    """One row of the picture; `heights` holds a value and whether it is strong for every answer, as `colours` do."""
    from matplotlib.collections import PolyCollection

    corners = [
        [(start, 0), (start, heights[index][0]), (end, heights[index][0]), (end, 0)] for start, end, index in spans
    ]
    shades = [(colours[index], 1.0 if heights[index][1] else PALE) for *_, index in spans]
    axes.add_collection(PolyCollection(corners, facecolors=shades, linewidths=0))
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1], ["0", "1"], fontsize=7)
    axes.yaxis.tick_right()
    axes.spines[["top", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _slice_means(spans: Sequence[tuple[float, float, int]], values: Sequence[float], duration: float) -> np.ndarray:
    """The mean of the answers' `values` over time in each of `SLICES` even slices; NaN where nothing was answered."""
    times = np.array([time for start, end, _ in spans for time in (start, end)])
    lengths = np.diff(times, prepend=0.0) * (np.arange(len(times)) % 2)  # the gaps before the spans count nothing
    heights = np.repeat([values[index] for *_, index in spans], 2)
    borders = np.linspace(0, duration, SLICES + 1)
    covered, summed = (np.diff(np.interp(borders, times, np.cumsum(part))) for part in (lengths, lengths * heights))
    return np.divide(summed, covered, out=np.full(SLICES, np.nan), where=covered > 1e-9)


def _draw_strip(axes: Axes, shades: np.ndarray, duration: float, colour: str, darkest: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    scale = LinearSegmentedColormap.from_list("", ["#f4f4f4", colour])
    extent = (0.0, duration, 0.0, 1.0)
    axes.imshow(shades[None], cmap=scale, vmin=0, vmax=darkest, aspect="auto", extent=extent, interpolation="nearest")
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _ticks(duration: float) -> tuple[list[float], list[str]]:
    step = next((step for step in TICK_STEPS if duration / step < MOST_TICKS), TICK_STEPS[-1])
    ticks = [float(step * index) for index in range(int(duration / step) + 1)]
    return ticks, [clock(tick, hours=duration >= 3600) for tick in ticks]
