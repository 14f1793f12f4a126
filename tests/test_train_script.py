"""train_drkf.py as a user runs it: a manifest in, a usable folder out; mistakes told; Ctrl-C and resuming."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pandas
import pytest
import torch
from helpers.tones import script, write_recipe, write_tones
from huggingface_hub import ModelCard
from transformers import AutoModelForAudioClassification, AutoProcessor, WhisperFeatureExtractor

from modeling_drkf.experiments.datasets import CachedFeatures, pad_features
from modeling_drkf.experiments.options import parse_arguments
from modeling_drkf.release.loading import training_data_of
from processing import DRKFDataCollator, DRKFProcessor
from processing.corpora.protocols import folds_of, parts_of
from processing.corpora.registry import read_corpus
from train_drkf import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: one test speaker, one validation speaker."""
    folder = tmp_path_factory.mktemp("run")
    manifest, recipe = write_tones(folder), write_recipe(folder)
    options = ["--manifest", manifest, "--protocol", "leave_one_speaker_out", "--fold", "bob", "--pictures", "true"]
    assert main([str(recipe), *map(str, options), "--output_dir", str(folder / "out")]) == 0
    return folder


def test_metrics_agree_with_the_saved_predictions(run: Path):
    record = json.loads((run / "out" / "metrics.json").read_text())
    predictions = pandas.read_csv(run / "out" / "test_predictions.csv")
    right = predictions.label == predictions.prediction
    assert record["test"]["weighted_accuracy"] == pytest.approx(right.mean())
    recalls = [right[predictions.label == label].mean() for label in ("calm", "tense")]
    assert record["test"]["unweighted_accuracy"] == pytest.approx(sum(recalls) / 2)
    assert predictions[["probability_calm", "probability_tense"]].sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert record["fold"] == {"name": "bob", "speaker_disjoint": True, "train": 8, "validation": 4, "test": 4}


def test_a_finished_run_is_not_overwritten(run: Path, capsys: pytest.CaptureFixture):
    before = (run / "out" / "model.safetensors").stat().st_mtime_ns
    command = [str(run / "tiny.yaml"), "--manifest", str(run / "clips.csv"), "--output_dir", str(run / "out")]
    assert main(command) == 1
    assert f"{run / 'out'} holds a finished run" in capsys.readouterr().err
    assert (run / "out" / "model.safetensors").stat().st_mtime_ns == before


def test_the_saved_folder_gives_the_saved_predictions(run: Path):
    predictions = pandas.read_csv(run / "out" / "test_predictions.csv")
    model = AutoModelForAudioClassification.from_pretrained(run / "out").eval()
    processor = AutoProcessor.from_pretrained(run / "out")
    manifest = pandas.read_csv(run / "clips.csv").set_index("audio")
    for row in predictions.itertuples():
        clip = run / row.utterance_id
        with torch.no_grad():
            output = model(**processor(audio=clip, text=manifest.text[clip.name], return_tensors="pt"))
        assert output.logits.softmax(-1)[0].tolist() == pytest.approx(
            [row.probability_calm, row.probability_tense], abs=1e-5
        )
        found = float("nan") if output.consistency is None else output.consistency.item()
        assert found == pytest.approx(row.consistency, abs=1e-5, nan_ok=True)


def test_the_card_holds_protocol_and_results(run: Path):
    card = ModelCard.load(run / "out" / "README.md")
    record = json.loads((run / "out" / "metrics.json").read_text())
    results = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert results["test", "unweighted_accuracy"] == record["test"]["unweighted_accuracy"]
    assert "fold `bob`" in card.text
    assert "No speaker is in two parts" in card.text
    for picture in ("loss_curves.png", "test_confusion_matrix.png"):
        assert f"]({picture})" in card.text
        assert (run / "out" / picture).stat().st_size > 5000


def test_going_on_from_a_checkpoint_wants_the_same_labels(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    options = ["--manifest", str(run / "clips.csv"), "--model_name_or_path", str(run / "out"), "--max_steps", "1"]
    options += ["--save_strategy", "steps", "--eval_strategy", "steps", "--output_dir", str(tmp_path / "refused")]
    cut = ["--max_audio_seconds", "0.3", "--skip_silence", "true", "--output_dir", str(tmp_path / "cut")]
    assert main([*options, *cut]) == 0
    processor = AutoProcessor.from_pretrained(tmp_path / "cut")
    assert (processor.max_audio_seconds, processor.skip_silence) == (0.3, True)
    assert not AutoProcessor.from_pretrained(run / "out").skip_silence
    folds = [json.loads((folder / "fold.json").read_text())["folds"][0] for folder in (run / "out", tmp_path / "cut")]
    made_from = training_data_of(tmp_path / "cut")
    for part in ("train", "validation"):  # of both trainings
        assert len(getattr(made_from, part).utterances) == len({*folds[0][part], *folds[1][part]})
    assert main([*options, "--label_map", '{"calm": "cool"}']) == 1
    assert "['calm', 'tense']" in capsys.readouterr().err
    assert main([*options, "--drkf", '{"hidden_size": 32}']) == 1
    assert "leave its sizes out of --drkf" in capsys.readouterr().err
    manifest = write_tones(tmp_path)
    manifest.write_text(manifest.read_text().replace("calm,ada", "calm|tense,ada"))
    assert main([*options, "--manifest", str(manifest)]) == 1
    assert "was made for single_label_classification" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric_for_best_model", "weighted_acuracy"], "no metric 'weighted_acuracy' (did you mean 'weighted_acc"),
        (["--label_map", '{"calm": "tense"}'], "the corpus has one class alone, tense"),
    ],
)
def test_what_cannot_be_learnt_or_chosen_by_is_told_before_training(
    options: list[str], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    command = [str(run / "tiny.yaml"), "--manifest", str(run / "clips.csv"), "--output_dir", str(tmp_path / "out")]
    assert main([*command, *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_single_modality_baselines_see_one_modality(run: Path, tmp_path: Path, modality: str):
    manifest = write_tones(tmp_path, takes=4)
    options = [str(run / "tiny.yaml"), "--manifest", str(manifest), "--output_dir", str(tmp_path)]
    assert main([*options, "--modality", modality, "--num_train_epochs", "1"]) == 0
    config = AutoModelForAudioClassification.from_pretrained(tmp_path).config
    assert (config.representation, config.emotion_discrimination) == ("none", False)
    predictions = pandas.read_csv(tmp_path / "test_predictions.csv").probability_calm
    texts = pandas.read_csv(manifest).set_index("audio").text
    ids = pandas.read_csv(tmp_path / "test_predictions.csv").utterance_id
    alike = predictions.groupby([texts[name] for name in ids]).nunique().max() == 1
    assert alike == (modality == "text")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml", "--manifest", "x.csv"], "neither a file nor one of"),
        (["--manifest", "x.csv"], "name what to train"),
        (["paper.yaml"], "name the data"),
        (["paper.yaml", "--manifest", "x.csv", "--drkf", "{broken"], "--drkf is not valid JSON"),
        (["paper.yaml", "--learning_rat_e", "1"], "unknown option --learning_rat_e (did you mean '--learning-rate'?"),
        (["paper.yaml", "--manifest", "x.csv", "--data_dir", "y"], "x.csv and --data-dir y both name the data"),
        (["--manifest", "x.csv", "paper.yaml"], "paper.yaml: recipes stand before all options"),
    ],
)
def test_wrong_options_are_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_an_unknown_key_of_a_recipe_is_an_error_with_a_suggestion(tmp_path: Path, capsys: pytest.CaptureFixture):
    recipe = write_recipe(tmp_path, learning_rat=1e-4)
    with pytest.raises(SystemExit):
        main([str(recipe), "--manifest", "x.csv"])
    assert "'learning_rat' (did you mean 'learning_rate'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "speach"}, "argument --modality: invalid choice: 'speach'"),
        ({"selection": "tset"}, "argument --selection: invalid choice: 'tset'"),
        ({"learning_rate": [1e-3]}, "--learning-rate: takes one value, not [0.001]"),
        ({"drkf": {"fusoin": "cross"}}, "--drkf: unknown field 'fusoin' (did you mean 'fusion'?"),
        ({"text_encoder": {"model_type": "bert", "hiden_size": 8}}, "unknown field 'hiden_size' (did you mean 'hidd"),
        ({"text_encoder": {"model_type": "brt"}}, "not 'brt' (did you mean 'bert'?"),
        ({"extends": ["demo.yaml", "paper.yaml"]}, "extends names one other recipe"),
    ],
)
def test_a_recipe_takes_the_values_that_the_command_line_takes(
    options: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    with pytest.raises(SystemExit) as stop:
        main([str(write_recipe(tmp_path, **options)), "--manifest", "x.csv", "--output_dir", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_recipe_may_name_one_value_where_several_may_stand_and_a_fold_by_its_number(tmp_path: Path):
    _, data, _ = parse_arguments([str(write_recipe(tmp_path, folds="all", seeds=3)), "--manifest", "x.csv"])
    assert (data.folds, data.seeds) == (["all"], [3])
    _, data, training = parse_arguments([str(write_recipe(tmp_path, fold=2, report_to="none")), "--manifest", "x.csv"])
    assert (data.fold, training.report_to) == ("2", [])


def test_what_is_odd_or_left_out_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    manifest = write_tones(tmp_path)
    header, *rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([header.replace("speaker", "speaker_id"), *rows, rows[0]]))
    options = ["--manifest", str(manifest), "--skip_damaged", "duplicate_id", "--max_steps", "1"]
    options += ["--eval_strategy", "no", "--load_best_model_at_end", "false", "--output_dir", str(tmp_path / "out")]
    assert main([str(run / "tiny.yaml"), *options]) == 0
    printed = capsys.readouterr().out
    assert "column 'speaker_id' is not read (did you mean 'speaker'?)" in printed
    assert "duplicate_id: 1 (1 left out: calm 1)" in printed


def test_a_recipe_may_map_labels_that_are_numbers(run: Path, tmp_path: Path):
    table = pandas.read_csv(run / "clips.csv").assign(audio=lambda t: str(run) + "/" + t.audio)
    table.assign(label=table.label.map({"calm": 0, "tense": 1})).to_csv(tmp_path / "clips.csv", index=False)
    recipe = write_recipe(tmp_path, label_map={0: "calm", 1: "tense"})
    _, data, _ = parse_arguments([str(recipe), "--manifest", str(tmp_path / "clips.csv")])
    corpus = read_corpus("manifest", str(data.data_dir), label_map=data.label_map, progress=False)
    assert corpus.label_names == ["calm", "tense"]


def test_the_command_line_overrides_the_recipe(tmp_path: Path):
    recipe = str(write_recipe(tmp_path))
    _, data, training = parse_arguments([recipe, "--manifest", "x.csv", "--learning_rate", "0.5"])
    assert (training.learning_rate, training.per_device_train_batch_size, data.corpus) == (0.5, 4, "manifest")


def test_the_fold_of_a_run_can_be_used_again(run: Path):
    corpus = read_corpus("manifest", run / "clips.csv", progress=False)
    saved = json.loads((run / "out" / "fold.json").read_text())["folds"][0]
    [fold] = folds_of(corpus, fold_file=run / "out" / "fold.json")
    parts = parts_of(corpus, fold)
    assert fold.name == "bob"
    for part in ("train", "validation", "test"):
        assert parts[part]["utterance_id"][:] == saved[part]


@pytest.mark.parametrize("whisper", [False, True], ids=["frames first", "bins first"])
def test_cached_features_are_what_the_collator_makes(run: Path, whisper: bool):
    processor = AutoProcessor.from_pretrained(run / "out")
    if whisper:
        processor = DRKFProcessor(WhisperFeatureExtractor(16), processor.tokenizer, unpadded_speech=True)
    rows = read_corpus("manifest", run / "clips.csv", progress=False).dataset["all"]
    collator = DRKFDataCollator(processor)
    cached = CachedFeatures(rows, collator)
    assert len(cached) == len(rows)
    for _ in range(2):
        batch = pad_features([cached[index] for index in range(5)], processor.tokenizer.pad_token_id)
        expected = collator([rows[index] for index in range(5)])
        assert batch.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(batch[name], value, msg=name)


def test_excluded_rows_are_recorded(run: Path, tmp_path: Path):
    manifest = write_tones(tmp_path)
    (tmp_path / "ada_calm_0.wav").write_bytes(b"")
    options = [str(run / "tiny.yaml"), "--manifest", str(manifest), "--output_dir", str(tmp_path / "out")]
    assert main([*options, "--skip_damaged", "all", "--num_train_epochs", "1"]) == 0
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(record["excluded"].values()) == [["ada_calm_0.wav"]]


def test_the_same_seed_gives_the_same_figures(run: Path, tmp_path: Path):
    records = []
    for attempt in ("a", "b"):
        options = ["--manifest", str(run / "clips.csv"), "--output_dir", str(tmp_path / attempt), "--seed", "7"]
        assert main([str(run / "tiny.yaml"), *options]) == 0
        records.append(json.loads((tmp_path / attempt / "metrics.json").read_text()) | {"train_seconds": None})
    assert records[0] == records[1]


def test_a_damaged_manifest_is_reported_and_nothing_is_trained(run: Path, tmp_path: Path, capsys):
    table = pandas.read_csv(run / "clips.csv")
    table["audio"] = [str(run / name) for name in table.audio]
    table.loc[3, "audio"] = "gone.wav"
    table.to_csv(tmp_path / "clips.csv", index=False)
    options = [
        str(run / "tiny.yaml"),
        "--manifest",
        str(tmp_path / "clips.csv"),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    assert main(options) == 1
    error = capsys.readouterr().err
    assert "missing_audio" in error
    assert "clips.csv:5" in error
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_ctrl_c_saves_a_checkpoint_to_resume_from(run: Path, tmp_path: Path):
    options = [run / "tiny.yaml", "--manifest", run / "clips.csv", "--output_dir", tmp_path, "--seed", "1"]
    command = script(*options, "--num_train_epochs", "400")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600
    while not list(tmp_path.glob("checkpoint-*/trainer_state.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 130, error
    assert "--resume-from-checkpoint true" in error
    steps = max(int(path.name.split("-")[1]) for path in tmp_path.glob("checkpoint-*"))
    state = json.loads((tmp_path / f"checkpoint-{steps}" / "trainer_state.json").read_text())
    assert state["global_step"] == steps
    epochs = state["epoch"] + 1
    resumed = script(*options, "--num_train_epochs", epochs, "--resume_from_checkpoint", "true")
    finished = subprocess.run(resumed, capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "trainer_state.json").read_text())["global_step"] > steps
