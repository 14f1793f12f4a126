"""Builds the starter checkpoint: `starter.yaml` on all speakers of both tables of the study.

    make encoders
    python -m study.starter --data DATA

Two trainings with the same options: the first holds a tenth of the clips out, by speaker, which calibrate scores and
`consistency`; the second trains on everybody and takes the calibration of the first. Each clip also trains in noise,
babble and rooms and over telephone lines, with any of MELD's training lines of its emotion: but for those of the
speakers held out, which the first training does not read. Then rare word pieces are left out, weights are stored in
half precision, and what that changes is measured on texts that are in no training. `held_out.csv` lists the clips of
the speakers held out, for `drkf evaluate --model WORK/held_out --manifest WORK/held_out.csv --robustness`.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from transformers import AutoProcessor

from drkf_cli.checkpoint import open_pipeline
from modeling_drkf.experiments.options import parse_arguments
from modeling_drkf.experiments.run import Run
from processing.corpora.folds import Fold
from processing.corpora.protocols import folds_of
from processing.corpora.registry import read_corpus
from processing.corpora.training_data import TrainingData
from processing.evaluation.records import Predictions

from .shrink import halve_weights, kept_tokens, prune_vocabulary

WORDED, WORDLESS = "ravdess_paired.csv", "paired.csv"  # no line of the former is left to speakers of the latter
LINES = "meld/train_sent_emo.csv"
LABELS = {"happiness": "joy", "surprised": "surprise"}  # nEMO's names as MELD's
VOCABULARY = 10_000
OPTIONS = (
    *("--augment", "noise", "babble", "babble:5:15", "reverb", "telephone", "gain"),
    *("--max-steps", "3200", "--drkf", '{"adapter_dropout": 0.3}'),
)
COMPARED_TEXTS = 300
NAMES_OF_CODE = ("auto_map", "custom_pipelines")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the two tables and MELD's annotation")
    parser.add_argument("--work", type=Path, default=Path("runs/study/starter"), help="where both trainings go")
    parser.add_argument("--output", type=Path, default=Path("model_cards/starter"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    manifest = write_manifest(options.data, options.work / "clips.csv")
    write_lines(options.data / LINES, options.work / "lines.csv")
    corpus = read_corpus("manifest", str(manifest))
    held_out = folds_of(corpus, "speaker_disjoint", validation_share=0.1, test_share=0.0)[0]
    calibrated = train(corpus, held_out, options.work, "held_out")
    write_held_out(calibrated, options.work / "held_out.csv")
    temperature = fit_temperature(options.work / "held_out" / "validation_predictions.csv")
    everybody = train(corpus, one_clip_a_class(corpus), options.work, "everybody")
    model, processor = everybody.model, everybody.processor
    model.config.consistency_calibration = calibrated.model.config.consistency_calibration
    model.config.score_temperature = temperature
    whole = options.work / "whole"
    save(model, processor, whole)
    texts = read_texts(options.data / LINES)
    prune_vocabulary(model, processor, kept_tokens(processor.tokenizer, texts, VOCABULARY))
    save(model, processor, options.output)
    halve_weights(options.output)
    TrainingData.of(corpus, everybody.parts).save(options.output)
    unheard = read_texts(options.data / "meld" / "dev_sent_emo.csv")[:COMPARED_TEXTS]
    facts = compare(whole, options.output, corpus.dataset["all"]["audio"][:COMPARED_TEXTS], unheard)
    facts |= {
        "temperature": temperature,
        "consistency_calibration": model.config.consistency_calibration,
        "megabytes": sum(file.stat().st_size for file in options.output.rglob("*")) / 1e6,
        "held_out_speakers": sorted(set(calibrated.parts["validation"]["speaker"][:])),
        "held_out": {name: calibrated.scores["validation"][name] for name in ("unweighted_accuracy", "consistency")},
    }
    (options.work / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))
    return 0


def write_manifest(data: Path, path: Path) -> Path:
    """Both tables as one, with one set of labels, and ids that are the same on any machine."""
    tables = [pandas.read_csv(data / name, keep_default_na=False) for name in (WORDED, WORDLESS)]
    tables[1]["text"] = ""
    rows = pandas.concat(tables)[["audio", "text", "label", "speaker"]]
    rows.insert(0, "utterance_id", rows.audio)
    rows["audio"] = [str((data / audio).resolve()) for audio in rows.audio]
    rows["label"] = rows.label.replace(LABELS)
    rows.to_csv(path, index=False)
    return path


def write_lines(source: Path, path: Path) -> None:
    """MELD's lines, for `--more-texts`."""
    lines = pandas.read_csv(source, keep_default_na=False).rename(columns={"Utterance": "text", "Emotion": "label"})
    lines[["text", "label"]].to_csv(path, index=False)


def write_held_out(run: Run, path: Path) -> None:
    """The clips that validate, as a manifest."""
    columns = ["audio", "text", "label", "speaker"]
    table = run.parts["validation"].select_columns(columns).to_pandas()
    table["label"] = [run.corpus.label_names[label] for label in table.label]
    table.to_csv(path, index=False)


def train(corpus: Any, fold: Fold, work: Path, name: str) -> Run:
    """One training; an earlier one of that name is replaced."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    chosen = ["starter.yaml", "--manifest", str(work / "clips.csv"), "--more-texts", str(work / "lines.csv")]
    chosen += [*OPTIONS, "--pictures", "false", "--output-dir", str(folder)]
    run = Run(corpus, fold, [fold.name], *parse_arguments(chosen))
    run.execute()
    return run


def one_clip_a_class(corpus: Any) -> Fold:
    """Everybody trains; the part that a fold must have for validation gets one clip of each class."""
    rows = corpus.dataset["all"]
    ids, labels = rows["utterance_id"][:], rows["label"][:]
    watched = [ids[labels.index(label)] for label in sorted(set(labels))]
    train = tuple(utterance for utterance in ids if utterance not in watched)
    return Fold("everybody", train, tuple(watched), (), speaker_disjoint=False)


def fit_temperature(path: Path) -> float:
    """The temperature that makes the probabilities of held-out speakers likeliest (Guo et al., ICML 2017)."""
    predictions = Predictions.read(path, multi_label=False)
    logits = np.log(np.clip(predictions.probabilities, 1e-12, 1.0))
    rows = np.arange(len(logits))

    def loss(temperature: float) -> float:
        return -float(log_softmax(logits / temperature, axis=1)[rows, predictions.references].mean())

    return float(minimize_scalar(loss, bounds=(0.2, 5.0), method="bounded").x)


def save(model: Any, processor: Any, folder: Path) -> None:
    """A checkpoint without its code: the package is there where the starter is."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    for path in (*folder.glob("*.py"), folder / "requirements.txt"):
        path.unlink(missing_ok=True)
    for path in folder.glob("*config.json"):
        path.write_text(json.dumps(json.loads(path.read_text(), object_hook=_without_code), indent=2) + "\n")


def _without_code(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in NAMES_OF_CODE}


def read_texts(path: Path) -> list[str]:
    return pandas.read_csv(path, keep_default_na=False).Utterance.tolist()


def compare(whole: Path, small: Path, clips: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """How far the probabilities of both checkpoints are from each other, for texts that nobody has trained on."""
    inputs = [{"audio": clip, "text": text} for clip, text in zip(clips, texts, strict=True)]
    scores = []
    for folder in (whole, small):
        pipe = open_pipeline(str(folder))
        answers = pipe(inputs, batch_size=16)
        scores.append([[item["score"] for item in sorted(a["scores"], key=lambda s: s["label"])] for a in answers])
    tokenizers = [AutoProcessor.from_pretrained(folder).tokenizer for folder in (whole, small)]
    same = np.array([tokenizers[0].tokenize(text) == tokenizers[1].tokenize(text) for text in texts])
    moved = np.abs(np.array(scores[0]) - np.array(scores[1])).max(axis=1)
    return {
        "texts_spelt_alike": float(same.mean()),
        "largest_change_where_spelt_alike": float(moved[same].max()),
        "largest_change": float(moved.max()),
        "median_change_where_spelt_otherwise": float(np.median(moved[~same])) if (~same).any() else 0.0,
        "same_emotion": float(np.mean(np.argmax(scores[0], axis=1) == np.argmax(scores[1], axis=1))),
    }


if __name__ == "__main__":
    sys.exit(main())
