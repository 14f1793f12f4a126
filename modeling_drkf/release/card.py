"""Cards of a training run and of a cross-validation.

The templates, and what is known about each corpus, are files of `model_cards/`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import Trainer

from processing.corpora.facts import CARDS, recorded_facts
from processing.evaluation.metrics import FORMULAS
from processing.evaluation.rounding import rounded
from processing.printable import plural

from ..configuration_drkf import DRKFConfig
from .licences import CODE_LICENCE, FROM_SCRATCH, encoder_licence, hub_id, strictest

ARCHITECTURE = "Representation `{}`, fusion `{}`, emotion discrimination `{}` (the switches of the paper's Table 4)"
CHOSEN_ON_TEST = (
    "> **Selected on the test part.** The weights were chosen by their score on the very utterances that the figures "
    "below are computed on. They are too good, and must not be compared with figures of models that were chosen on a "
    "validation part.\n"
)
PREPARED = (
    "A modality may be missing: an empty text stands for no words, a moment of silence for no audio. One of the two "
    "was blanked in {:.0%} of the training clips, so that the model is prepared for it."
)
UNPREPARED = (
    "Give both voice and words: the model was not trained for a missing modality, and guesses where one is blank."
)
ONE_MODALITY = {
    "speech": "Give the voice and an empty text: the model was trained without words.",
    "text": "Give the words and no voice: the model was trained without voices.",
}
BASELINE = {
    "speech": "> A baseline that reads the voice alone; every text was replaced by an empty one.\n",
    "text": "> A baseline that reads the words alone; every clip was replaced by silence.\n",
}
UNCALIBRATED = (
    "It also gives\n`consistency_logits`, higher where voice and words express the same emotion; they are not "
    "calibrated: no\nprobability of agreement is answered."
)
CALIBRATED = "It also gives\n`consistency`, the probability that voice and words express the same emotion"
OF_PCMI = ("reconstruction errors are means, not sums", "contrastive terms stay within a modality")
DESCRIBED_OPTIONS = (
    *("audio_encoder", "text_encoder", "feature_extractor", "drkf", "corpus", "protocol", "processes", "modality"),
    "model_name_or_path",
    *("learning_rate", "num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size"),
    *("cache_features", "eval_strategy", "save_strategy", "load_best_model_at_end", "metric_for_best_model"),
    "greater_is_better",
)
"""Options that the card tells in other words, or that change no figure."""


def model_card(
    trainer: Trainer, record: Mapping[str, Any], splits: Mapping[str, Any], pictures: Sequence[str],
    encoders: Mapping[str, str],
) -> str:  # fmt: skip
    """The card of one run.

    Args:
        record: what `metrics.json` holds. splits: its scored parts by name. pictures: files beside the card.
        encoders: what the speech and the text encoder were made from, under `audio` and `text`.
    """
    config: DRKFConfig = trainer.accelerator.unwrap_model(trainer.model).config  # type: ignore[assignment]
    args, facts = trainer.args, recorded_facts(record)
    title = f"DRKF on {facts.get('title', record['corpus'])}"
    scalars = [name for name in FORMULAS if any(name in metrics for metrics in splits.values())]
    licences = {kind: encoder_licence(encoders[kind]) for kind in ("audio", "text")}
    metadata = ModelCardData(
        **_metadata(facts, strictest([*licences.values(), facts.get("license")])),
        base_model=list(dict.fromkeys(name for name in map(hub_id, encoders.values()) if name)) or None,
        model_name=title,
        eval_results=[
            EvalResult(
                task_type="audio-classification", dataset_type=record["corpus"],
                dataset_name=facts.get("title", record["corpus"]), dataset_split=split, metric_type=name,
                metric_name=name.replace("_", " "), metric_value=metrics[name],
            )
            for split, metrics in splits.items() for name in scalars
        ],
    )  # fmt: skip
    batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    training = [
        f"Speech encoder: {_shown(encoders['audio'])}; text encoder: {_shown(encoders['text'])}",
        ARCHITECTURE.format(config.representation, config.fusion, config.emotion_discrimination),
        f"{plural(trainer.state.global_step, 'step')} ({trainer.state.epoch or 0:.3g} epochs), batch {batch}, "
        f"learning rate {args.learning_rate:g}, seed {args.seed}; {_chosen(record)}",
    ]
    if others := [
        f"`{name}`: {value}" for name, value in record.get("options", {}).items() if name not in DESCRIBED_OPTIONS
    ]:
        training.append(f"Other options: {', '.join(others)}")
    return _filled(
        config,
        metadata,
        title=title,
        consistency=_consistency(config, splits),
        missing_modality=ONE_MODALITY.get(record.get("modality", "both")) or _missing_modality(config),
        departures=_departures(config, record["selection"]),
        stamp=BASELINE.get(record.get("modality", "both"), "") + (CHOSEN_ON_TEST if _chosen_on_test(record) else ""),
        results=_results_table(splits, scalars, facts),
        protocol=_protocol(record),
        formulas=_formulas(scalars),
        pictures=_pictures(pictures),
        data=_data(record["corpus"], facts, {rule: len(ids) for rule, ids in record.get("excluded", {}).items()}),
        training=_list(training),
        licences=_licences(encoders, licences, record["corpus"], facts),
    )


def unscored_card(config: DRKFConfig) -> str:
    """The card of a model that no part of a corpus has scored: training goes on, or has left no metrics."""
    return _filled(
        config,
        ModelCardData(**_metadata({}, None), model_name="DRKF"),
        title="DRKF, not scored",
        consistency=_consistency(config, {}),
        missing_modality=_missing_modality(config),
        departures=_departures(config),
        stamp="",
        results="None: the model was published before any test.",
        protocol="",
        formulas="",
        pictures="",
        data="Not recorded.",
        training=ARCHITECTURE.format(config.representation, config.fusion, config.emotion_discrimination) + ".",
        licences=f"The code is {CODE_LICENCE}; those of corpus and encoders bind the weights.",
    )


def cross_validation_card(results: Mapping[str, Any], folder: Path, pictures: Sequence[str] = ()) -> str:
    """The card of a cross-validation.

    Args:
        results: `corpus`, `protocol`, `selection`, `seeds`, `folds`, `metrics` {name: {mean, std, interval}}, `runs`
            [{fold, seed, folder, metric: value, ...}].
        folder: where the run folders `<fold>-seed<seed>` lie; those that exist are linked. pictures: files in it.
    """
    facts = recorded_facts(results)
    paper: Mapping[str, float] = facts.get("paper", {})
    names = [name for name in FORMULAS if name in results["metrics"]]
    rows = [["", "mean ± std", "95 % interval", *(["paper"] if paper else [])]]
    for name in names:
        metric = results["metrics"][name]
        low, high = metric["interval"]
        deviation = "" if metric["std"] is None else f" ± {rounded(metric['std'])}"
        row = [name.replace("_", " "), f"{rounded(metric['mean'])}{deviation}", f"[{rounded(low)}, {rounded(high)}]"]
        rows.append(row + ([_percent(paper.get(name))] if paper else []))
    runs = [["fold", "seed", *(name.replace("_", " ") for name in names)]]
    for run in results["runs"]:
        place = run["folder"]
        fold = f"[{run['fold']}]({place})" if (folder / place).is_dir() else str(run["fold"])
        runs.append([fold, str(run["seed"]), *(rounded(run[name]) for name in names)])
    counted = [plural(len(results[kind]), kind.removesuffix("s")) for kind in ("folds", "seeds")]
    return _filled_template(
        "cross_validation_card",
        title=f"DRKF on {facts.get('title', results['corpus'])}: cross-validation",
        stamp=CHOSEN_ON_TEST if _chosen_on_test(results) else "",
        protocol=f"Protocol: {results['protocol'].replace('_', ' ')}, {' and '.join(counted)}; {_chosen(results)}.",
        results=_table(rows),
        formulas=_formulas(names),
        runs=_table(runs),
        pictures=_pictures(pictures),
        data=_data(results["corpus"], facts, results.get("excluded", {})),
        limits=limits(),
    )


def _filled(config: DRKFConfig, metadata: ModelCardData, **texts: str) -> str:
    card = _filled_template(
        "checkpoint_card",
        metadata,
        **texts,
        classes=", ".join(config.label_names),
        probabilities="probabilities = output.logits"
        + (".sigmoid()[0]" if config.is_multi_label else ".softmax(-1)[0]"),
        limits=limits(),
    )
    while "\n\n\n" in card:
        card = card.replace("\n\n\n", "\n\n")
    return card


def _metadata(facts: Mapping[str, Any], license: str | None) -> dict[str, Any]:
    return {
        "library_name": "transformers",
        "pipeline_tag": "audio-classification",
        "tags": ["drkf", "speech-emotion-recognition", "multimodal"],
        "language": facts.get("language"),
        "license": license,
    }


def _chosen(record: Mapping[str, Any]) -> str:
    """Which weights were kept, and by what."""
    if record["selection"] == "none":
        return "the last weights were kept: no part chose them"
    metric = (record.get("selection_metric") or "").removeprefix("eval_").replace("_", " ")
    return f"the weights were chosen on the {record['selection']} part" + (f", by {metric}" if metric else "")


def _consistency(config: DRKFConfig, splits: Mapping[str, Any]) -> str:
    """What ED is good for, with its figures on the test part or, without one, on the validation part."""
    if not config.emotion_discrimination:
        return ""
    if config.consistency_calibration is None:
        return UNCALIBRATED
    scored = [split for split, metrics in splits.items() if "consistency" in metrics]
    if not scored:
        return f"{CALIBRATED}, which no part has\nscored."
    split = scored[-1]
    found = splits[split]["consistency"]
    return (
        f"{CALIBRATED}:\nmatched and mismatched pairs of the {split} part are separated with an AUC of "
        f"{rounded(found['auc'])}, and its Brier score is {rounded(found['brier'])}\n"
        f"({rounded(found['brier_of_prior'])} for always answering {found['prior']:g})."
    )


def _missing_modality(config: DRKFConfig) -> str:
    dropped = getattr(config, "modality_dropout", 0.0)
    return PREPARED.format(dropped) if dropped else UNPREPARED


def _departures(config: DRKFConfig, selection: str = "none") -> str:
    """Where this model departs from the paper or fills a gap in it."""
    found = ["padding is masked in the fusion encoder"]
    if config.representation == "pcmi":
        found += OF_PCMI
    if config.representation == "cmie":
        found.append("a negative of CMIE has its own sample's label")
    if config.fusion == "self":
        found.append("CLS and SEP are learnt")
    if selection == "validation":
        found.append("the weights are chosen on a validation part, not on the test part")
    return "; ".join(found)


def _chosen_on_test(record: Mapping[str, Any]) -> bool:
    return record["selection"] == "test"


def _protocol(record: Mapping[str, Any]) -> str:
    fold = record["fold"]
    protocol = record.get("protocol", "auto")
    name = "" if protocol == "auto" else f"{protocol.replace('_', ' ')}, "
    disjoint = (
        "No speaker is in two parts"
        if fold["speaker_disjoint"]
        else "**Speakers are shared between the parts, or unknown**"
    )
    return (
        f"Protocol: {name}fold `{fold['name']}`; {_sizes(fold)}. {disjoint}.\n"
        "Brackets: 95 % bootstrap intervals over utterances."
    )


def _pictures(names: Sequence[str]) -> str:
    return "\n".join(f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in names)


def _sizes(fold: Mapping[str, Any]) -> str:
    verbs = {"train": "utterances train", "validation": "validate", "test": "test"}
    return ", ".join(f"{fold[part]} {verb}" for part, verb in verbs.items() if part in fold)


def _results_table(splits: Mapping[str, Any], scalars: Sequence[str], facts: Mapping[str, Any]) -> str:
    paper: Mapping[str, float] = facts.get("paper", {})
    rows = [["", *splits, *([f"paper ({facts['paper_protocol']})"] if paper else [])]]
    for name in scalars:
        cells = []
        for metrics in splits.values():
            low, high = metrics["intervals"][name]
            cells.append(f"{rounded(metrics[name])} [{rounded(low)}, {rounded(high)}]")
        rows.append([name.replace("_", " "), *cells, *([_percent(paper.get(name))] if paper else [])])
    for label in next(iter(splits.values()))["per_class"]:
        cells = [rounded(metrics["per_class"][label]["f1"]) for metrics in splits.values()]
        rows.append([f"F1 {label}", *cells, *([""] if paper else [])])
    return _table(rows)


def _data(corpus: str, facts: Mapping[str, Any], excluded: Mapping[str, int]) -> str:
    lines = [f"{rule.replace('_', ' ')}: {plural(number, 'utterance')} left out" for rule, number in excluded.items()]
    if not facts:
        return _list([f"`{corpus}`, a corpus of the trainer's own; whoever publishes this card describes it", *lines])
    described = [
        ": ".join(filter(None, [facts["title"], facts.get("source")])),
        *filter(None, [facts.get("speakers")]),
    ]
    return _list([*described, *facts.get("traps", []), *lines])


def _licences(encoders: Mapping[str, str], licences: Mapping[str, Any], corpus: str, facts: Mapping[str, Any]) -> str:
    rows = [["", "", "licence"], ["code", "DRKF", CODE_LICENCE]]
    for kind, title in (("audio", "speech encoder"), ("text", "text encoder")):
        rows.append(
            [title, _shown(encoders[kind]), "" if FROM_SCRATCH in encoders[kind] else licences[kind] or "see its own"]
        )
    rows.append(["corpus", facts.get("title", corpus), facts.get("licence", "see its own")])
    return _table(rows)


def _shown(encoder: str) -> str:
    """An encoder as the card names it: a Hub id linked, a folder of this machine without its path."""
    if name := hub_id(encoder):
        return f"[{name}](https://huggingface.co/{name})"
    return Path(encoder).name if "/" in encoder else encoder


def _formulas(names: Sequence[str]) -> str:
    return _list([f"{name.replace('_', ' ')}: {FORMULAS[name].formula}" for name in names])


def _percent(value: float | None) -> str:
    return "" if value is None else rounded(value / 100)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _filled_template(name: str, metadata: ModelCardData | None = None, **texts: str) -> str:
    template = str(CARDS / "templates" / f"{name}.md")
    return str(ModelCard.from_template(metadata or ModelCardData(), template_path=template, **texts))


def limits() -> str:
    """What every card says of what the model is not for."""
    return (CARDS / "templates" / "limits.md").read_text(encoding="utf-8").rstrip()
