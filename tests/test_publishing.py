"""A trained checkpoint goes to a Hub and comes back: complete, private, in one piece, without a secret in it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import transformers.utils.hub
from helpers.hub_server import TOKEN, Hub
from helpers.remote import REMOTE
from helpers.tiny import tiny_model, tiny_processor
from helpers.tones import script, write_recipe, write_tones
from transformers import AutoModelForAudioClassification, AutoProcessor
from typer.testing import CliRunner

from drkf_cli import app
from modeling_drkf import DRKFTrainer, DRKFTrainingArguments
from modeling_drkf.release.hub import PublishError, publish, published_files
from modeling_drkf.release.loading import training_data_of

REPO = "ann/tones"
TEXT = "hurry up now"

LOAD = (
    f"""
TEXT = {TEXT!r}
"""
    + """
import numpy, torch
from transformers import AutoModel, AutoModelForAudioClassification, AutoProcessor

repo, revisions, clip, target = sys.argv[1], sys.argv[2].split(","), numpy.load(sys.argv[3]), sys.argv[4]
scores = {}
for revision in revisions:
    options = {"revision": revision, "trust_remote_code": True}
    processor = AutoProcessor.from_pretrained(repo, **options)
    model = AutoModelForAudioClassification.from_pretrained(repo, **options).eval()
    base = AutoModel.from_pretrained(repo, **options).eval()
    assert type(model).__module__.startswith("transformers_modules."), type(model).__module__
    inputs = processor(audio=clip, text=TEXT, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        scores[revision] = {"logits": model(**inputs).logits, "fused": base(**inputs).pooler_output}
torch.save(scores, target)
"""
)


def scores(folder: Path, clip: Path) -> dict[str, torch.Tensor]:
    """What the installed package computes from a folder."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    inputs = processor(audio=np.load(clip), text=TEXT, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        return {"logits": model(**inputs).logits, "fused": model.drkf(**inputs).pooler_output}


@dataclass
class Published:
    """A run that `train_drkf.py --push_to_hub` has published at every save and at its end."""

    hub: Hub
    folder: Path
    output: str

    def environment(self, home: str, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return kept | {
            "HF_ENDPOINT": self.hub.address,
            "HF_HOME": str(self.folder / home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "OMP_NUM_THREADS": "1",
            **more,
        }

    @property
    def clip(self) -> Path:
        return self.folder / "clip.npy"

    @property
    def shas(self) -> list[str]:
        """Of every commit after the empty first one."""
        return list(self.hub.repositories[REPO].commits)[1:]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    server = Hub()
    yield server
    server.close()


@pytest.fixture(scope="module")
def published(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    manifest, recipe = write_tones(folder), write_recipe(folder)
    np.save(folder / "clip.npy", np.random.default_rng(0).normal(size=6000).astype(np.float32) * 0.1)
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").write_text("to be kept here")
    run = Published(hub, folder, "")
    command = script(
        recipe, "--manifest", manifest, "--output_dir", folder / "out", "--skip_damaged", "all", "--push_to_hub",
        "--hub_model_id", REPO, "--hub_token", TOKEN, "--hub_strategy", "every_save", "--save_total_limit", 5,
        "--pictures", "true",
    )  # fmt: skip
    (folder / "dan_calm_0.wav").write_bytes(b"")
    done = subprocess.run(command, env=run.environment("home"), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    run.output = done.stdout + done.stderr
    return run


@pytest.fixture
def connected(published: Published, monkeypatch: pytest.MonkeyPatch) -> Published:
    """This process talks to the Hub on the loopback interface, too."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", published.hub.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)  # it remembers the address
    return published


@pytest.fixture(scope="module")
def interrupted(published: Published) -> Published:
    """A push of other weights, during whose commit the connection broke."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "ENDPOINT", published.hub.address)
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        patch.setattr(published.hub, "drop_commits", True)
        checkpoint = published.folder / "out" / "checkpoint-4"
        with pytest.raises(PublishError, match=f"Try again with: drkf push {checkpoint} {REPO}"):
            publish(checkpoint, REPO, token=TOKEN)
    return published


@pytest.fixture(scope="module")
def loaded(interrupted: Published) -> dict[str, dict[str, torch.Tensor]]:
    """What a stranger computes from `main` and from the two commits before, by revision."""
    return stranger_scores(interrupted, "main", *interrupted.shas[:2])


def stranger_scores(published: Published, *revisions: str) -> dict[str, dict[str, torch.Tensor]]:
    """By revision, what a process without the package and with empty caches computes from the repository."""
    target = published.folder / "scores.pt"
    command = [sys.executable, "-I", "-W", "ignore", "-c", REMOTE + LOAD]
    command += [REPO, ",".join(revisions), str(published.clip), str(target)]
    shutil.rmtree(published.folder / "stranger", ignore_errors=True)
    environment = published.environment("stranger", HF_TOKEN=TOKEN)
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, env=environment, cwd=published.folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(target)


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(actual[name], value)] == []


def test_the_repository_is_private(published: Published):
    assert published.hub.repositories[REPO].private


def test_every_revision_is_complete_and_holds_nothing_else(published: Published):
    code = {file.name for file in (published.folder / "out").glob("*.py")} - {"__init__.py"}
    assert {"modeling_drkf.py", "processing_drkf.py"} <= code
    loads = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    loads |= {"requirements.txt"}
    judged = {"metrics.json", "training_data.json"} | {
        picture.name for picture in (published.folder / "out").glob("*.png")
    }
    assert {"loss_curves.png", "test_confusion_matrix.png"} <= judged
    always = {".gitattributes", "README.md"} | loads | code
    revisions = [set(published.hub.files(REPO, sha)) for sha in published.shas[:3]]
    assert revisions == [always, always, always | judged]


def test_revisions_come_at_every_save_and_at_the_end(published: Published):
    assert published.hub.repositories[REPO].messages[1:4] == [
        "Training in progress, step 2",
        "Training in progress, step 4",
        "DRKF on clips, fold speaker_disjoint_split, seed 42",
    ]
    cards = [published.hub.files(REPO, sha)["README.md"].decode() for sha in published.shas[:3]]
    assert ["before any test" in card for card in cards] == [True, True, False]
    assert f"/{REPO}/commit/{published.shas[2]}" in published.output


def test_the_card_loads_from_the_repository(published: Published):
    card = published.hub.files(REPO, published.shas[2])["README.md"].decode()
    assert card.count(f'from_pretrained("{REPO}"') == 2
    assert card.count(f'model="{REPO}"') == 1
    assert '"."' not in card


def test_no_utterance_is_named(published: Published):
    local = json.loads((published.folder / "out" / "metrics.json").read_text())
    assert local["excluded"] == {"unreadable_audio": ["dan_calm_0.wav"]}
    files = published.hub.files(REPO, published.shas[2])
    assert json.loads(files["metrics.json"]) == local | {"excluded": {"unreadable_audio": 1}}
    assert len(json.loads(files["training_data.json"])["train"]["utterances"]) == local["fold"]["train"]
    assert not re.search(rb"wav|ada|bob|cleo|dan", files["training_data.json"].replace(b"validation", b""))


def test_the_token_is_in_no_file_and_in_no_output(published: Published):
    assert {token for method, _, token in published.hub.requests if method == "POST"} == {TOKEN}
    secret = TOKEN.encode()
    local = [path for path in published.folder.rglob("*") if path.is_file()]
    assert any(path.name == "training_args.bin" for path in local)
    assert [path for path in local if secret in path.read_bytes()] == []
    commits = published.hub.repositories[REPO].commits.values()
    assert [name for files in commits for name, content in files.items() if secret in content] == []
    assert TOKEN not in published.output


def test_a_stranger_computes_the_same_from_the_repository(published: Published, loaded):
    assert_same(loaded["main"], scores(published.folder / "out", published.clip))


def test_a_pinned_revision_gives_its_own_weights(published: Published, loaded):
    first, second = (scores(published.folder / "out" / f"checkpoint-{steps}", published.clip) for steps in (2, 4))
    assert_same(loaded[published.shas[0]], first)
    assert_same(loaded[published.shas[1]], second)
    assert not torch.equal(first["logits"], second["logits"])


def test_a_broken_connection_leaves_the_previous_revision(interrupted: Published):
    assert interrupted.hub.repositories[REPO].branches["main"] == interrupted.shas[2]


@pytest.mark.slow
def test_a_killed_push_leaves_the_previous_revision(published: Published, monkeypatch: pytest.MonkeyPatch):
    """The process is killed after the Hub has received the commit, before it has made it."""
    monkeypatch.setattr(published.hub, "hold_commits", True)
    command = [sys.executable, "-c", "from drkf_cli import app; app()"]
    command += ["push", str(published.folder / "out" / "checkpoint-4"), REPO]
    process = subprocess.Popen(
        command, env=published.environment("home", HF_TOKEN=TOKEN), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert published.hub.commit_arrived.wait(120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        published.hub.release.set()
    assert process.returncode == -signal.SIGKILL
    assert published.hub.repositories[REPO].branches["main"] == published.shas[2]
    assert_same(stranger_scores(published, "main")["main"], scores(published.folder / "out", published.clip))


def test_a_refused_token_is_told_without_telling_it(connected: Published):
    with pytest.raises(PublishError, match="401") as refusal:
        publish(connected.folder / "out", "ann/other", token="hf_wrong")
    assert "hf_wrong" not in str(refusal.value)
    assert "ann/other" not in connected.hub.repositories


def test_predictions_are_published_on_request_and_go_with_their_weights(connected: Published):
    out = connected.folder / "out"
    publish(out, "ann/open", token=TOKEN, private=False, predictions=True)
    assert not connected.hub.repositories["ann/open"].private
    files = connected.hub.files("ann/open")
    assert files["test_predictions.csv"] == (out / "test_predictions.csv").read_bytes()
    assert "fold.json" in files
    publish(out / "checkpoint-2", "ann/open", token=TOKEN)
    left = connected.hub.files("ann/open").keys()
    assert left.isdisjoint({"test_predictions.csv", "validation_predictions.csv", "fold.json", "metrics.json"})
    assert "training_data.json" not in left
    assert "model.safetensors" in left


def test_drkf_push_publishes_a_folder(connected: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = CliRunner().invoke(app, ["push", str(connected.folder / "out"), "ann/pushed"])
    assert done.exit_code == 0, done.output
    repository = connected.hub.repositories["ann/pushed"]
    assert repository.private
    assert f"ann/pushed/commit/{repository.branches['main']}" in done.stdout
    assert connected.hub.files("ann/pushed").keys() == connected.hub.files(REPO, connected.shas[2]).keys()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    template = f"{connected.hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert training_data_of("ann/pushed") == training_data_of(connected.folder / "out") is not None
    assert training_data_of("ann/nowhere") is None
    refused = CliRunner().invoke(app, ["push", str(tmp_path), "ann/nothing"])
    assert refused.exit_code == 1
    assert "is no complete checkpoint" in refused.stderr
    assert "ann/nothing" not in connected.hub.repositories
    impossible = CliRunner().invoke(app, ["push", str(connected.folder / "out"), "not/a/repository"])
    assert impossible.exit_code == 1
    assert "not/a/repository is not the id of a Hub repository" in impossible.stderr


def test_a_trainer_publishes_what_it_would_save(connected: Published, tmp_path: Path):
    arguments = DRKFTrainingArguments(str(tmp_path), hub_model_id="ann/library", hub_token=TOKEN)
    trainer = DRKFTrainer(tiny_model(), arguments, processing_class=tiny_processor())
    trainer.push_to_hub()
    assert connected.hub.repositories["ann/library"].private
    files = connected.hub.files("ann/library")
    assert files["model.safetensors"] == (tmp_path / "model.safetensors").read_bytes()
    assert "published before any test" in files["README.md"].decode()


def test_training_does_not_start_where_the_hub_refuses(connected: Published, tmp_path: Path):
    arguments = DRKFTrainingArguments(str(tmp_path), push_to_hub=True, hub_model_id="ann/no", hub_token="hf_wrong")
    with pytest.raises(PublishError, match="ann/no cannot be written to") as refusal:
        DRKFTrainer(tiny_model(), arguments, processing_class=tiny_processor())
    assert "hf_wrong" not in str(refusal.value)


def test_a_branch_is_made_and_main_stays(connected: Published):
    before = connected.hub.repositories[REPO].branches["main"]
    commit = publish(connected.folder / "out", REPO, token=TOKEN, revision="fold-2", predictions=True)
    assert connected.hub.repositories[REPO].branches == {"main": before, "fold-2": commit.oid}


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("config.json", "no complete checkpoint: config.json missing"),
        ("processor_config.json", "no complete checkpoint: processor_config.json missing"),
        ("model.safetensors", "lacks model.safetensors"),
        ("losses_drkf.py", "lacks losses_drkf.py"),
        ("loss_curves.png", "lacks loss_curves.png"),
    ],
)
def test_an_incomplete_folder_is_refused(published: Published, tmp_path: Path, gone: str, message: str):
    folder = tmp_path / "run"
    shutil.copytree(published.folder / "out", folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    (folder / gone).unlink()
    with pytest.raises(PublishError, match=message):
        published_files(folder)


def test_optional_files_are_published_where_they_exist(published: Published, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(published.folder / "out", folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    plain = {file.name for file in published_files(folder)}
    for name in ("model.onnx", "clip.wav", "secret.json", "private.py"):
        (folder / name).write_text("")
    more = {file.name for file in published_files(folder)}
    assert {"handler.py", "requirements.txt"} <= plain
    assert more - plain == {"model.onnx"}


def test_resume_states_are_not_for_the_hub(tmp_path: Path):
    with pytest.raises(ValueError, match="'end' or 'every_save', not 'checkpoint'"):
        DRKFTrainingArguments(str(tmp_path), hub_strategy="checkpoint")
