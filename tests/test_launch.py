"""Several processes that train one model, as `accelerate launch` starts them: the figures of one, every row once."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas
import pytest
import yaml
from accelerate.state import DistributedType, PartialState
from helpers.faults import spoil
from helpers.forked import train, train_together
from helpers.tones import RECIPE, script, write_recipe, write_tones
from transformers import AutoModelForAudioClassification

from modeling_drkf.training.checkpoints import require_complete
from modeling_drkf.training.processes import require_joined

ROOT = Path(__file__).resolve().parents[1]
DDP = ROOT / "model_cards" / "recipes" / "accelerate" / "ddp.yaml"
DEEPSPEED = DDP.with_name("deepspeed.yaml")
STILL = {
    "audio_encoder": RECIPE["audio_encoder"] | {  # type: ignore[operator]
        "hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0,
        "conformer_conv_dropout": 0.0, "layerdrop": 0.0, "final_dropout": 0.0,
    },
    "text_encoder": RECIPE["text_encoder"] | {  # type: ignore[operator]
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    },
    "drkf": RECIPE["drkf"] | {"fusion_dropout": 0.0, "classifier_dropout": 0.0},  # type: ignore[operator]
    "logging_steps": 1,
    "per_device_eval_batch_size": 4,  # six rows to validate and to test: the last batches are filled up
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_tones(folder, takes=3)
    write_recipe(folder, **STILL)
    return folder


def options(corpus: Path, output: Path) -> list[object]:
    return [corpus / "tiny.yaml", "--manifest", corpus / "clips.csv", "--output_dir", output]


def history(run: Path, kind: str) -> list[dict[str, float]]:
    log = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return [
        {name: value for name, value in entry.items() if name.endswith("loss") or name == "step"}
        for entry in log
        if kind in entry
    ]


@pytest.fixture(scope="module")
def alone(corpus: Path) -> Path:
    """One process, with batches of four."""
    status, said = train(*options(corpus, corpus / "alone"), "--use_cpu", log=corpus / "alone.log")
    assert status == 0, said
    return corpus / "alone"


@pytest.fixture(scope="module")
def together(corpus: Path) -> Path:
    """Two processes, with batches of two each."""
    command = [*options(corpus, corpus / "together"), "--gather_across_processes", "--per_device_train_batch_size", 2]
    for status, said in train_together(*command, log=corpus / "together.log"):
        assert status == 0, said
    return corpus / "together"


def test_two_processes_train_as_one(alone: Path, together: Path):
    """Dropout is off. What is left are sums in another order."""
    expected, logged = history(alone, "loss"), history(together, "loss")
    assert len(logged) == len(expected) == 6
    for step, (one, two) in enumerate(zip(expected, logged, strict=True)):
        assert two == pytest.approx(one, rel=2e-3), f"step {step}"
    weights = [
        dict(AutoModelForAudioClassification.from_pretrained(run).named_parameters()) for run in (alone, together)
    ]
    largest = max((weights[0][name] - weights[1][name]).abs().max().item() for name in weights[0])
    assert largest < 2e-3, "the learning rate is 3e-3: none is even one step apart"


def test_evaluation_counts_every_utterance_once(corpus: Path, alone: Path, together: Path):
    """The last batch of the second process holds two rows and two that fill it up."""
    expected, logged = history(alone, "eval_loss"), history(together, "eval_loss")
    assert [set(entry) for entry in logged] == [set(entry) for entry in expected]
    for one, two in zip(expected, logged, strict=True):
        assert two == pytest.approx(one, rel=2e-3)
    for split in ("validation", "test"):
        one, two = (pandas.read_csv(run / f"{split}_predictions.csv") for run in (alone, together))
        assert two.utterance_id.tolist() == one.utterance_id.tolist()
        assert two.utterance_id.is_unique
        assert two[["probability_calm", "consistency"]].to_numpy() == pytest.approx(
            one[["probability_calm", "consistency"]].to_numpy(), abs=1e-3
        )
        losses = [json.loads((run / "metrics.json").read_text())[split]["losses"] for run in (alone, together)]
        assert losses[1] == pytest.approx(losses[0], rel=2e-3)


@pytest.mark.slow
def test_evaluation_is_the_same_but_for_rounding_whatever_the_number_of_processes(
    corpus: Path, alone: Path, tmp_path: Path
):
    """No training: the weights are the same. Batches of two: one process has a batch of nothing but filling."""
    more = ["--model_name_or_path", alone, "--learning_rate", 0, "--num_train_epochs", 1, "--eval_on_start"]
    more += ["--per_device_eval_batch_size", 2]
    assert train(*options(corpus, tmp_path / "one"), *more, "--use_cpu", log=tmp_path / "log")[0] == 0
    command = [*options(corpus, tmp_path / "two"), *more, "--gather_across_processes"]
    for status, said in train_together(*command, log=tmp_path / "log"):
        assert status == 0, said
    expected = history(tmp_path / "one", "eval_loss")
    for one, two in zip(expected, history(tmp_path / "two", "eval_loss"), strict=True):
        assert {**two, "step": 0} == pytest.approx({**one, "step": 0}, rel=1e-5)


def test_processes_with_different_corpora_do_not_train(corpus: Path, tmp_path: Path):
    write_tones(tmp_path, takes=2)
    last = ["--manifest", tmp_path / "clips.csv"]
    for status, said in train_together(*options(corpus, tmp_path / "out"), log=tmp_path / "log", last=last):
        assert status == 1
        assert "error: the corpus of process 2 is not that of process 1" in said
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.slow
def test_all_processes_stop_and_name_the_utterance_that_one_of_them_read(corpus: Path, alone: Path, tmp_path: Path):
    utterance = json.loads((alone / "fold.json").read_text())["folds"][0]["train"][3]
    command = [*options(corpus, tmp_path / "out"), "--per_device_train_batch_size", 2, "--gather_across_processes"]
    for status, said in train_together(*command, log=tmp_path / "log", fault=partial(spoil, utterance)):
        assert status == 1
        assert "contrastive_loss is nan" in said
        assert "classification_loss is nan" in said
        assert f"for utterance {utterance};" in said
        assert "Traceback" not in said


@pytest.mark.slow
def test_accelerate_launches_two_processes(corpus: Path, tmp_path: Path):
    """Twelve rows in batches of twice five: the last one is filled up in training, too."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(DDP)]
    train = script(corpus / "tiny.yaml", "--use_cpu", "--per_device_train_batch_size", 5)[1:]
    whole = ["--manifest", str(corpus / "clips.csv"), "--output_dir", str(tmp_path / "out")]
    done = subprocess.run([*launch, *train, *whole], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Model, metrics and card:") == 1
    assert [entry["step"] for entry in history(tmp_path / "out", "eval_loss")] == [2, 4]
    fold = json.loads((tmp_path / "out" / "fold.json").read_text())["folds"][0]
    for split in ("validation", "test"):
        table = pandas.read_csv(tmp_path / "out" / f"{split}_predictions.csv")
        assert table.utterance_id.tolist() == fold[split]
        recorded = json.loads((tmp_path / "out" / "metrics.json").read_text())[split]
        assert recorded["weighted_accuracy"] == pytest.approx((table.label == table.prediction).mean())
    require_complete(tmp_path / "out" / "checkpoint-4")
    absent = ["--manifest", "nowhere.csv", "--output_dir", str(tmp_path / "other")]
    failed = subprocess.run([*launch, *train, *absent], capture_output=True, text=True, timeout=300)
    assert failed.returncode == 1
    assert "error: " in failed.stderr
    assert "nowhere.csv" in failed.stderr


def pretend_accelerators() -> None:
    """Accelerate refuses to shard on CPUs only because it names several of them otherwise."""
    joined = ("gloo", DistributedType.MULTI_GPU)
    PartialState._prepare_backend = lambda self, cpu=False, sagemaker_dp=False, backend=None: joined


@pytest.mark.slow
def test_sharded_training_resumes_to_the_same_weights_and_saves_a_whole_model(corpus: Path, tmp_path: Path):
    sharding = yaml.safe_load((DDP.parent / "fsdp.yaml").read_text())["fsdp_config"]
    environment = {name.upper(): str(value) for name, value in sharding.items()}
    environment |= {"ACCELERATE_USE_FSDP": "true", "ACCELERATE_USE_CPU": "false", "ACCELERATE_TORCH_DEVICE": "cpu"}
    command = [*options(corpus, tmp_path / "out"), "--gather_across_processes", "--resume_from_checkpoint", "true"]
    weights = []
    for _ in range(2):
        runs = train_together(*command, log=tmp_path / "log", environment=environment, fault=pretend_accelerators)
        assert [status for status, _ in runs] == [0, 0], runs[0][1]
        require_complete(tmp_path / "out" / "checkpoint-4")
        assert (tmp_path / "out" / "checkpoint-4" / "pytorch_model_fsdp.bin").is_file()
        weights.append((tmp_path / "out" / "model.safetensors").read_bytes())
        (tmp_path / "out" / "model.safetensors").unlink()
        shutil.rmtree(tmp_path / "out" / "checkpoint-4")
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_deepspeed_trains_as_one_process_and_resumes_to_the_same_weights(corpus: Path, alone: Path, tmp_path: Path):
    pytest.importorskip("deepspeed", reason="DeepSpeed is in the extra `deepspeed`")
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed builds its operators for CPUs with g++, and there is none")
    binaries = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # ninja is there
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "PATH": binaries}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(DEEPSPEED)]
    more = ["--use_cpu", "--gather_across_processes", "--per_device_train_batch_size", 2]
    command = [*launch, *script(*options(corpus, tmp_path / "out"), *more, "--resume_from_checkpoint", "true")[1:]]
    weights = []
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        require_complete(tmp_path / "out" / "checkpoint-6")
        assert len(list((tmp_path / "out" / "checkpoint-6" / "global_step6").glob("*optim_states.pt"))) == 2
        weights.append((tmp_path / "out" / "model.safetensors").read_bytes())
        for kind in ("loss", "eval_loss"):
            logged = history(tmp_path / "out", kind)
            for one, two in zip(history(alone, kind), logged, strict=True):
                assert two == pytest.approx(one, rel=2e-3)
        (tmp_path / "out" / "model.safetensors").unlink()
        shutil.rmtree(tmp_path / "out" / "checkpoint-6")
    assert weights[0] == weights[1]


def test_processes_that_are_not_joined_do_not_train(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    require_joined(2)
    with pytest.raises(ValueError, match="2 processes were launched, but they are not joined"):
        require_joined(1)
