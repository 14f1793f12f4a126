"""Training with one modality blanked now and then."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers.runs import train
from helpers.tones import write_recipe, write_tones
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification, AutoProcessor

from modeling_drkf.experiments.datasets import (
    CachedFeatures,
    ModalityDropout,
    RedrawnTexts,
    blank_features,
    blank_rows,
    pad_features,
)
from modeling_drkf.experiments.more_texts import read_more_texts
from processing import DRKFDataCollator
from processing.copies import with_copies
from processing.corpora.registry import read_corpus
from processing.corpora.report import CorpusError
from processing.errors_drkf import OptionError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    write_tones(folder)
    write_recipe(folder)
    train(folder, folder / "plain", "--num_train_epochs", 1)
    return folder


@pytest.mark.parametrize("text_share", [0.5, 0.8])
def test_at_most_one_modality_is_blanked_and_as_often_as_asked_for(text_share: float):
    rows = [{"audio": "a.wav", "text": "words", "label": 1}] * 2000
    blanks = {"speech": {"audio": "silence"}, "text": {"text": ""}}
    dropout = ModalityDropout(rows, blanks, 0.4, text_share=text_share)
    epochs = []
    for epoch in range(2):
        dropout.set_epoch(epoch)
        epochs.append([dropout[index] for index in range(2000)])
    drawn = [row for rows in epochs for row in rows]
    assert epochs[0] != epochs[1]
    kinds = [(row["audio"] == "silence", row["text"] == "") for row in drawn]
    assert (True, True) not in kinds
    for blanked, share in (((True, False), 1 - text_share), ((False, True), text_share)):
        assert kinds.count(blanked) / len(kinds) == pytest.approx(0.4 * share, abs=0.02)
    for row in drawn:
        assert (row["speech_present"], row["text_present"]) == (row["audio"] != "silence", row["text"] != "")
    assert {row["label"] for row in drawn} == {1}
    assert [dropout[index] for index in range(2000)] == epochs[1]  # whatever was drawn before
    assert rows[0] == {"audio": "a.wav", "text": "words", "label": 1}


def test_a_row_without_words_keeps_its_voice():
    rows = [{"audio": "a.wav", "text": ""}, {"audio": "b.wav", "text": "words"}]
    blanks = {"speech": {"audio": "silence"}, "text": {"text": ""}}
    dropout = ModalityDropout(rows, blanks, 0.9, worded=[False, True])
    heard = set()
    for epoch in range(20):
        dropout.set_epoch(epoch)
        silent = dropout[0]
        assert (silent["audio"], bool(silent["speech_present"]), bool(silent["text_present"])) == (
            "a.wav",
            True,
            False,
        )
        heard.add((dropout[1]["audio"], dropout[1]["text"]))
    assert heard >= {("silence", "words"), ("b.wav", "")}


def test_copies_at_other_speeds_are_clips_of_other_speakers():
    rows = Dataset.from_dict({"utterance_id": ["a", "b"], "speaker": ["ada", None], "label": [0, 1]})
    copies = with_copies(rows, [0.9])
    assert copies["utterance_id"][:] == ["a", "b", "a at speed 0.9", "b at speed 0.9"]
    assert copies["speaker"][:] == ["ada", None, "ada at speed 0.9", None]
    assert copies["label"][:] == [0, 1, 0, 1]
    assert copies["speed"][:] == [None, None, 0.9, 0.9]
    assert with_copies(rows).to_dict() == rows.to_dict()


def test_texts_are_redrawn_among_clips_of_the_same_label():
    rows = [{"audio": index, "text": f"{index}", "label": index % 3} for index in range(30)]
    drawn = RedrawnTexts(rows, np.arange(30) % 3, seed=0)
    epochs = []
    for epoch in range(40):
        drawn.set_epoch(epoch)
        epochs.append([drawn[index] for index in range(30)])
    assert [drawn[index] for index in range(30)] == epochs[-1]  # whatever was drawn before
    for index in range(30):
        texts = {int(epoch[index]["text"]) for epoch in epochs}
        assert {text % 3 for text in texts} == {index % 3}
        assert len(texts) > 5
        assert {epoch[index]["audio"] for epoch in epochs} == {index}
    label_sets = np.array([[1, 0], [1, 1], [1, 0], [0, 1]])
    by_set = RedrawnTexts(rows[:4], label_sets, seed=1)
    assert [by_set[1]["text"], by_set[3]["text"]] == ["1", "3"]
    assert by_set[0]["text"] in ("0", "2")


def test_words_are_redrawn_from_rows_that_have_some():
    rows = [{"audio": index, "text": text} for index, text in enumerate(["", "a", "b", "", ""])]
    worded = [bool(row["text"]) for row in rows]
    drawn = RedrawnTexts(rows, np.array([0, 0, 0, 0, 1]), seed=0, worded=worded)
    dropout = ModalityDropout(drawn, {"speech": {"audio": "silence"}, "text": {"text": ""}}, 0.0, worded=drawn.worded)
    heard = set()
    for epoch in range(20):
        dropout.set_epoch(epoch)
        heard |= {(index, dropout[index]["text"], bool(dropout[index]["text_present"])) for index in range(5)}
    assert heard == {(index, text, True) for index in range(4) for text in "ab"} | {(4, "", False)}


def test_words_are_redrawn_from_more_texts_than_those_of_the_clips():
    rows = [{"audio": index, "text": text} for index, text in enumerate(["", "a", "b"])]
    more = [{"text": "c"}, {"text": "d"}, {"text": "e"}]
    drawn = RedrawnTexts(rows, np.array([2, 0, 0]), 0, [bool(row["text"]) for row in rows], more, np.array([2, 0, 1]))
    assert drawn.worded == [True] * 3
    heard = set()
    for epoch in range(40):
        drawn.set_epoch(epoch)
        heard |= {(index, drawn[index]["audio"], drawn[index]["text"]) for index in range(3)}
    assert heard == {(0, 0, "c")} | {(index, index, text) for index in (1, 2) for text in "abd"}


LINES = "text,label\nHurry up!,joy\nAll  is well,fear\n ,joy\nAgain.,hapiness\nAt last!,happy\n"


def test_more_texts_are_read_without_those_that_are_evaluated(tmp_path):
    path = tmp_path / "lines.csv"
    path.write_text(LINES)
    found = read_more_texts(path, ["fear", "joy"], {"happy": "joy"}, ["ALL IS, WELL", "other"])
    assert (found.texts, found.labels.tolist()) == (["Hurry up!", "At last!"], [1, 1])
    assert found.left_out == {"empty": 1, "another_label": 1, "evaluated": 1}
    with pytest.raises(OptionError, match="none of its 5 lines is left; of another label than calm: 4, empty: 1"):
        read_more_texts(path, ["calm"], {}, [])
    path.write_text(LINES.replace("label", "lable", 1))
    with pytest.raises(CorpusError, match="no column 'label' \\(did you mean 'lable'"):
        read_more_texts(path, ["joy"], {}, [])
    with pytest.raises(CorpusError, match="no such file"):
        read_more_texts(tmp_path / "none.csv", ["joy"], {}, [])


@pytest.mark.parametrize("kept", ["true", "false"], ids=["features", "rows"])
def test_a_training_reads_more_texts_and_counts_them(corpus: Path, tmp_path: Path, monkeypatch, kept: str):
    made = []
    monkeypatch.setattr("modeling_drkf.experiments.run.write_report", lambda trainer, record, *_: made.append(record))
    sets = []
    monkeypatch.setattr(
        "modeling_drkf.experiments.run.RedrawnTexts", lambda *args: sets.append(RedrawnTexts(*args)) or sets[-1]
    )
    (tmp_path / "lines.csv").write_text("text,label\nnot a word of theirs,calm\nnor that,bored\n")
    options = ["--redraw_texts", "true", "--more_texts", tmp_path / "lines.csv", "--cache_features", kept]
    train(corpus, tmp_path / "out", "--max_steps", 1, *options)
    assert made[0]["more_texts"] == {"lines": 1, "left_out": {"empty": 0, "another_label": 1, "evaluated": 0}}
    assert made[0]["options"]["more_texts"] == "lines.csv"
    assert len(sets[0].more) == 1
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    expected = {"text": "not a word of theirs"} if kept == "false" else processor(text="not a word of theirs")
    assert {name: list(np.ravel(value)) for name, value in sets[0].more[0].items()} == {
        name: list(np.ravel(value)) for name, value in expected.items()
    }


@pytest.mark.parametrize("missing", ["speech", "text"])
def test_blank_features_are_what_the_collator_makes_of_blank_rows(corpus: Path, missing: str):
    processor = AutoProcessor.from_pretrained(corpus / "plain")
    collator = DRKFDataCollator(processor)
    rows = read_corpus("manifest", corpus / "clips.csv", progress=False).dataset["all"]
    cached = CachedFeatures(rows, collator)
    before = {name: value.clone() for name, value in cached[3].items() if name != "utterance_id"}
    samples = [{**cached[3], **blank_features(processor)[missing]}, cached[4]]
    expected = collator([{**rows[3], **blank_rows(processor)[missing]}, rows[4]])
    batch = pad_features(samples, processor.tokenizer.pad_token_id)
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(batch[name], value, msg=name)
    own = "audio_attention_mask" if missing == "speech" else "attention_mask"
    assert batch[own][0].sum() < before[own].sum()
    for name, value in before.items():
        assert torch.equal(cached[3][name], value), name


def test_a_run_repeats_itself_and_tells_what_it_is_prepared_for(corpus: Path, tmp_path: Path):
    runs = {"raw": [], "cached": ["--cache_features", "true"]}
    for name, options in runs.items():
        train(corpus, tmp_path / name, "--modality_dropout", 0.6, "--num_train_epochs", 1, *options)
        assert AutoModelForAudioClassification.from_pretrained(tmp_path / name).config.modality_dropout == 0.6
    first, again = (load_file(tmp_path / name / "model.safetensors") for name in runs)
    assert [name for name in first if not torch.allclose(first[name], again[name], atol=1e-6)] == []
    plain = load_file(corpus / "plain" / "model.safetensors")
    assert [name for name in plain if not torch.allclose(first[name], plain[name], atol=1e-6)]


def test_a_run_resumed_in_mid_epoch_draws_as_the_whole_run(corpus: Path, tmp_path: Path):
    options = ["--modality_dropout", 0.6, "--num_train_epochs", 2, "--seed", 3]
    options += ["--save_strategy", "steps", "--eval_strategy", "steps", "--save_steps", 1, "--eval_steps", 1]
    options += ["--save_total_limit", 10, "--load_best_model_at_end", "false"]
    train(corpus, tmp_path / "whole", *options)
    steps = len(list((tmp_path / "whole").glob("checkpoint-*")))
    for step in (1, steps // 2 + 1):  # in the first epoch, and in the second
        resumed = tmp_path / f"from-{step}"
        checkpoint = tmp_path / "whole" / f"checkpoint-{step}"
        train(corpus, resumed, *options, "--resume_from_checkpoint", checkpoint)
        whole, again = (load_file(run / "model.safetensors") for run in (tmp_path / "whole", resumed))
        assert [name for name in whole if not torch.equal(whole[name], again[name])] == []


def test_going_on_from_a_checkpoint_keeps_its_modality_dropout(corpus: Path, tmp_path: Path):
    fixed = ["--model_name_or_path", corpus / "plain", "--num_train_epochs", 1, "--modality_dropout", 0.5]
    train(corpus, tmp_path / "a", *fixed)
    train(corpus, tmp_path / "b", "--model_name_or_path", tmp_path / "a", "--num_train_epochs", 1)
    stored = [json.loads((tmp_path / name / "config.json").read_text())["modality_dropout"] for name in "ab"]
    assert stored == [0.5, 0.5]
