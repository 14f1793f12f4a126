"""What a run leaves behind: records that read back as they were, pictures drawn from them, logs for TensorBoard."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from helpers.tiny import MULTI_LABEL, TABLE_4, tiny_model, tiny_processor
from helpers.tones import write_recipe, write_tones
from typer.testing import CliRunner

from drkf_cli import app
from modeling_drkf import DRKFForEmotionClassification, DRKFTrainer, DRKFTrainingArguments
from modeling_drkf.experiments.report import evaluate_split
from processing.evaluation.records import Predictions, read_embeddings, write_embeddings
from processing.figures.run import draw_pooled
from train_drkf import main

COLUMNS = ("utterance_id", "fold", "selection", "label", "prediction")
ENDS = ["consistency", "dominant_modality", "speech_share", "text_share"]


def predictions(folds: list[str], references: list, label_names: list[str], **fields) -> Predictions:
    """Random predictions of the given utterances; half of the probabilities are as uneven as float32 allows."""
    rng = np.random.default_rng(0)
    count, classes = len(references), len(label_names)
    probabilities = rng.dirichlet(np.ones(classes), count).astype(np.float32)
    probabilities[::2] **= 9
    shares = rng.dirichlet([1, 1], count).astype(np.float32)
    given = {
        "utterance_ids": [f"{index:04d}" for index in range(count)],
        "folds": folds,
        "references": np.array(references),
        "predictions": np.array(references)[::-1],
        "probabilities": probabilities,
        "consistency": rng.random(count).astype(np.float32),
        "modality_shares": shares,
    }
    return Predictions(label_names=label_names, **(given | fields))


def assert_equal(actual: Predictions, expected: Predictions) -> None:
    assert list(actual.label_names) == list(expected.label_names)
    assert (actual.utterance_ids, actual.folds) == (expected.utterance_ids, expected.folds)
    for name in ("references", "predictions"):
        assert getattr(actual, name).tolist() == getattr(expected, name).tolist()
    for name in ("probabilities", "consistency", "modality_shares"):
        np.testing.assert_array_equal(getattr(actual, name).astype(np.float32), getattr(expected, name))


@pytest.mark.parametrize("multi_label", [False, True])
def test_predictions_read_back_to_the_last_bit(tmp_path: Path, multi_label: bool):
    """Whatever the classes, the utterances and the folds are called."""
    names = ["label", "consistency", "NA", "=1+1, comma"]
    references = [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0]] if multi_label else [3, 2, 0]
    written = predictions(["007", "None", "@sum"], references, names, utterance_ids=["-1", "+1", "=HYPERLINK(0)"])
    written.write(tmp_path / "table.csv")
    assert_equal(Predictions.read(tmp_path / "table.csv", multi_label), written)


def test_columns_stand_in_their_order_and_the_unknown_is_empty(tmp_path: Path):
    unknown = np.array([0.25, np.nan], np.float32)
    shares = np.array([[0.75, 0.25], [np.nan, np.nan]], np.float32)
    table = predictions(["a", "a"], [0, 1], ["ang", "neu"], consistency=unknown, modality_shares=shares)
    table.write(tmp_path / "table.csv")
    header, first, second = (tmp_path / "table.csv").read_text().splitlines()
    assert header.split(",") == [*COLUMNS, "probability_ang", "probability_neu", *ENDS]
    assert first.split(",")[:5] == ["0000", "a", "validation", "ang", "neu"]
    assert first.split(",")[7:] == ["0.25", "speech", "0.75", "0.25"]
    assert second.split(",")[7:] == ["", "", "", ""]


def test_a_broken_table_is_told(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text("utterance_id,label,prediction\n1,a,a\n")
    with pytest.raises(
        ValueError, match="lacks fold, selection, consistency, speech_share, text_share, probability_<class>"
    ):
        Predictions.read(path, multi_label=False)
    predictions(["x", "x"], [0, 1], ["a", "b"]).write(path)
    path.write_text(path.read_text().replace("x,validation,b", "x,validation,c"))
    with pytest.raises(ValueError, match=r"row 2: 'c' is not among the classes a, b"):
        Predictions.read(path, multi_label=False)


def test_embeddings_read_back_in_half_precision(tmp_path: Path):
    vectors = np.random.default_rng(0).normal(size=(4, 3, 16)).astype(np.float32)
    vectors[0, 0, 0] = 1e9
    write_embeddings(tmp_path / "e.npz", ["a", "b", "c", "d"], vectors)
    read = read_embeddings(tmp_path / "e.npz", ["a", "b", "c", "d"])
    vectors[0, 0, 0] = 65504
    for index, name in enumerate(("fused", "speech", "text")):
        np.testing.assert_allclose(read[name], vectors[:, index], rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match="holds other utterances"):
        read_embeddings(tmp_path / "e.npz", ["b", "a", "c", "d"])


def evaluated(model: DRKFForEmotionClassification, folder: Path, labels: list) -> tuple[Predictions, list[dict]]:
    """What is recorded of six clips in batches of four, and the clips."""
    generator = torch.Generator().manual_seed(0)
    key = "labels" if model.config.is_multi_label else "label"
    lengths = (4000, 7000, 5100, 6300, 4400, 8000)
    rows = [
        {"audio": torch.randn(length, generator=generator).tolist(), "text": text, key: label}
        for length, text, label in zip(lengths, ["i am so happy", "never mind", "oh no"] * 2, labels, strict=True)
    ]
    for row in rows:
        row["audio"] = {"array": row["audio"], "sampling_rate": 16_000}
    arguments = DRKFTrainingArguments(str(folder), per_device_eval_batch_size=4, report_to="none", use_cpu=True)
    trainer = DRKFTrainer(model, arguments, processing_class=tiny_processor())
    evaluate_split(trainer, rows, [f"clip{index}" for index in range(6)], "test", folder, "Session2")  # type: ignore[arg-type]
    return Predictions.read(folder / "test_predictions.csv", model.config.is_multi_label), rows


@pytest.mark.parametrize("row", ["6-drkf", "5-cross", "2-cmie", "1-bme"])
def test_records_are_what_the_model_says_of_each_clip_alone(tmp_path: Path, row: str):
    model = tiny_model(max_fusion_positions=700, **TABLE_4[row])
    recorded, clips = evaluated(model, tmp_path, [0, 1, 2, 0, 1, 2])
    vectors = read_embeddings(tmp_path / "test_embeddings.npz", recorded.utterance_ids)
    assert recorded.folds == ["Session2"] * 6
    assert recorded.references.tolist() == [0, 1, 2, 0, 1, 2]
    for index, clip in enumerate(clips):
        inputs = tiny_processor()(audio=clip["audio"], text=clip["text"], return_tensors="pt")
        with torch.no_grad():
            output, inner = model(**inputs, output_modality_attention=True), model.drkf(**inputs)
        expected = output.logits.softmax(-1)[0].tolist()
        assert recorded.probabilities[index].tolist() == pytest.approx(expected, abs=1e-5)
        assert recorded.predictions[index] == int(output.logits.argmax())
        agreement = np.nan if output.consistency is None else output.consistency.item()
        assert recorded.consistency[index] == pytest.approx(agreement, abs=1e-5, nan_ok=True)
        shares = [np.nan] * 2 if output.modality_shares is None else output.modality_shares[0].tolist()
        np.testing.assert_allclose(recorded.modality_shares[index], shares, atol=1e-5)
        for name, vector in (
            ("fused", inner.pooler_output), ("speech", inner.speech_summary), ("text", inner.text_summary)
        ):  # fmt: skip
            np.testing.assert_allclose(vectors[name][index], vector[0].numpy(), rtol=2e-3, atol=2e-3)
    assert np.isnan(recorded.modality_shares).all() == (row == "5-cross")
    assert set(model(**inputs)) == set(output) - {
        "speech_attention",
        "text_attention",
        "modality_shares",
    }  # no hook left


def test_label_sets_are_recorded_as_such(tmp_path: Path):
    sets = [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]] * 3
    recorded, _ = evaluated(tiny_model(max_fusion_positions=700, **MULTI_LABEL), tmp_path, sets)
    assert recorded.references.tolist() == sets
    assert (recorded.probabilities > 0).all()
    assert (np.abs(recorded.probabilities.sum(axis=1) - 1) > 0.01).any()  # sigmoids
    names = pandas.read_csv(tmp_path / "test_predictions.csv").label
    assert names[0] == "|".join(np.array(recorded.label_names)[[0, 2]])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that also logged to TensorBoard."""
    pytest.importorskip("tensorboard", reason="trackers are in the extra `trackers`")
    folder = tmp_path_factory.mktemp("run")
    manifest = write_tones(folder, takes=4)
    options = ["--manifest", manifest, "--protocol", "leave_one_speaker_out", "--fold", "bob", "--seed", "5"]
    options += ["--report_to", "tensorboard", "--logging_steps", "2", "--pictures", "true"]
    options += ["--output_dir", folder / "out"]
    assert main([str(write_recipe(folder)), *map(str, options)]) == 0
    return folder / "out"


def test_tensorboard_has_every_term_of_training_and_validation(run: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (run / "runs").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    terms = ["loss", "classification_loss", "reconstruction_loss", "label_divergence_loss"]
    terms += ["contrastive_loss", "discrimination_loss"]
    for ours, theirs in (("", "train/"), ("eval_", "eval/")):
        for term in terms:
            logged = [(log["step"], log[ours + term]) for log in history if ours + term in log]
            shown = [(event.step, event.value) for event in events.Scalars(theirs + term)]
            assert [step for step, _ in shown] == [step for step, _ in logged]
            assert len(shown) == (4 if ours == "" else 2)
            assert [value for _, value in shown] == pytest.approx([value for _, value in logged])
    assert events.Scalars("eval/unweighted_accuracy")


def test_the_metrics_name_what_they_rest_on(run: Path):
    record = json.loads((run / "metrics.json").read_text())
    assert (record["fold"]["name"], record["seed"], record["multi_label"]) == ("bob", 5, False)
    assert record["label_names"] == ["calm", "tense"]
    assert (record["selection"], record["selection_metric"]) == ("validation", "unweighted_accuracy")
    assert record["versions"]["torch"] == torch.__version__
    recorded = Predictions.read(run / "test_predictions.csv", multi_label=False)
    wrong = recorded.probabilities[np.arange(8), 1 - recorded.references]
    assert record["test"]["calibration"]["brier_score"] == pytest.approx((2 * wrong**2).mean(), abs=1e-6)


def drkf(*arguments: object) -> tuple[int, list[str], str]:
    """Exit status, the pictures' names, and what stands on stderr."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, [Path(line).name for line in result.stdout.splitlines()], result.stderr


def test_plot_draws_every_picture_of_a_run_anew(run: Path):
    """But for embeddings: a part has eight utterances."""
    record, expected = json.loads((run / "metrics.json").read_text()), ["loss_curves.png"]
    for split in ("validation", "test"):
        pairs = ["consistency"] if "consistency" in record[split] else []
        expected += [f"{split}_{part}.png" for part in ("confusion_matrix", "reliability", *pairs)]
    drawn = {name: (run / name).read_bytes() for name in expected}
    for name in expected:
        (run / name).unlink()
    assert drkf("plot", run)[:2] == (0, expected)
    assert {name: (run / name).read_bytes() for name in expected} == drawn


def test_plot_draws_one_split_as_a_vector_picture(run: Path):
    status, names, _ = drkf("plot", run, "--split", "test", "--format", "svg")
    drawn = json.loads((run / "metrics.json").read_text())["test"]
    assert (status, names[0], len(names)) == (0, "loss_curves.svg", 3 + ("consistency" in drawn))
    assert all((run / name).read_text().startswith("<?xml") for name in names)


def test_plot_tells_what_is_missing(tmp_path: Path, run: Path):
    status, _, error = drkf("plot", tmp_path)
    assert (status, "neither a run" in error) == (1, True)
    status, _, error = drkf("plot", run, "--split", "dev")
    assert (status, "has no predictions for dev" in error) == (1, True)
    (tmp_path / "metrics.json").write_text('{"corpus": "clips", "split": "test"}')  # as drkf evaluate writes it
    status, _, error = drkf("plot", tmp_path)
    assert (status, "is not the record of a training run" in error) == (1, True)


def cross_validation(folder: Path) -> None:
    """Two folds of two utterances, two seeds; the second seed gets one of each fold wrong."""
    for fold, ids in {"Session1": ["a", "b"], "Session2": ["c", "d"]}.items():
        for seed in (0, 1):
            run = folder / f"{fold}-seed{seed}"
            run.mkdir()
            record = {"corpus": "iemocap", "multi_label": False, "fold": {"name": fold}, "seed": seed}
            (run / "metrics.json").write_text(json.dumps(record))
            table = predictions(
                [fold] * 2, [0, 1], ["ang", "neu"], utterance_ids=ids, predictions=np.array([0, 1 - seed]),
                probabilities=np.array([[0.75, 0.25], [0.25 + 0.5 * seed, 0.75 - 0.5 * seed]]),
            )  # fmt: skip
            table.write(run / "test_predictions.csv")


def test_folds_and_seeds_are_pooled(tmp_path: Path):
    matplotlib = pytest.importorskip("matplotlib")
    cross_validation(tmp_path)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        matrix, reliability = draw_pooled(tmp_path, ending="svg")
    assert (matrix.name, reliability.name) == ("pooled_test_confusion_matrix.svg", "pooled_test_reliability.svg")
    text = matrix.read_text()
    for shown in (
        "iemocap, 2 folds and 2 seeds pooled", "test, 8 predictions of 4 utterances", "UA 0.750, WA 0.750",
        "ang (4)", "neu (4)", ">50%<",
    ):  # fmt: skip
        assert shown in text
    assert "expected calibration error 0.000" in reliability.read_text()  # 0.75 and 6 of 8
    assert drkf("plot", tmp_path)[:2] == (0, ["pooled_test_confusion_matrix.png", "pooled_test_reliability.png"])


def test_runs_of_different_classes_are_not_pooled(tmp_path: Path):
    cross_validation(tmp_path)
    table = tmp_path / "Session1-seed0" / "test_predictions.csv"
    table.write_text(table.read_text().replace("ang", "sad"))
    with pytest.raises(ValueError, match=r"\['sad', 'neu'\] and \['ang', 'neu'\]"):
        draw_pooled(tmp_path)
