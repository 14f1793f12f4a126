"""An answer as HTML that reads well aloud: words and a table first, bars beside them."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

NAMES = {"speech": "The voice", "text": "The words"}
UNCLEAR = (0.4, 0.6)  # probabilities between which voice and words are not said to agree or to contradict
FOR_PROGRAMMERS = (
    "segments with their words",
    "chunk_length_s",
    '"channel" reads one of them',
)  # what advice begins with, in warnings
NOTHING = "No emotion: nothing is said"
WAITING = "<p>No answer yet. Add a clip, words, or both, then choose <em>Recognise</em>.</p>"

LIMITS = """
**What this cannot do.** It does not know what anybody feels. It guesses which label a listener would give to this
voice and these words, from the recordings it was trained on; it is often wrong, and more so for voices, accents,
languages and situations that those recordings lack. Acted and everyday emotion differ.

**What it must not be used for.** Decisions about people: hiring, work, schooling, credit, insurance, policing,
borders, diagnosis, lie detection. Inferring emotions at work or in education is unlawful in the European Union
(AI Act, Article 5). Only analyse recordings of people who have agreed to it.
"""

CSS = """
.drkf table { width: 100%; border-collapse: collapse; margin: 0; }
.drkf caption, .drkf h2 { text-align: left; font-size: 1em; font-weight: 600; margin: 1em 0 0.3em; }
.drkf :is(table, tbody, tr, th, td) { border: none; }
.drkf th, .drkf td { padding: 0.2em 0; white-space: nowrap; font-weight: 400; text-align: left; }
.drkf td.number { text-align: right; padding-left: 0.8em; font-variant-numeric: tabular-nums; }
.drkf td.track-cell { width: 100%; padding-left: 0.8em; }
.drkf tr.best th, .drkf tr.best td { font-weight: 700; }
.drkf .track { background: var(--border-color-primary); border-radius: 3px; height: 0.9em; }
.drkf .bar { background: #2f6fb0; border-radius: 3px; height: 100%; }
.drkf .both { background: #c8811c; }
.gradio-container .html-container { padding: 0 !important; }
.refused:not(:empty) { border-left: 4px solid #b35900; padding-left: 0.7em; }
.drkf .lead { font-size: 1.3em; margin: 0; }
.drkf .warning { border-left: 4px solid #b35900; padding-left: 0.7em; }
.drkf .scale { display: flex; justify-content: space-between; font-size: 0.85em; }
.drkf svg { display: block; width: 100%; height: 1.8em; shape-rendering: crispEdges; }
.drkf .bands svg { background: var(--border-color-primary); }
.drkf svg.sound { height: 5em; background: none; shape-rendering: auto; }
.drkf svg.sound rect { shape-rendering: crispEdges; }
.drkf .wave { fill: #222222; stroke: #222222; stroke-width: 0.15; }
.drkf .bands { display: grid; grid-template-columns: max-content 1fr; align-items: center; gap: 2px 0.8em; }
.drkf .bands .wave { fill: #888888; stroke: none; }
.drkf rect.strong { fill: #2f6fb0; }
.drkf rect.weak { fill: #2f6fb0; opacity: 0.4; }
.drkf .pieces { max-height: 22em; overflow-y: auto; }
.drkf .pieces tr > * { padding-right: 0.8em; vertical-align: top; }
.drkf td.said { white-space: normal; width: 100%; overflow-wrap: anywhere; }
.drkf .lanes > span.name { max-width: 9em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.drkf .lanes svg { height: 2.6em; }
.drkf .lanes svg.sound { height: 3.5em; }
.drkf .lanes .wave { stroke: none; fill: #888888; }
.drkf .lanes g { cursor: pointer; }
.drkf .lanes g rect { stroke: var(--body-background-fill); vector-effect: non-scaling-stroke; }
.drkf .lanes g rect.whole { fill: transparent; stroke: none; }
.drkf g:is(:hover, .heard) rect.whole { fill: rgba(136, 136, 136, 0.35); }
.drkf #live-bands { display: contents; }
.drkf .key { display: flex; flex-wrap: wrap; gap: 0.2em 1.2em; margin: 0.4em 0; }
.drkf .key i { display: inline-block; width: 0.9em; height: 0.9em; margin-right: 0.4em; border-radius: 3px; }
.drkf audio { width: 100%; margin: 0.5em 0; }
.dark .drkf audio { color-scheme: dark; }
.drkf :is(.pieces, .speakers) td.said { min-width: 13em; }
.drkf th.name, .drkf td.name { max-width: 12em; overflow: hidden; text-overflow: ellipsis; }
.drkf thead th { font-size: 0.85em; }
.drkf .speakers { overflow-x: auto; }
.drkf .speakers tr > * { padding-right: 0.8em; vertical-align: top; }
.drkf button[data-piece] { all: unset; cursor: pointer; text-decoration: underline; }
.drkf button[data-piece]:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
.drkf tr:has(button.heard) { background: var(--border-color-primary); }
.drkf a { text-decoration: underline; }
.drkf .legend { height: 0.6em; border-radius: 3px; }
.drkf .words { line-height: 2; overflow-wrap: anywhere; }
.drkf .words span { padding: 0.15em 0.3em; border-radius: 4px; }
.drkf .note { font-size: 0.9em; }
"""


def render_answer(answer: Mapping[str, Any]) -> str:
    """An Answer (see the pipeline) as a summary, the table of all classes, agreement and modality shares."""
    best = next(
        (f"<strong>{escape(one['label'])}</strong>, {percent(one['score'])}" for one in _scores(answer)), NOTHING
    )
    parts = [f'<p class="lead">{best}</p>']
    parts.append(render_notes(filter(None, [answer.get("warning")])))
    parts.append(f"<p>{_given(answer)}</p>")
    parts += [_table(_scores(answer)), _agreement(answer["consistency"]), _shares(answer)]
    return f'<div class="drkf">{"".join(parts)}</div>'


def _scores(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The likeliest emotion first; empty where nothing is said."""
    return answer.get("scores") or ()


def render_notes(warnings: Iterable[str]) -> str:
    """Warnings of answers without the advice that is for programmers."""
    parts = (
        "; ".join(part for part in warning.split("; ") if not part.startswith(FOR_PROGRAMMERS)) for warning in warnings
    )
    return "".join(f'<p class="warning">Note: {escape(note)}</p>' for note in dict.fromkeys(parts))


def render_error(message: str) -> str:
    return f'<div class="drkf"><p class="warning">That did not work: {escape(message)}</p></div>'


def _given(answer: Mapping[str, Any]) -> str:
    if answer["text"] is None:
        return f"{answer['audio_seconds']:.1f} seconds of voice, no words"
    if answer["audio_seconds"] is None:
        return f"The words “{escape(answer['text'])}”, no clip"
    return f"{answer['audio_seconds']:.1f} seconds of voice, with the words “{escape(answer['text'])}”"


def _table(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return ""
    rows = "".join(
        f'<tr{" class=best" if number == 0 else ""}><th scope="row">{escape(item["label"])}</th>'
        f'<td aria-hidden="true" class="track-cell">{_bar(item["score"])}</td>'
        f'<td class="number">{percent(item["score"])}</td></tr>'
        for number, item in enumerate(scores)
    )
    return f"<table><caption>Probability of every emotion</caption><tbody>{rows}</tbody></table>"


def _agreement(consistency: float | None) -> str:
    """Nothing where the model gives no calibrated probability."""
    if consistency is None:
        return ""
    title = "<h2>Do voice and words agree?</h2>"
    verdicts = ["They seem to contradict each other", "Hard to tell", "They seem to agree"]
    verdict = verdicts[sum(consistency > border for border in UNCLEAR)]
    return (
        f"{title}<p>{verdict}: the probability that both express the same emotion is {percent(consistency)}.</p>"
        f'<div aria-hidden="true">{_bar(consistency)}'
        '<div class="scale"><span>contradict</span><span>agree</span></div></div>'
    )


def _shares(answer: Mapping[str, Any]) -> str:
    shares = answer["modality_shares"]
    title = "<h2>Which of the two weighs more?</h2>"
    if shares is None:
        return f"{title}<p>Unknown: that takes a clip, its words, and a model whose fusion tells.</p>"
    voice, words = (percent(shares[name]) for name in ("speech", "text"))
    return (
        f"{title}<p>{NAMES[answer['dominant_modality']]}: {voice} of the model's attention lies on the voice, "
        f'{words} on the words.</p><div aria-hidden="true">{_bar(shares["speech"], "track both")}'
        f'<div class="scale"><span>voice {voice}</span><span>words {words}</span></div></div>'
    )


def _bar(share: float, track: str = "track") -> str:
    return f'<div class="{track}"><div class="bar" style="width: {100 * share:.1f}%"></div></div>'


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
