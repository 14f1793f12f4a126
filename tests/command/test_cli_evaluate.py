"""`drkf evaluate` and `explain`, run as users run them, against the pipeline's own answers."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from helpers.cli import RATE, TEXTS, drkf, scores, write_checkpoint
from helpers.tiny import MULTI_LABEL

from drkf_cli.checkpoint import open_pipeline
from drkf_cli.evaluate import evaluate
from processing.corpora.folds import Fold, save_folds
from processing.corpora.registry import read_corpus
from processing.evaluation.metrics import emotion_metrics
from processing.explanation import explain


@pytest.fixture
def corpus(folder: Path, pipe: Any, tmp_path: Path) -> Path:
    """Ten labelled clips of three speakers without a split; labels are what the pipeline says, but for two."""
    names = pipe.model.config.label_names
    rows = []
    for index in range(10):
        said = pipe({"audio": folder / f"{index}.wav", "text": TEXTS[index % 4]})["scores"][0]["label"]
        label = names[(names.index(said) + 1) % 3] if index in (2, 9) else said
        speaker = ("ada", "bob", "cleo")[index % 3]
        rows.append({"utterance_id": f"u{index}", "audio": str(folder / f"{index}.wav"), "text": TEXTS[index % 4]})
        rows[-1] |= {"label": label, "speaker": speaker}
    with (tmp_path / "corpus.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "corpus.csv"


def test_evaluation_scores_what_the_pipeline_says(corpus, checkpoint, pipe, tmp_path):
    status, out, err = drkf(
        "evaluate", "--model", checkpoint, "--manifest", corpus, "--output-dir", tmp_path / "scores"
    )
    assert status == 0, err
    assert "not known" in err  # no fold.json
    record = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    table = pandas.read_csv(tmp_path / "scores" / "all_predictions.csv")
    names = pipe.model.config.label_names
    rows = pandas.read_csv(corpus)
    assert table.label.tolist() == rows.label.tolist()
    assert (table.label != table.prediction).to_numpy().nonzero()[0].tolist() == [2, 9]
    ids = [[names.index(label) for label in column] for column in (table.prediction, table.label)]
    expected = emotion_metrics(*ids, names)
    assert {name: record["all"][name] for name in expected} == expected
    assert record["all"]["weighted_accuracy"] == 0.8
    assert "0.800" in out
    columns = ["utterance_id", "fold", "selection", "label", "prediction", *(f"probability_{name}" for name in names)]
    assert list(table) == [*columns, "consistency", "dominant_modality", "speech_share", "text_share"]


def evaluation_of_a_fold(corpus: Path, folder: Path, prefix: str) -> list[str | Path]:
    """The command that evaluates a checkpoint, whose fold names the ten utterances by this prefix and a number."""
    checkpoint = write_checkpoint(folder / "model")
    parts = [tuple(f"{prefix}{i}" for i in part) for part in ((0, 1, 3, 4), (2, 5), (6, 7, 8, 9))]
    save_folds([Fold("random", *parts, speaker_disjoint=False)], checkpoint / "fold.json")
    return ["evaluate", "--model", checkpoint, "--manifest", corpus, "--output-dir", folder / "scores"]


def test_evaluation_warns_of_what_was_trained_on(corpus, tmp_path):
    arguments = evaluation_of_a_fold(corpus, tmp_path, "u")
    status, out, err = drkf(*arguments)
    assert status == 0
    assert "test: 4 clips" in out  # the fold's part; the corpus itself has none
    assert "2 of the speakers are in its training part (ada, bob)" in err
    record = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert record["leaks"] == {"known": True, "trained_on": 0, "selected_on": 0, "speakers": ["ada", "bob"]}
    status, _, err = drkf(*arguments, "--split", "all")
    assert "4 of the utterances were in its training part; 2 of the utterances were in its validation part" in err
    status, _, err = drkf(*arguments, "--split", "dev")
    assert (status, "there is no split 'dev'" in err) == (1, True)


def test_evaluation_does_not_clear_utterances_that_it_cannot_tell(corpus, tmp_path):
    """The clips of the training under other names: no warning would read as no leak."""
    arguments = evaluation_of_a_fold(corpus, tmp_path, "clip-")
    status, _, err = drkf(*arguments)
    assert (status, "names these utterances" in err) == (0, True)
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["leaks"]["known"] is False


def test_evaluation_compares_the_groups_of_any_column(folder, checkpoint, corpus, tmp_path):
    table = pandas.read_csv(corpus)
    table = pandas.concat([table.assign(utterance_id=table.utterance_id + copy) for copy in "abcd"])
    table["accent"] = ["north", "south"] * 20
    table.loc[table.accent == "south", "label"] = table.label.iloc[::-1].to_numpy()[:20]
    table.to_csv(corpus, index=False)
    arguments = ["evaluate", "--model", checkpoint, "--manifest", corpus, "--output-dir", tmp_path / "scores"]
    status, out, err = drkf(*arguments, "--by", "speaker", "--by", "accent")
    assert status == 0, err
    record = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    predictions = pandas.read_csv(tmp_path / "scores" / "all_predictions.csv")
    for column in ("speaker", "accent"):
        found = record["groups"][column]
        for name, rows in predictions.groupby(table[column].to_numpy()):
            recalls = [(own.prediction == label).mean() for label, own in rows.groupby("label")]
            assert found["groups"][name]["score"] == pytest.approx(np.mean(recalls))
            assert found["groups"][name]["utterances"] == len(rows)
        tested = {name: one["score"] for name, one in found["groups"].items() if one["p_value"] is not None}
        assert found["worst"] == min(tested, key=tested.__getitem__)
        assert f"{column}: the worst group is {found['worst']}" in out
    status, _, err = drkf(*arguments, "--by", "dialect")
    assert (status, "dialect" in err) == (1, True)
    status, _, err = drkf(*arguments, "--by", "session")
    assert status == 1
    assert "--by session: the corpus does not say it; it has label, speaker, duration" in " ".join(err.split())


def test_evaluation_withholds_a_modality(corpus, pipe):
    read = read_corpus("manifest", corpus)
    _, predictions = evaluate(pipe, read, modality="speech")
    expected = scores(pipe({"audio": read.dataset["all"][0]["audio"]}))
    assert dict(zip(predictions.label_names, predictions.probabilities[0], strict=True)) == pytest.approx(expected)
    assert np.isnan(predictions.consistency).all()
    assert np.isnan(predictions.modality_shares).all()


def test_classes_that_the_checkpoint_does_not_know_are_errors(corpus, checkpoint, tmp_path):
    corpus.write_text(corpus.read_text().replace("LABEL_0", "joy").replace("LABEL_1", "joy").replace("LABEL_2", "joy"))
    status, _, err = drkf("evaluate", "--model", checkpoint, "--manifest", corpus)
    assert status == 1
    assert "the corpus has the classes joy, which the checkpoint does not know" in err
    status, _, err = drkf("evaluate", "--model", checkpoint, "--manifest", corpus, "--label-map", "joy=LABEL_1")
    assert (status, "--label-map 'joy=LABEL_1' is not of the form" in err) == (1, True)
    mapped = ["--label-map", '{"joy": "LABEL_1"}', "--output-dir", tmp_path / "scores"]
    assert drkf("evaluate", "--model", checkpoint, "--manifest", corpus, *mapped)[0] == 0
    record = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert record["all"]["per_class"]["LABEL_1"]["support"] == 10


def test_evaluation_goes_on_without_damaged_rows_and_says_which(corpus, folder, checkpoint, tmp_path):
    with corpus.open("a") as file:
        file.write(f"u10,{folder / 'broken.wav'},words,LABEL_0,cleo\n")
    arguments = ["evaluate", "--model", checkpoint, "--manifest", corpus, "--output-dir", tmp_path / "scores"]
    status, _, err = drkf(*arguments)
    assert (status, "--skip-damaged unreadable_audio (or all)" in err) == (1, True)
    status, out, err = drkf(*arguments, "--skip-damaged", "all")
    assert (status, "all: 10 clips" in out) == (0, True)
    assert "unreadable_audio: 1 (1 left out: LABEL_0 1)" in err
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["utterances"] == 10


def test_label_sets_are_evaluated(folder, tmp_path):
    pipe = open_pipeline(str(write_checkpoint(tmp_path / "model", **MULTI_LABEL)))
    rows = [f"{folder / f'{index}.wav'},{TEXTS[index % 4]},LABEL_0|LABEL_2" for index in range(4)]
    (tmp_path / "sets.csv").write_text("\n".join(["audio,text,label", *rows]) + "\n")
    record, found = evaluate(pipe, read_corpus("manifest", tmp_path / "sets.csv"))
    said = scores(pipe({"audio": folder / "0.wav", "text": TEXTS[0]}))
    certain = [float(said[name] > 0.5) for name in pipe.model.config.label_names]
    assert any(certain)
    assert found.predictions[0].tolist() == certain
    assert found.references.tolist() == [[1, 0, 1]] * 4
    assert record["all"]["micro_recall"] == pytest.approx(found.predictions[:, [0, 2]].sum() / 8)


def test_an_explanation_is_the_models_attention(folder, checkpoint, pipe, tmp_path):
    clip, text = folder / "9.wav", "oh no you came back"
    picture = tmp_path / "e.png"
    status, out, err = drkf("explain", clip, "--text", text, "--model", checkpoint, "--json", "--output", picture)
    assert status == 0, err
    shown = json.loads(out)
    inputs = pipe.processor(audio=clip, text=text, return_tensors="pt")
    output = pipe.model(**inputs, output_modality_attention=True)
    assert shown["frame_attention"] == pytest.approx(output.speech_attention[0].tolist())
    assert [word["text"] for word in shown["words"]] == ["<s>", *text.split(), "</s>"]
    assert [word["attention"] for word in shown["words"]] == pytest.approx(output.text_attention[0].tolist())
    assert shown["frame_seconds"] * len(shown["frame_attention"]) == pytest.approx(4700 / RATE)
    assert shown["modality_shares"]["speech"] == pytest.approx(output.modality_shares[0, 0].item())
    assert picture.stat().st_size > 20_000
    status, out, _ = drkf("explain", clip, "--text", text, "--model", checkpoint)
    strongest = max(shown["words"][1:-1], key=lambda word: word["attention"])
    even = sum(word["attention"] for word in shown["words"]) / len(shown["words"])
    assert f"words most attended to: {strongest['text']} ({strongest['attention'] / even:.1f} times)" in out
    assert "not an explanation of cause" in " ".join(out.split())


def test_an_explanation_hears_what_the_model_hears(folder, pipe):
    pipe.processor.max_audio_seconds = 0.1
    try:
        heard = explain(pipe, folder / "9.wav", None)
    finally:
        pipe.processor.max_audio_seconds = None
    assert (heard.seconds, len(heard.waveform)) == (0.1, 1600)
    assert [word.special for word in heard.words] == [True, True]


def test_cross_attention_has_nothing_to_explain(folder, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "model", fusion="cross")
    status, _, err = drkf("explain", folder / "0.wav", "--model", checkpoint)
    assert status == 1
    assert "fuses by cross-attention (FE_c)" in err


@pytest.mark.parametrize("verb", ["predict", "evaluate", "explain"])
def test_help_teaches_by_example_and_imports_nothing_heavy(verb):
    code = f"import sys; from drkf_cli import app\ntry: app(['{verb}', '--help'])\nfinally: print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"\n  drkf {verb} " in out
    for module in ("'torch'", "'transformers'", "'datasets'", "'numpy'"):
        assert module not in out
