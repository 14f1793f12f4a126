"""The `drkf` command, run as users run it."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
import torch
from helpers.cli import drkf
from helpers.tiny import tiny_model, tiny_processor
from helpers.tones import write_tones
from typer import Typer
from typer.testing import CliRunner

from drkf_cli.command import Verbs
from processing.errors_drkf import OptionError
from processing.printable import printable_json


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_model(max_fusion_positions=600).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    soundfile.write(folder / "clip.wav", 0.1 * np.sin(np.arange(8000) / 9), 16000)
    return folder


def test_predict_says_what_the_model_says(checkpoint: Path):
    status, out, err = drkf("predict", checkpoint / "clip.wav", "--text", "so happy", "--model", checkpoint, "--json")
    assert status == 0, err
    answer = json.loads(out)
    model = tiny_model(max_fusion_positions=600)
    inputs = tiny_processor()(audio=checkpoint / "clip.wav", text="so happy", return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs, output_modality_attention=True)
    scores = dict(zip(model.config.label_names, output.logits.softmax(-1)[0].tolist(), strict=True))
    assert {score["label"]: score["score"] for score in answer["scores"]} == pytest.approx(scores, abs=1e-6)
    ranked = [score["score"] for score in answer["scores"]]
    assert ranked == sorted(ranked, reverse=True)
    assert answer["consistency"] == pytest.approx(output.consistency.item(), abs=1e-6)
    shares = dict(zip(("speech", "text"), output.modality_shares[0].tolist(), strict=True))
    assert answer["modality_shares"] == pytest.approx(shares, abs=1e-6)
    assert answer["dominant_modality"] == max(shares, key=shares.__getitem__)


def test_predict_shows_every_class(checkpoint: Path):
    status, out, _ = drkf("predict", checkpoint / "clip.wav", "--text", "good day", "--model", checkpoint)
    assert status == 0
    for shown in (
        *tiny_model(max_fusion_positions=600).config.label_names,
        "voice and words agree",
        "dominant modality",
        '"good day"',
    ):
        assert shown in out


@pytest.mark.parametrize("content", [b"", b"this is a text, not a sound", b"RIFF\x00\x00\x00\x00WAVE"])
def test_a_file_that_is_no_sound_is_an_error(checkpoint: Path, tmp_path: Path, content: bytes):
    (tmp_path / "fake.wav").write_bytes(content)
    status, _, err = drkf("predict", tmp_path / "fake.wav", "--text", "hm", "--model", checkpoint)
    assert status == 1
    assert "error: " in err
    assert "fake.wav" in err.split("error: ")[1]


def test_an_empty_text_is_answered_with_a_note(checkpoint: Path):
    status, out, err = drkf("predict", checkpoint / "clip.wav", "--text", "", "--model", checkpoint, "--json")
    assert (status, json.loads(out)["text"]) == (0, None)
    assert "rests on the voice alone" in err


def test_missing_files_are_errors(checkpoint: Path, tmp_path: Path):
    status, _, err = drkf("predict", tmp_path / "none.wav", "--text", "hm", "--model", checkpoint)
    assert (status, "none.wav" in err) == (1, True)
    status, _, err = drkf("predict", checkpoint / "clip.wav", "--text", "hm", "--model", tmp_path)
    assert (status, "error: " in err) == (1, True)


def test_doctor_distinguishes_a_sound_copy_from_a_damaged_one(tmp_path: Path):
    manifest = write_tones(tmp_path)
    status, out, _ = drkf("doctor", "--data-dir", manifest, "--output-dir", tmp_path / "report")
    assert status == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {count["value"]: count["usable"] for count in report["counts"]["class"]} == {"calm": 8, "tense": 8}
    assert (tmp_path / "report" / "durations.png").stat().st_size > 5000
    (tmp_path / "ada_calm_0.wav").write_bytes(b"nothing")
    status, out, _ = drkf("doctor", "--data-dir", manifest)
    assert status == 1
    assert "unreadable_audio: 1" in out
    status, _, _ = drkf("doctor", "--data-dir", manifest, "--skip-damaged", "unreadable_audio")
    assert status == 0


def test_prepare_writes_a_manifest_that_reads_the_same(tmp_path: Path):
    manifest = write_tones(tmp_path)
    status, out, _ = drkf("prepare", "--data-dir", manifest, "--output-dir", tmp_path / "flac")
    assert status == 0
    prepared = Path(out.split("Manifest: ")[1].replace("\n", "").strip())
    assert drkf("doctor", "--data-dir", prepared)[0] == 0
    wave, _ = soundfile.read(tmp_path / "ada_calm_0.wav")
    flac, rate = soundfile.read(prepared.parent / pandas.read_csv(prepared).audio[0])
    assert rate == 16000
    np.testing.assert_allclose(flac, wave, atol=1e-4)


def test_unknown_corpora_are_errors():
    status, _, err = drkf("doctor", "--corpus", "iemocapp", "--data-dir", ".")
    assert status == 1
    assert "iemocap" in err


def test_help_imports_nothing_heavy():
    code = "import sys; from drkf_cli import app\ntry: app(['--help'])\nfinally: print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "demo" in out
    for module in ("'torch'", "'transformers'", "'datasets'"):
        assert module not in out


def test_predict_imports_what_it_needs_and_keeps_the_collector_from_it():
    code = "import gc, sys; from drkf_cli import app\ntry: app(['predict', '--example'])\n"
    code += "finally: print(sorted(sys.modules), gc.isenabled(), gc.get_freeze_count() > 100_000)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("anger 0.")
    modules = out.splitlines()[-1]
    assert modules.endswith(" True True")
    for module in ("datasets", "sklearn", "pandas", "matplotlib", "pyarrow", "modeling_drkf.training"):
        assert f"'{module}'" not in modules


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "none.wav"],
        ["predict", "clip.wav", "--text-file", "none.txt"],
        ["predict", "clip.wav", "--segments", "none.srt"],
        ["predict", "clip.wav", "--model", "none"],
        ["predict", "clip.wav", "--model", "clip.wav"],
        ["predict", "clip.wav", "--model", "empty"],
        ["predict", "--manifest", "none.csv", "--output", "out.csv"],
        ["predict", "--manifest", "table.csv", "--output", "out.csv", "--model", "empty"],
        ["explain", "none.wav"],
        ["explain", "clip.wav", "--model", "empty"],
        ["evaluate", "--manifest", "table.csv", "--model", "empty"],
        ["app", "--model", "empty"],
        ["export", "onnx", "empty", "graph"],
        ["export", "space", "empty", "space"],
    ],
    ids=" ".join,
)
def test_missing_files_and_checkpoints_are_errors_before_torch_is_imported(tmp_path: Path, arguments: list[str]):
    (tmp_path / "clip.wav").write_bytes(b"")
    (tmp_path / "table.csv").write_text("audio,text,label\nclip.wav,oh,calm\n")
    (tmp_path / "empty").mkdir()
    code = f"import sys; from drkf_cli import app\ntry: app({arguments!r})\n"
    code += "finally: print([name for name in ('torch', 'transformers') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "[]\n"), run.stderr
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1
    assert any(word in run.stderr for word in ("none", "empty", "clip.wav"))


def test_a_folder_that_is_no_checkpoint_is_described(checkpoint: Path, tmp_path: Path):
    def error(model: Path) -> str:
        status, _, err = drkf("predict", checkpoint / "clip.wav", "--model", model)
        assert (status, err.count("\n")) == (1, 1), err
        return err

    assert "has no config.json" in error(tmp_path)
    inner = tmp_path / "run" / "best"
    inner.mkdir(parents=True)
    (inner / "config.json").write_text('{"model_type": null}')
    assert f"there is one in {inner}" in error(tmp_path / "run")
    assert "model_type in its config.json is null" in error(inner)
    (inner / "config.json").write_text("null")
    assert f"{inner / 'config.json'} is damaged" in error(inner)
    (inner / "config.json").write_text('{"model_type": "bert"}')
    assert "not a DRKF checkpoint" in error(inner)
    (inner / "config.json").write_text("{")
    assert f"{inner / 'config.json'} cannot be read" in error(inner)
    config = (checkpoint / "config.json").read_text()
    (inner / "config.json").write_text(config)
    assert "has no weights (model.safetensors)" in error(inner)
    (inner / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes()[:-100])
    assert f"{inner} has no processor_config.json" in error(inner)
    (inner / "processor_config.json").write_bytes((checkpoint / "processor_config.json").read_bytes())
    assert f"{inner}: the weights are damaged, or only half copied" in error(inner)
    for content in ("null", "[]", "{}", "{", ""):
        (inner / "tokenizer.json").write_text(content)
        assert str(inner / "tokenizer.json") in error(inner)


def test_errors_of_the_package_are_one_line_and_bugs_keep_their_traceback():
    verbs = Typer(cls=Verbs)

    @verbs.command()
    def mistaken() -> None:
        raise OptionError("no such file: \x1b[2Jclip.wav")

    @verbs.command()
    def wrong() -> None:
        raise ValueError("a bug")

    @verbs.command()
    def stopped() -> None:
        raise KeyboardInterrupt

    run = CliRunner().invoke(verbs, ["mistaken"])
    assert (run.exit_code, run.stderr) == (1, "error: no such file: \\x1b[2Jclip.wav\n")
    run = CliRunner().invoke(verbs, ["stopped"])
    assert (run.exit_code, run.stderr) == (130, "Stopped.\n")
    run = CliRunner().invoke(verbs, ["wrong"])
    assert isinstance(run.exception, ValueError)
    assert run.stderr == ""


def test_json_holds_a_files_error_and_stderr_does_not_repeat_it(checkpoint: Path, tmp_path: Path):
    (tmp_path / "bad.wav").write_text("no sound")
    status, out, err = drkf("predict", tmp_path / "bad.wav", "--model", checkpoint, "--json")
    assert (status, err) == (1, "")
    assert "bad.wav" in json.loads(out)["error"]


def test_file_names_do_not_control_the_terminal(checkpoint: Path, tmp_path: Path):
    for content, name in (
        (b"bad", "bad\x1b[2J.wav"),
        ((checkpoint / "clip.wav").read_bytes(), "good\x1b]0;x\x07.wav"),
    ):
        (tmp_path / name).write_bytes(content)
        for files in ([tmp_path / name], [tmp_path / name, checkpoint / "clip.wav"]):
            _, out, err = drkf("predict", *files, "--model", checkpoint)
            assert not {"\x1b", "\x07"} & set(out + err)


def test_printed_json_holds_every_character_and_none_that_a_terminal_obeys():
    value = {"text": "ho\x1b[2J \x9b2J \u202e\ud800 é 日本 \U0001f600\n"}
    written = printable_json(value)
    assert json.loads(written) == value
    assert all(character.isprintable() or character == "\n" for character in written)
    assert "é 日本 \U0001f600" in written


def test_the_version_is_that_of_the_package():
    assert drkf("--version") == (0, f"drkf {version('drkf')}\n", "")


def test_underscores_in_the_name_of_an_option_stand_for_dashes(checkpoint: Path):
    answers = [
        drkf("predict", checkpoint / "clip.wav", f"--text{equals}so_so", "--model", checkpoint, "--json", top_k, 1)
        for equals, top_k in (("=", "--top-k"), ("=", "--top_k"))
    ]
    assert answers[0] == answers[1]
    assert (json.loads(answers[1][1])["text"], len(json.loads(answers[1][1])["scores"])) == ("so_so", 1)
