"""The study's commands, from runs to the card, on tones and two small encoders."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
import yaml
from helpers.tones import RECIPE, write_tones
from transformers import BertConfig, BertModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from modeling_drkf.experiments.building import _tokenizer
from study import baselines, bound, card, runs, tables
from study.pictures import plot_rows
from study.runs import FROZEN, Job, Kind, is_finished, run_job

pytestmark = pytest.mark.slow
ROWS = ("speech", "text", "row1", "row6", "starter")
CARD = "".join(f"<!-- table: {name} -->\n\n<!-- end -->\n\n" for name in ("rows", "alone", "bound", "differences"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder in which the rows of one corpus are run, by speaker."""
    folder = tmp_path_factory.mktemp("study")
    write_tones(folder, takes=3)
    shutil.move(folder / "clips.csv", folder / "paired.csv")
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (10, 16), "conv_stride": (10, 16), "feat_extract_norm": "layer"}
    convolutions |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    Wav2Vec2Model(Wav2Vec2Config(**convolutions, **sizes, mask_time_prob=0.0)).save_pretrained(folder / "speech")
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(folder / "speech")
    tokenizer = _tokenizer({"vocab_size": 300}, ["all is quiet", "hurry up now", "a slow day", "not again"])
    tokenizer.save_pretrained(folder / "text")
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder / "text")
    recipe = yaml.safe_load((Path(__file__).parents[1] / "model_cards/recipes/starter.yaml").read_text())
    small = {"speech_layers": None, "unpadded_speech": False, "speech_pooling": 4, "fusion_intermediate_size": 16}
    recipe["drkf"] |= RECIPE["drkf"] | small
    recipe |= {"audio_encoder": str(folder / "speech"), "text_encoder": str(folder / "text"), "max_steps": 6}
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(folder / "cache"))
        patch.setitem(runs.KINDS, FROZEN, Kind(str(folder / "small.yaml"), ROWS))
        patch.setattr(baselines, "RECIPE", str(folder / "small.yaml"))
        patch.setattr(baselines, "CORPORA", {"paired": "speaker"})
        for row in ROWS:
            run_job(Job(FROZEN, "paired", row, 0), folder)
        assert baselines.main(["--data", str(folder)]) == 0
        assert bound.main([]) == 0
        assert tables.main(["--output", "tables"]) == 0
        (folder / "card.md").write_text(CARD)
        assert card.main(["--tables", "tables", "--card", "card.md"]) == 0
    return folder


def test_the_tables_say_what_the_runs_predicted(study):
    rows = pandas.read_csv(study / "tables" / "rows.csv").set_index("row")
    assert {*ROWS, "halves", "row6_by_speaker", "row6_alone", "voice", "late", "words"} <= set(rows.index)
    for row, name in (("row1", "test"), ("row6_by_speaker", "test_by_speaker"), ("row6_alone", "test_alone")):
        found = []
        for folder in sorted((study / "runs/study/frozen/paired" / row.partition("_")[0]).glob("*-seed0")):
            table = pandas.read_csv(folder / f"{name}_predictions.csv")
            found.append((table.label == table.prediction).groupby(table.label).mean().mean())
        assert len(found) == 4
        assert rows.unweighted_accuracy[row] == pytest.approx(np.mean(found), abs=1e-4)
        assert rows.low[row] <= rows.unweighted_accuracy[row] <= rows.high[row]
    metrics = json.loads((study / "runs/study/frozen/paired/row6/ada-seed0/metrics.json").read_text())
    assert metrics["fold"]["train"] == 3 * 2 * 2
    differences = pandas.read_csv(study / "tables" / "differences.csv").set_index(["row", "less"]).difference
    gap = rows.unweighted_accuracy["row6"] - rows.unweighted_accuracy["row1"]
    assert differences[("row6", "row1")] == pytest.approx(gap, abs=2e-4)


def test_late_fusion_is_the_product_of_the_halves(study):
    right = []
    for folder in sorted((study / "runs/study/frozen/paired/speech").glob("*-seed0")):
        voice, words = (
            pandas.read_csv(folder.parents[1] / row / folder.name / "test_predictions.csv")
            for row in ("speech", "text")
        )
        calm = voice.probability_calm * words.probability_calm > voice.probability_tense * words.probability_tense
        right.append(((voice.label == "calm") == calm).groupby(voice.label).mean().mean())
    rows = pandas.read_csv(study / "tables" / "rows.csv").set_index("row")
    assert rows.unweighted_accuracy["halves"] == pytest.approx(np.mean(right), abs=1e-4)


def test_the_card_holds_the_tables(study):
    text = (study / "card.md").read_text()
    rows = pandas.read_csv(study / "tables" / "rows.csv").set_index("row")
    line = rows.loc["row6"]
    assert f"| {line.unweighted_accuracy:.3f} [{line.low:.3f}, {line.high:.3f}] |" in text
    assert "| row 6 less row 1 | not run | not run | " in text
    assert "not run" in text.partition("voice alone, calibrated")[2].partition("\n")[0]
    assert plot_rows(rows.reset_index(), study / "rows.png").stat().st_size > 10_000


def test_a_run_whose_weights_are_there_was_stopped_before_its_end(tmp_path):
    assert not is_finished(tmp_path)
    (tmp_path / "metrics.json").touch()
    assert is_finished(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert not is_finished(tmp_path)
