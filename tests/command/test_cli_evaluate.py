"""`drkf evaluate` and `explain`, run as users run them, against the pipeline's own answers."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import soundfile
from helpers.cli import RATE, TEXTS, drkf, scores, write_checkpoint
from helpers.tiny import MULTI_LABEL

from drkf_cli.checkpoint import open_pipeline
from drkf_cli.evaluate import evaluate
from drkf_cli.robustness import CLEAN, CONDITIONS
from processing.conditions import Condition, clip_of
from processing.copies import heard_under
from processing.corpora.folds import Fold, save_folds
from processing.corpora.protocols import parts_of
from processing.corpora.registry import read_corpus
from processing.corpora.training_data import TRAINING_DATA, TrainingData
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
    assert "not known" in err  # no training_data.json
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


FOLD = Fold("random", ("u0", "u1", "u3", "u4"), ("u2", "u5"), ("u6", "u7", "u8", "u9"), speaker_disjoint=False)


@pytest.fixture
def trained(corpus: Path, tmp_path: Path) -> Path:
    """A checkpoint that says that it was made from a fold of the corpus."""
    checkpoint, read = write_checkpoint(tmp_path / "model"), read_corpus("manifest", corpus)
    save_folds([FOLD], checkpoint / "fold.json")
    TrainingData.of(read, parts_of(read, FOLD)).save(checkpoint)
    return checkpoint


def leaks_of(model: Path, manifest: Path, *options: str) -> tuple[dict[str, Any], str]:
    """What the evaluation records, and what it says on stderr."""
    status, out, err = drkf("evaluate", "--model", model, "--manifest", manifest, "--json", *options)
    assert status == 0, err
    return json.loads(out)["leaks"], " ".join(err.split())


def test_evaluation_warns_of_what_was_trained_on(corpus, trained):
    leaks, err = leaks_of(trained, corpus)  # the fold's test part; the corpus itself has none
    assert leaks == {
        "known": True, "utterances": 4, "trained_on": 0, "selected_on": 0, "speakers": ["ada", "bob"], "of_speakers": 3
    }  # fmt: skip
    assert "warning: these figures are too good for new speech: 2 of the 3 speakers have the name" in err
    leaks, err = leaks_of(trained, corpus, "--split", "all")
    assert (leaks["trained_on"], leaks["selected_on"]) == (4, 2)
    assert "4 of the 10 clips trained the checkpoint; 2 of the 10 clips chose its weights" in err
    status, _, err = drkf("evaluate", "--model", trained, "--manifest", corpus, "--split", "dev")
    assert (status, "there is no split 'dev'" in err) == (1, True)


def test_clips_are_known_by_their_sound_under_any_name(corpus, folder, trained, tmp_path):
    table = pandas.read_csv(corpus)
    table.utterance_id = [f"clip-{index}" for index in range(10)]
    table.speaker = [f"somebody {index % 3}" for index in range(10)]
    for index, path in enumerate(table.audio):
        wave, rate = soundfile.read(path, dtype="int16")
        soundfile.write(tmp_path / f"other-{index}.flac", wave, rate)
        table.loc[index, "audio"] = str(tmp_path / f"other-{index}.flac")
    table.to_csv(corpus, index=False)
    leaks, err = leaks_of(trained, corpus)
    assert (leaks["utterances"], leaks["trained_on"], leaks["selected_on"], leaks["speakers"]) == (10, 4, 2, [])
    table.iloc[6:].to_csv(corpus, index=False)
    leaks, err = leaks_of(trained, corpus)
    assert (leaks["trained_on"], leaks["selected_on"], leaks["speakers"]) == (0, 0, [])
    assert "note: none of the 4 clips" in err


def test_names_are_not_to_be_read_from_what_a_checkpoint_says(trained):
    kept = json.loads((trained / TRAINING_DATA).read_text())
    assert [len(kept["train"][kind]) for kind in ("utterances", "speakers", "sounds")] == [4, 2, 4]
    assert all(
        re.fullmatch("[0-9a-f]{12}", one) for kinds in kept.values() for found in kinds.values() for one in found
    )


@pytest.mark.parametrize("text", ["", "[]", '{"train": 3}', '{"train": {"names": []}}', '{"tran": {}}', b"\xff\xfe"])
def test_a_damaged_record_of_the_training_is_named(corpus, trained, text):
    (trained / TRAINING_DATA).write_bytes(text if isinstance(text, bytes) else text.encode())
    status, _, err = drkf("evaluate", "--model", trained, "--manifest", corpus)
    assert (status, f"{TRAINING_DATA} is damaged" in " ".join(err.split())) == (1, True)


@pytest.fixture
def voices(folder: Path, corpus: Path, tmp_path: Path) -> Path:
    """The corpus with clips that are long enough for a room to ring in."""
    table, rng = pandas.read_csv(corpus), np.random.default_rng(0)
    for index in range(10):
        wave = 0.2 * np.sin(np.arange(5000) * (0.05 + 0.1 * index)) * rng.uniform(0.3, 1)
        soundfile.write(tmp_path / f"voice-{index}.wav", wave, RATE)
        table.loc[index, "audio"] = str(tmp_path / f"voice-{index}.wav")
    table.to_csv(corpus, index=False)
    return corpus


def test_robustness_scores_what_the_pipeline_says_of_clips_in_noise(checkpoint, voices, pipe, tmp_path):
    arguments = ["evaluate", "--model", checkpoint, "--manifest", voices]
    status, out, err = drkf(*arguments, "--robustness", "--output-dir", tmp_path / "s")
    assert status == 0, err
    assert "babble, 10 dB" in out
    found = json.loads((tmp_path / "s" / "metrics.json").read_text())["robustness"]
    assert list(found["conditions"]) == [CLEAN, *(name for name in CONDITIONS if name != "silence:1.5")]
    assert "silence:1.5 is left out: input 2: a fused sequence has 2656 positions" in " ".join(err.split())
    names, rows = pipe.label_names, read_corpus("manifest", voices).dataset["all"]
    corpus_names = rows.features["label"].names
    clean = found["conditions"][CLEAN]["score"]
    for name in ("noise:0", "babble:10", "reverb:0.35"):
        inputs = [
            {"audio": clip_of(row, RATE), "text": row["text"]} for row in heard_under(rows, Condition.parse(name))
        ]
        said = [names.index(answer["scores"][0]["label"]) for answer in pipe(inputs)]
        labels = [names.index(corpus_names[label]) for label in rows["label"]]
        expected = emotion_metrics(said, labels, names)["unweighted_accuracy"]
        scored = found["conditions"][name]
        assert scored["score"] == pytest.approx(expected)
        assert scored["difference"] == pytest.approx(expected - clean)
        low, high = scored["difference_interval"]
        assert low <= scored["difference"] <= high
    table = pandas.read_csv(tmp_path / "s" / "robustness.csv").set_index("condition")
    assert table.score["noise:0"] == pytest.approx(found["conditions"]["noise:0"]["score"])
    assert (tmp_path / "s" / "robustness.png").stat().st_size > 10_000


def test_robustness_leaves_out_babble_where_nobody_else_speaks(checkpoint, voices):
    table = pandas.read_csv(voices)
    table.assign(speaker="ada").iloc[:2].to_csv(voices, index=False)
    status, out, err = drkf("evaluate", "--model", checkpoint, "--manifest", voices, "--robustness", "--json")
    assert status == 0, err
    found = json.loads(out)["robustness"]
    assert set(CONDITIONS) - set(found["conditions"]) == {"babble:20", "babble:10", "babble:0", "silence:1.5"}
    assert "babble:0 is left out: babble needs clips of other speakers, and ada is alone" in " ".join(err.split())


def test_ctrl_c_leaves_the_conditions_that_are_scored(checkpoint, voices, pipe):
    read, calls = read_corpus("manifest", voices), []

    class Interrupted(type(pipe)):
        def __call__(self, *arguments, **options):
            calls.append(None)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return super().__call__(*arguments, **options)

    stopped = open_pipeline(str(checkpoint))
    stopped.__class__ = Interrupted
    record, _ = evaluate(stopped, read, under_conditions=True)
    assert list(record["robustness"]["conditions"]) == [CLEAN, *CONDITIONS[:2]]
    assert record["robustness"]["stopped"]


def test_robustness_is_of_the_voice(checkpoint, voices):
    status, _, err = drkf(
        "evaluate", "--model", checkpoint, "--manifest", voices, "--robustness", "--modality", "text"
    )
    assert (status, "is of the voice" in " ".join(err.split())) == (2, True)


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
