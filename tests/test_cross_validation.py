"""Cross-validation as one command: folds and seeds in folders of their own, resumable, mergeable; Table 4; recipes."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
import yaml
from helpers.tones import RECIPE, SPEAKERS, write_recipe, write_tones
from rich.console import Console
from transformers import AutoModelForAudioClassification
from typer.testing import CliRunner

from drkf_cli import app
from drkf_cli.ablate import row_command
from model_cards import starter_folder
from modeling_drkf.experiments.options import chosen_options, parse_arguments
from modeling_drkf.release.licences import encoder_licence
from processing.evaluation.paper import TABLE_4
from processing.evaluation.results import merge_runs, results_table, run_folder_name
from train_drkf import main

PROTOCOL = ["--protocol", "leave_one_speaker_out"]
SCALARS = ("unweighted_accuracy", "weighted_accuracy", "weighted_f1", "macro_f1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cross_validation")
    write_tones(folder, takes=3)
    write_recipe(folder)
    return folder


def command(data: Path, out: Path, *options: object) -> list[str]:
    recipe, manifest = data / "tiny.yaml", data / "clips.csv"
    return [str(recipe), "--manifest", str(manifest), *PROTOCOL, "--output_dir", str(out), *map(str, options)]


@pytest.fixture(scope="module")
def all_folds(data: Path) -> Path:
    out = data / "all"
    assert main(command(data, out, "--seed", 0, "--folds", "all", "--seeds", 0, 1)) == 0
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return AutoModelForAudioClassification.from_pretrained(run).state_dict()


def cli(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def test_every_fold_and_seed_has_its_run(all_folds: Path):
    results = json.loads((all_folds / "results.json").read_text())
    assert results["folds"] == list(SPEAKERS)
    assert (results["seeds"], results["missing"], results["selection"]) == ([0, 1], [], "validation")
    assert [(run["fold"], run["seed"]) for run in results["runs"]] == [(s, seed) for s in SPEAKERS for seed in (0, 1)]
    assert results["same_initial_weights"]
    for run in results["runs"]:
        record = json.loads((all_folds / run["folder"] / "metrics.json").read_text())
        assert (record["fold"]["name"], record["seed"]) == (run["fold"], run["seed"])
        assert {name: run[name] for name in SCALARS} == {name: record["test"][name] for name in SCALARS}
    table = pandas.read_csv(all_folds / "results.csv")
    assert table.unweighted_accuracy.tolist() == [run["unweighted_accuracy"] for run in results["runs"]]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda row: row + (",validation" if "ada" in row else ",train"), ["--seeds", "0", "1"], "official has none"),
        (
            lambda row: row.replace(",dan", ",dan--"),
            [*PROTOCOL, "--folds", "all", "--push_to_hub", "--hub_model_id", "me/mine"],
            "me/mine-dan---seed42'. Leave --push-to-hub out",
        ),
    ],
)
def test_runs_that_could_not_be_merged_are_not_trained(
    change, options: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    header, *rows = (data / "clips.csv").read_text().splitlines()
    changed = [change(row) for row in rows]
    split = ",split" if changed[0].count(",") > header.count(",") else ""
    paths = [f"{data}/{row}" for row in changed]
    (tmp_path / "clips.csv").write_text("\n".join([header + split, *paths]))
    command = [str(data / "tiny.yaml"), "--manifest", str(tmp_path / "clips.csv"), "--output_dir", str(tmp_path / "o")]
    assert main([*command, *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_the_tables_take_names_in_brackets(all_folds: Path):
    results = json.loads((all_folds / "results.json").read_text())
    results["corpus"] = results["runs"][0]["fold"] = "[/x][y]"
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(results_table(results))
    assert console.export_text().count("[/x][y]") == 2


def test_mean_deviation_and_interval_are_over_folds(all_folds: Path):
    results = json.loads((all_folds / "results.json").read_text())
    figures = pandas.DataFrame(results["runs"]).pivot(index="fold", columns="seed", values="weighted_accuracy")
    metric = results["metrics"]["weighted_accuracy"]
    per_fold = [(figures.loc[fold, 0] + figures.loc[fold, 1]) / 2 for fold in SPEAKERS]
    mean = sum(per_fold) / 4
    assert metric["mean"] == pytest.approx(mean)
    assert metric["std"] == pytest.approx((sum((f - mean) ** 2 for f in per_fold) / 3) ** 0.5)
    by_seed = [figures[seed].mean() for seed in (0, 1)]
    assert metric["seed_std"] == pytest.approx(abs(by_seed[0] - by_seed[1]) / 2**0.5)
    rng = np.random.default_rng(5)
    draws = np.zeros(2000)
    for run in results["runs"]:
        table = pandas.read_csv(all_folds / run["folder"] / "test_predictions.csv")
        right = (table.label == table.prediction).to_numpy()
        draws += right[rng.integers(0, len(right), (2000, len(right)))].mean(axis=1) / len(results["runs"])
    assert metric["interval"] == pytest.approx(np.quantile(draws, (0.025, 0.975)).tolist(), abs=0.03)


def test_a_fold_alone_is_the_fold_of_the_whole(all_folds: Path, data: Path, tmp_path: Path):
    assert main(command(data, tmp_path / "cleo", "--fold", 3, "--seed", 1)) == 0
    runs = (all_folds / "cleo-seed1", tmp_path / "cleo")
    together, apart = (json.loads((run / "metrics.json").read_text()) for run in runs)
    assert together | {"train_seconds": 0} == apart | {"train_seconds": 0}
    for name, tensor in weights(tmp_path / "cleo").items():
        assert torch.equal(tensor, weights(all_folds / "cleo-seed1")[name]), name


def test_runs_from_several_machines_are_merged(all_folds: Path, tmp_path: Path):
    for number, speaker in enumerate(SPEAKERS):
        for seed in (0, 1):
            name = run_folder_name(speaker, seed)
            shutil.copytree(all_folds / name, tmp_path / f"machine{number % 2}" / name)
    machines = (tmp_path / "machine0", tmp_path / "machine1")
    status, out, err = cli("results", *machines, "--output-dir", tmp_path / "merged")
    assert status == 0, err
    whole, merged = (json.loads((folder / "results.json").read_text()) for folder in (all_folds, tmp_path / "merged"))
    assert merged == whole
    assert f"{whole['metrics']['unweighted_accuracy']['mean']:.3f}" in out
    status, out, _ = cli("results", machines[0])
    assert status == 0
    assert "not run: bob, seed 0, bob, seed 1, dan, seed 0, dan, seed 1" in out


def test_runs_that_do_not_belong_together_are_refused(all_folds: Path, data: Path, tmp_path: Path):
    shutil.copytree(all_folds / "ada-seed0", tmp_path / "twice" / "ada")
    status, _, err = cli("results", all_folds, tmp_path / "twice")
    assert (status, "fold ada with seed 0 was run more than once" in err) == (1, True)
    other = tmp_path / "other" / "bob"
    assert main(command(data, other, "--fold", "bob", "--learning_rate", 0.001)) == 0
    status, _, err = cli("results", tmp_path / "twice", tmp_path / "other")
    assert (status, "learning_rate (0.003 and 0.001)" in err) == (1, True)
    status, _, err = cli("results", tmp_path)
    assert status == 1
    shutil.copytree(all_folds / "cleo-seed0", tmp_path / "holes")
    record = json.loads((tmp_path / "holes" / "metrics.json").read_text()) | {
        "excluded": {"missing_audio": ["a", "b"]}
    }
    (tmp_path / "holes" / "metrics.json").write_text(json.dumps(record))
    status, _, err = cli("results", tmp_path / "twice", tmp_path / "holes")
    assert (status, "left out ({} and {'missing_audio': 2})" in err) == (1, True)
    status, _, err = cli("results", tmp_path / "holes", "--output-dir", tmp_path / "merged")
    assert "missing audio: 2 utterances left out" in (tmp_path / "merged" / "README.md").read_text()
    status, _, err = cli("results", data / "nowhere")
    assert (status, "nowhere is no folder" in err) == (1, True)


def test_nothing_is_trained_twice_and_nothing_overwritten(all_folds: Path, data: Path, tmp_path: Path, capsys):
    out = tmp_path / "half"
    for speaker in SPEAKERS[:3]:
        shutil.copytree(all_folds / f"{speaker}-seed0", out / f"{speaker}-seed0")
    (out / "cleo-seed0" / "metrics.json").unlink()  # this fold was stopped after its last checkpoint
    untouched = (out / "ada-seed0" / "model.safetensors").stat().st_mtime_ns
    assert main(command(data, out, "--seed", 0, "--folds", "all")) == 1
    assert "holds a finished run" in capsys.readouterr().err
    assert main(command(data, out, "--seed", 0, "--folds", "all", "--resume_from_checkpoint", "true")) == 0
    assert capsys.readouterr().out.count("done before") == 2
    assert (out / "ada-seed0" / "model.safetensors").stat().st_mtime_ns == untouched
    runs = {run["fold"]: run for run in json.loads((out / "results.json").read_text())["runs"]}
    expected = {r["fold"]: r for r in json.loads((all_folds / "results.json").read_text())["runs"] if r["seed"] == 0}
    assert runs == expected


def test_selection_on_the_test_part_is_stamped(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    options = ("--folds", "ada", "--selection", "test", "--num_train_epochs", 1)
    assert main(command(data, tmp_path, *options)) == 0
    assert "these figures are too good" in " ".join(capsys.readouterr().out.split())
    record = json.loads((tmp_path / "ada-seed42" / "metrics.json").read_text())
    assert record["selection"] == json.loads((tmp_path / "results.json").read_text())["selection"] == "test"
    assert record["fold"] == {"name": "ada", "speaker_disjoint": True, "train": 18, "test": 6}
    assert "validation" not in record
    for table in ("results.csv", "ada-seed42/test_predictions.csv"):
        assert set(pandas.read_csv(tmp_path / table).selection) == {"test"}
    for card in ("README.md", "ada-seed42/README.md"):
        assert "Selected on the test part" in (tmp_path / card).read_text()
    options = [
        "--model",
        tmp_path / "ada-seed42",
        "--manifest",
        data / "clips.csv",
        "--output-dir",
        tmp_path / "again",
    ]
    status, _, err = cli("evaluate", *options)
    assert (status, "these figures are too good" in err) == (0, True)
    assert set(pandas.read_csv(tmp_path / "again" / "test_predictions.csv").selection) == {"test"}


@pytest.fixture(scope="module")
def ablation(data: Path) -> Path:
    out = data / "ablation"
    options = command(
        data, out, "--fold", "ada", "--max_steps", 2, "--save_strategy", "steps", "--eval_strategy", "steps"
    )
    options[options.index("--output_dir")] = "--output-dir"  # argparse takes both
    status, printed, err = cli("ablate", *options)
    assert status == 0, err
    (data / "printed.txt").write_text(printed)
    return out


def test_the_six_rows_of_table_4_train(ablation: Path, data: Path):
    initial = set()
    for row in TABLE_4:
        config = json.loads((ablation / row.name / "config.json").read_text())
        switches = yaml.safe_load((RECIPES / f"table4_{row.name}.yaml").read_text())["drkf"]
        assert {key: config[key] for key in switches} == switches
        assert config["hidden_size"] == RECIPE["drkf"]["hidden_size"]  # the row adds to the recipe's fields
        record = json.loads((ablation / row.name / "metrics.json").read_text())
        initial.add(record["initial_weights"])
        state = json.loads((ablation / row.name / "trainer_state.json").read_text())
        assert state["global_step"] == 2
    assert len(initial) > 1
    table = pandas.read_csv(ablation / "ablation.csv")
    assert table.row.unique().tolist() == [row.name for row in TABLE_4]
    result = merge_runs([ablation / "cross"])["metrics"]["weighted_f1"]
    line = table[(table.row == "cross") & (table.metric == "weighted_f1")].iloc[0]
    assert (line["mean"], line.low, line.high) == (result["mean"], *result["interval"])
    assert all(row.title in (data / "printed.txt").read_text() for row in TABLE_4)


def test_an_ablation_goes_on_where_it_was_stopped(ablation: Path, data: Path, tmp_path: Path):
    copy = tmp_path / "ablation"
    for row in TABLE_4[:5]:
        shutil.copytree(ablation / row.name, copy / row.name)
    options = command(
        data, copy, "--fold", "ada", "--max_steps", 2, "--save_strategy", "steps", "--eval_strategy", "steps"
    )
    (copy / "cross" / "README.md").unlink()  # this row was stopped before its card, which is written last
    status, out, err = cli("ablate", *options, "--resume_from_checkpoint=true")
    assert (status, out.count("done before")) == (0, 4), err
    last, expected = (
        json.loads((folder / "drkf" / "metrics.json").read_text())["test"] for folder in (copy, ablation)
    )
    assert last == expected


def test_the_rows_go_into_folders_and_repositories_of_their_own(data: Path):
    options = ["--manifest", "x.csv", "--output_dir", "runs/mine", "--push_to_hub", "--hub_model_id", "me/mine"]
    commands = [row_command(row, [str(data / "tiny.yaml")], options) for row in TABLE_4]
    arguments = [parse_arguments(command)[-1] for command in commands]
    assert [a.output_dir for a in arguments] == [f"runs/mine/{row.name}" for row in TABLE_4]
    assert [a.hub_model_id for a in arguments] == [f"me/mine-{row.name}" for row in TABLE_4]


@pytest.mark.parametrize("options", [["--drkf", '{"fusion": "cross"}'], ["--modality", "speech"]])
def test_what_tells_the_rows_apart_cannot_be_set_for_all(options: list[str], data: Path, tmp_path: Path):
    status, _, err = cli("ablate", *command(data, tmp_path, *options))
    assert (status, "leave --modality and the switches of Table 4" in err) == (2, True)
    assert not list(tmp_path.iterdir())


def test_recipes_extend_and_follow_each_other(tmp_path: Path):
    (tmp_path / "base.yaml").write_text("learning_rate: 0.1\nseed: 7\ndrkf: {fusion: cross, hidden_size: 8}\n")
    (tmp_path / "top.yaml").write_text("extends: base.yaml\nlearning_rate: 0.2\ndrkf: {hidden_size: 16}\n")
    (tmp_path / "last.yaml").write_text("drkf: {num_fusion_heads: 2}\n")
    options = ["--audio_encoder", "a", "--text_encoder", "b", "--manifest", "x.csv", "--drkf", '{"hidden_size": 32}']
    model, _, training = parse_arguments([str(tmp_path / "top.yaml"), str(tmp_path / "last.yaml"), *options])
    assert (training.learning_rate, training.seed) == (0.2, 7)
    assert model.drkf == {"fusion": "cross", "hidden_size": 32, "num_fusion_heads": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: wrong.yaml", "extends itself"),
        ("extends: nowhere.yaml", "nowhere.yaml is neither a file nor one of"),
        ("extend: demo.yaml", "'extend' (did you mean 'extends'?"),
        ("- a list", "is not a mapping"),
        ("a: [", "is no YAML"),
        ("drkf: " + "{a: " * 900 + "1" + "}" * 900, "line 1: nested more than 12 levels deep"),
        ("seed: " + "[" * 20_000, "line 1: nested more than 12 levels deep"),
        ("a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]", "line 2: the alias *a; write out what it stands for"),
        ("#" * 300_000, "it has more than 262,144 bytes"),
        ("seed: [1]", "argument --seed: takes one value, not [1]"),
        ("metric_for_best_model: {a: 1}", "argument --metric-for-best-model: takes one value, not {'a': 1}"),
        ("accelerator_config: {evil: 1}", "unexpected keyword argument 'evil'"),
        ("text_encoder: {model_type: bert, num_hidden_layers: 10000000}", "num_hidden_layers is 1e+07; at most 1,000"),
        ("drkf: {hidden_size: 1000000000000}", "--drkf: hidden_size is 1e+12; at most 1,000,000"),
        ("feature_extractor: [1]", "--feature-extractor takes a mapping of fields, not [1]"),
        ("audio_encoder: {model_type: wav2vec2, attn_implementation: a/b}", "names code of the Hub, which is not run"),
        *(
            (f"drkf: {{fusion: self}}\n{text}", message)
            for text, message in (
                ("learning_rate: .nan", "learning_rate must be a finite number, got nan"),
                ("seed: -1", "seed must be in [0, 2**32), got -1"),
                ("seeds: [-1]", "--seeds and --split-seed take numbers in [0, 2**32), not -1"),
                ("per_device_train_batch_size: 0", "per_device_train_batch_size must be at least 1, got 0"),
                ("dataloader_num_workers: -1", "dataloader_num_workers must not be negative, got -1"),
            )
        ),
    ],
)
def test_wrong_recipes_are_told(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(SystemExit):
        parse_arguments(["paper.yaml", str(tmp_path / "wrong.yaml"), "--manifest", "x.csv"])
    assert message in capsys.readouterr().err


RECIPES = Path(__file__).resolve().parents[1] / "model_cards" / "recipes"


@pytest.mark.parametrize("name", ["iemocap", "meld", "m3ed"])
def test_corpus_recipes_have_the_papers_hyperparameters(name: str):
    model, data, training = parse_arguments([f"{name}.yaml", "--data_dir", "x"])
    assert (data.corpus, training.learning_rate, training.per_device_train_batch_size) == (name, 1e-5, 4)
    assert (training.num_train_epochs, training.optim.value) == (100, "adamw_torch")
    assert model.audio_encoder == "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
    assert (model.drkf["projection_size"], model.drkf["num_fusion_heads"]) == (1024, 8)


def test_a_zero_in_place_of_nothing_was_chosen():
    options = ["--audio_encoder", "a", "--text_encoder", "b", "--manifest", "x.csv", "--encoder_learning_rate", "0"]
    assert chosen_options(*parse_arguments(options))["encoder_learning_rate"] == 0.0


def test_finished_runs_of_other_options_are_not_taken_for_these(
    all_folds: Path, data: Path, capsys: pytest.CaptureFixture
):
    options = ["--folds", "all", "--seeds", 0, 1, "--resume_from_checkpoint", "true"]
    assert main(command(data, all_folds, *options, "--weight_decay", 0.5)) == 1
    assert "its options differ: weight_decay (None and 0.5)" in capsys.readouterr().err


def test_what_defines_an_experiment_is_what_was_chosen_and_no_place(tmp_path: Path):
    (tmp_path / "speech-encoder").mkdir()
    options = ["--audio_encoder", str(tmp_path / "speech-encoder"), "--text_encoder", "me/words"]
    options += ["--manifest", "x.csv", "--seed", "3", "--weight_decay", "0.5", "--output_dir", str(tmp_path)]
    expected = {"audio_encoder": "speech-encoder", "text_encoder": "me/words", "weight_decay": 0.5}
    assert chosen_options(*parse_arguments(options)) == expected


REPRESENTATIONS = {"CMIE": "cmie", "PCMI": "pcmi"}


@pytest.mark.parametrize("row", TABLE_4, ids=lambda row: row.name)
def test_the_rows_recipes_have_the_switches_of_their_titles(row):
    parts = row.title.split(", ")
    assert yaml.safe_load((RECIPES / f"table4_{row.name}.yaml").read_text()) == {
        "drkf": {
            "representation": next((REPRESENTATIONS[part] for part in parts if part in REPRESENTATIONS), "none"),
            "fusion": "cross" if "FE_c" in parts else "self",
            "emotion_discrimination": "ED" in parts,
            "discriminator": "fused",
        }
    }


def test_an_option_is_shown_with_dashes_and_read_with_either(capsys: pytest.CaptureFixture):
    dashes = ["paper.yaml", "--manifest", "x.csv", "--learning-rate", "0.5", "--freeze-text-encoder"]
    underscores = ["--" + name[2:].replace("-", "_") if name.startswith("--") else name for name in dashes]
    for spelling in (dashes, underscores):
        model, _, training = parse_arguments(spelling)
        assert (training.learning_rate, model.freeze_text_encoder) == (0.5, True)
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    shown = capsys.readouterr().out
    assert "--metric-for-best-model" in shown
    assert re.findall(r"--[a-z]+_[a-z_]+", shown) == []


def test_the_starter_may_be_gone_on_from_by_its_name():
    model, _, _ = parse_arguments(["--manifest", "x.csv", "--model-name-or-path", "starter"])
    assert model.model_name_or_path == str(starter_folder())
    assert encoder_licence(model.encoder_names["audio"]) == "cc-by-nc-sa-4.0"


def test_encoders_that_are_to_be_made_first_are_not_looked_for_on_the_hub(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    assert main(["starter.yaml", "--manifest", str(data / "clips.csv")]) == 1
    said = capsys.readouterr().err
    assert "there is no folder encoders/whisper here. `make encoders`" in said
    assert "--model-name-or-path starter" in said
    assert list(tmp_path.iterdir()) == []
