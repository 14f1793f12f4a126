"""Every card is valid and true: its metadata parse, its figures are those of the run, its pictures and files exist."""

import http.server
import json
import re
import shlex
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.tiny import tiny_model
from helpers.tones import write_recipe, write_tones
from huggingface_hub import ModelCard, constants

import model_cards
from modeling_drkf import DRKFTrainer, DRKFTrainingArguments
from modeling_drkf.experiments.options import parse_arguments
from modeling_drkf.release.card import cross_validation_card, model_card, unscored_card
from modeling_drkf.release.licences import encoder_licence, hub_id, strictest
from processing.corpora.facts import corpus_facts, corpus_name
from processing.corpora.registry import CORPORA
from processing.corpora.report import skip_rules
from processing.evaluation.metrics import FORMULAS
from processing.evaluation.records import Predictions
from train_drkf import main

CARDS = Path(model_cards.__file__).parent
CORPUS_CARDS = ["iemocap", "m3ed", "meld", "nemo", "paired", "spoken_demo"]
AUDEERING = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
AVERAGES = {"iemocap": 80.3, "meld": 66.0, "m3ed": 51.7}

METRICS = {
    "unweighted_accuracy": 0.41, "weighted_accuracy": 0.52, "per_class": {"calm": {"f1": 0.3}},
    "intervals": {"unweighted_accuracy": [0.4, 0.42], "weighted_accuracy": [0.5, 0.54]},
}  # fmt: skip
RECORD: dict[str, Any] = {
    "corpus": "clips",
    "excluded": {"missing_audio": ["a.wav", "b.wav"]},
    "fold": {"name": "bob", "speaker_disjoint": True, "train": 8, "validation": 4, "test": 4},
    "selection": "validation",
    "selection_metric": "eval_unweighted_accuracy",
}
CROSS_VALIDATION: dict[str, Any] = {
    "corpus": "iemocap", "protocol": "leave_one_session_out", "selection": "validation",
    "seeds": [0, 1], "folds": ["Session1", "Session2"],
    "metrics": {"unweighted_accuracy": {"mean": 0.7, "std": 0.02, "interval": [0.68, 0.72]}},
    "runs": [
        {"fold": fold, "seed": seed, "folder": f"{fold}-seed{seed}", "unweighted_accuracy": 0.65 + 0.01 * seed}
        for fold in ("Session1", "Session2") for seed in (0, 1)
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    manifest, recipe = write_tones(folder), write_recipe(folder)
    options = ["--protocol", "leave_one_speaker_out", "--fold", "bob", "--pictures", "true"]
    options += ["--output_dir", str(folder / "out")]
    assert main([str(recipe), "--manifest", str(manifest), *options]) == 0
    return folder


@pytest.fixture
def trainer(tmp_path: Path) -> DRKFTrainer:
    return DRKFTrainer(tiny_model(), DRKFTrainingArguments(str(tmp_path)))


def card_of(
    trainer: DRKFTrainer, encoders: tuple[str, str] = ("a/b", "bert (trained from scratch)"), **record: Any
) -> str:
    pair = dict(zip(("audio", "text"), encoders, strict=True))
    return model_card(trainer, RECORD | record, {"test": METRICS}, [], pair)


def rows(card: str) -> dict[str, list[str]]:
    """The cells of every table row by its first cell."""
    cells = (line.strip("|").split("|") for line in card.splitlines() if line.startswith("|"))
    return {head.strip(): [cell.strip() for cell in rest] for head, *rest in cells}


def code_blocks(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def test_every_figure_of_a_run_is_that_of_its_metrics(run: Path):
    record = json.loads((run / "out" / "metrics.json").read_text())
    card = ModelCard.load(run / "out" / "README.md")
    table = rows(card.text)
    for name in ("unweighted_accuracy", "weighted_accuracy", "weighted_f1", "macro_f1"):
        expected = []
        for split in ("validation", "test"):
            low, high = record[split]["intervals"][name]
            expected.append(f"{record[split][name]:.3f} [{low:.3f}, {high:.3f}]")
        assert table[name.replace("_", " ")] == expected
        assert FORMULAS[name].formula in card.text
    for label in ("calm", "tense"):
        assert table[f"F1 {label}"] == [f"{record[s]['per_class'][label]['f1']:.3f}" for s in ("validation", "test")]
    told = {(result.dataset_split, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert told == {(split, name): record[split][name] for split, name in told}
    assert len(told) == 8
    assert card.data.eval_results[0].dataset_name == "clips"
    assert "leave one speaker out, fold `bob`; 8 utterances train, 4 validate, 4 test" in card.text


def test_every_picture_of_a_run_exists(run: Path):
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (run / "out" / "README.md").read_text())
    assert {"loss_curves.png", "test_confusion_matrix.png", "test_reliability.png"} <= set(pictures)
    for picture in pictures:
        assert (run / "out" / picture).read_bytes().startswith(b"\x89PNG")


def test_the_snippet_of_a_run_says_what_the_model_says(run: Path, monkeypatch: pytest.MonkeyPatch):
    card = (run / "out" / "README.md").read_text()
    pipeline, by_hand = code_blocks(card)
    compile(pipeline, "card", "exec")
    shutil.copy(run / "ada_calm_0.wav", run / "out" / "clip.wav")
    monkeypatch.chdir(run / "out")
    scope: dict[str, Any] = {}
    exec(by_hand, scope)
    assert torch.allclose(scope["probabilities"], scope["output"].logits.softmax(-1)[0])
    assert scope["probabilities"].shape == (2,)


def test_a_card_names_no_folder_of_this_machine(trainer: DRKFTrainer, run: Path, tmp_path: Path):
    assert str(run) not in (run / "out" / "README.md").read_text()
    (tmp_path / "encoder").mkdir()
    card = card_of(trainer, (str(tmp_path / "encoder"), f"of {tmp_path / 'encoder'}"))
    assert str(tmp_path) not in card
    assert rows(card)["speech encoder"] == ["encoder", "see its own"]
    assert ModelCard(card).data.base_model is None


def test_encoders_are_linked_and_their_licence_binds(trainer: DRKFTrainer):
    card = card_of(trainer, (AUDEERING, "FacebookAI/roberta-large"), corpus="meld")
    data = ModelCard(card).data
    assert data.base_model == [AUDEERING, "FacebookAI/roberta-large"]
    assert (data.license, data.language) == ("cc-by-nc-sa-4.0", "en")
    assert rows(card)["speech encoder"][1] == "cc-by-nc-sa-4.0"
    assert rows(card)["text encoder"][1] == "mit"


KINDS: dict[str, list[str]] = {  # a recipe's options
    "the best epoch": [],
    "the last weights": ["--load-best-model-at-end", "false", "--eval-strategy", "no", "--save-strategy", "no"],
    "chosen on the test part": ["--selection", "test"],
    "steps and early stopping": [
        *("--max-steps", "3", "--eval-strategy", "steps", "--save-strategy", "steps", "--eval-steps", "1"),
        *("--save-steps", "1", "--early-stopping-patience", "9", "--metric-for-best-model", "macro_f1"),
    ],
    "a baseline of voices": ["--modality", "speech"],
    "blanked modalities": ["--modality-dropout", "0.4"],
    "a row of Table 4": ["--drkf", '{"fusion": "cross", "representation": "cmie", "emotion_discrimination": false}'],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_sentence_of_a_card_comes_from_its_run(kind: str, tmp_path: Path):
    options = ["--manifest", str(write_tones(tmp_path)), "--protocol", "leave_one_speaker_out", "--fold", "bob"]
    out = tmp_path / "out"
    assert main([str(write_recipe(tmp_path)), *options, "--output-dir", str(out), *KINDS[kind]]) == 0
    record, config = (json.loads((out / name).read_text()) for name in ("metrics.json", "config.json"))
    state, card = json.loads((out / "trainer_state.json").read_text()), (out / "README.md").read_text()
    chosen = state["best_model_checkpoint"] is not None
    selection = {"the last weights": "none", "chosen on the test part": "test"}.get(kind, "validation")
    assert record["selection"] == selection
    assert chosen == (selection != "none")
    metric = record["selection_metric"]
    assert (metric is None) == (selection == "none")
    assert ("the last weights were kept: no part chose them" in card) == (selection == "none")
    sentence = f"the weights were chosen on the {selection} part, by {(metric or '').replace('_', ' ')}"
    assert (sentence in card) == chosen
    assert ("Selected on the test part" in card) == (selection == "test")
    assert ("chosen on a validation part, not on the test part" in card) == (selection == "validation")
    steps = state["global_step"]
    assert f"- {steps} steps ({state['epoch']:.3g} epochs)" in card
    parts = [part for part in ("validation", "test") if part in record]
    found = record[parts[-1]].get("consistency")
    assert ("Brier score is" in card) == (found is not None) == (config["consistency_calibration"] is not None)
    if found:
        assert f"with an AUC of {found['auc']:.3f}, and its Brier score is {found['brier']:.3f}" in card
    assert ("`consistency_logits`" in card) == (config["emotion_discrimination"] and found is None)
    assert ("contrastive terms stay within a modality" in card) == (config["representation"] == "pcmi")
    assert ("a negative of CMIE has its own sample's label" in card) == (config["representation"] == "cmie")
    assert ("CLS and SEP are learnt" in card) == (config["fusion"] == "self")
    missing = {"a baseline of voices": "trained without words", "blanked modalities": "blanked in 40%"}
    assert missing.get(kind, "not trained for a missing modality") in card
    assert "README has the whole table" not in card
    assert {row.selection for row in [Predictions.read(out / f"{part}_predictions.csv", False) for part in parts]} == {
        selection
    }


def test_a_known_corpus_brings_its_title_traps_and_the_papers_figures(trainer: DRKFTrainer):
    card = card_of(trainer, corpus="meld")
    assert "# DRKF on MELD\n" in card
    assert ModelCard(card).data.eval_results[0].dataset_name == "MELD"
    assert rows(card)["weighted accuracy"] == ["0.520 [0.500, 0.540]", "0.667"]
    assert rows(card)["unweighted accuracy"] == ["0.410 [0.400, 0.420]", ""]
    assert "| paper (official test part) |" in card
    assert "Speakers and episodes occur in more than one of the official splits" in card


def test_an_epoch_chosen_on_the_test_part_is_stamped(trainer: DRKFTrainer):
    assert "Selected on the test part" not in card_of(trainer)
    stamped = card_of(trainer, selection="test")
    assert stamped.index("Selected on the test part") < stamped.index("## Use")
    assert "Selected on the test part" in cross_validation_card(CROSS_VALIDATION | {"selection": "test"}, Path())


def test_what_was_left_out_and_shared_speakers_are_told(trainer: DRKFTrainer):
    shared = card_of(trainer, fold=RECORD["fold"] | {"speaker_disjoint": False})
    assert "Speakers are shared between the parts, or unknown" in shared
    assert "missing audio: 2 utterances left out" in shared
    assert "a.wav" not in shared


def test_a_baseline_says_which_modality_it_knows(trainer: DRKFTrainer):
    assert "reads the voice alone" in card_of(trainer, modality="speech")
    assert "reads the words alone" in card_of(trainer, modality="text")
    assert "A baseline" not in card_of(trainer, modality="both")


def test_a_card_says_whether_a_modality_may_be_missing(trainer: DRKFTrainer):
    assert "not trained for a missing modality" in card_of(trainer)
    trainer.model.config.modality_dropout = 0.15
    assert "blanked in 15% of the training clips" in card_of(trainer)


def test_an_unscored_model_has_a_valid_card_without_figures():
    card = ModelCard(unscored_card(tiny_model().config))
    assert card.data.to_dict()["library_name"] == "transformers"
    assert card.data.eval_results is None
    assert "published before any test" in card.text
    assert "[" not in "".join(cell for cells in rows(card.text).values() for cell in cells)


def test_several_labels_are_sigmoids_in_the_snippet():
    cards = [
        unscored_card(tiny_model(problem_type=f"{kind}_label_classification").config) for kind in ("single", "multi")
    ]
    assert [".softmax(-1)[0]" in card for card in cards] == [True, False]
    assert [".sigmoid()[0]" in card for card in cards] == [False, True]


def test_a_cross_validation_has_a_card(tmp_path: Path):
    (tmp_path / "Session1-seed0").mkdir()
    card = cross_validation_card(CROSS_VALIDATION, tmp_path)
    assert "# DRKF on IEMOCAP: cross-validation" in card
    assert "leave one session out, 2 folds and 2 seeds" in card
    assert rows(card)["unweighted accuracy"] == ["0.700 ± 0.020", "[0.680, 0.720]", "0.807"]
    assert "| [Session1](Session1-seed0) | 0 | 0.650 |" in card
    assert "| Session1 | 1 | 0.660 |" in card


@pytest.mark.parametrize("corpus", CORPUS_CARDS)
def test_the_facts_of_a_corpus_agree_with_its_reader_and_its_card(corpus: str):
    facts, text = corpus_facts(corpus), (CARDS / f"{corpus}.md").read_text()
    if corpus in CORPORA:
        spec = CORPORA[corpus]
        assert facts["title"] == spec.title
        assert facts["labels"] == list(spec.labels or ())
        numbers = [count for counts in spec.published.values() for count in counts.values()]
        assert [number for number in numbers if f"{number}" not in text.replace(",", "")] == []
    paper = facts.get("paper", {})
    table = rows(text)
    for value in paper.values():
        assert any(cells[0] == f"{value} %" for cells in table.values()), value
    if paper:
        assert set(paper) < FORMULAS.keys()
        assert sum(paper.values()) / len(paper) == pytest.approx(AVERAGES[corpus], abs=0.051)
        assert table["Avg"] == [f"{AVERAGES[corpus]} %", "not run"]
        ablations = [cells for head, cells in table.items() if "DRKF" in head]
        assert len(ablations) == 1
        assert {f"{value} %" for value in paper.values()} >= set(ablations[0][:2])


@pytest.mark.parametrize("corpus", sorted(set(CORPUS_CARDS) - {"spoken_demo"}))
def test_the_commands_of_a_card_are_understood(corpus: str):
    blocks = re.findall(r"```bash\n(.*?)```", (CARDS / f"{corpus}.md").read_text(), re.DOTALL)
    commands = [shlex.split(block.replace("\\\n", " ")) for block in blocks]
    assert len(commands) == 1
    assert commands[0][:2] == ["python", "train_drkf.py"]
    _, data, _ = parse_arguments(commands[0][2:])
    assert data.corpus == (corpus if corpus in CORPORA else "manifest")
    skip_rules(data.skip_damaged or ())


def test_every_corpus_with_a_fixed_layout_has_a_card():
    fixed = {name for name, spec in CORPORA.items() if spec.labels and not spec.facts}
    assert fixed <= set(CORPUS_CARDS)
    assert {path.stem for path in CARDS.glob("*.md")} == {*CORPUS_CARDS, "study"}


@pytest.mark.parametrize("corpus", ["clips", "limits", "checkpoint_card", "../README", "recipes"])
def test_other_names_have_no_facts(corpus: str):
    assert corpus_facts(corpus) == {}


def test_the_demos_figures_are_those_of_its_recipe():
    recipe = yaml.safe_load((CARDS / "recipes" / "demo.yaml").read_text())
    assert f"{recipe['num_train_epochs']} epochs from scratch" in (CARDS / "spoken_demo.md").read_text()


@pytest.mark.parametrize(
    ("reader", "data_dir", "name"),
    [
        ("meld", "/data/whatever", "meld"),
        ("manifest", "/data/clips.csv", "clips"),
        ("manifest", "/data/calls-2024/manifest.csv", "calls-2024"),
        ("manifest", "/study/corpus/manifest.parquet", "study"),
        ("hub", "amu-cai/nEMO", "nEMO"),
        ("audiofolder", "/data/my.voices", "my.voices"),
        ("manifest", "/manifest.csv", "manifest"),
    ],
)
def test_a_corpus_is_called_by_what_tells_it_apart(reader: str, data_dir: str, name: str):
    assert corpus_name(reader, data_dir) == name


def test_the_demo_corpus_is_known_by_its_own_file(tmp_path: Path):
    (tmp_path / "spoken_demo.json").write_text("{}")
    assert corpus_name("manifest", tmp_path / "manifest.csv") == "spoken_demo"


def test_licences_combine():
    assert strictest(["apache-2.0", "cc-by-nc-sa-4.0", None]) == "cc-by-nc-sa-4.0"
    assert strictest(["apache-2.0", "other"]) == "other"
    assert strictest(["cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"]) == "cc-by-nc-nd-4.0"
    permissive = ("apache-2.0", "mit", None)
    stated = {name: corpus_facts(name).get("license") for name in CORPORA}
    assert {strictest([licence, "mit"]) for licence in stated.values() if licence not in permissive} <= {
        *stated.values()
    }
    assert strictest(["apache-2.0", "mit", None]) is None
    assert strictest(["apache-2.0", "mit"]) == "apache-2.0"
    assert strictest(["apache-2.0", "cc-by-nc-4.0", "mit"]) == "cc-by-nc-4.0"
    assert strictest(["cc-by-sa-4.0", "cc-by-nc-4.0", None]) == "other"
    assert encoder_licence("bert (trained from scratch)") == "apache-2.0"
    assert encoder_licence("some/encoder") is None


def test_the_hubs_word_on_a_licence_goes_before_the_table(monkeypatch):
    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path.startswith("/api/models/FacebookAI/roberta-large")
            body = json.dumps(
                {"id": "x", "cardData": {"license": "openrail"}} if known else {"error": "none"}
            ).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        assert encoder_licence("FacebookAI/roberta-large") == "openrail"
        assert encoder_licence("FacebookAI/roberta-base") == "mit"  # of the table
        server.shutdown()


def test_what_is_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    assert hub_id("of ann/tones") == "ann/tones"
    assert hub_id("runs/mine") is None
    assert hub_id(str(tmp_path)) is None
    assert hub_id("bert (trained from scratch)") is None


def test_how_it_was_trained_is_told(trainer: DRKFTrainer):
    card = card_of(trainer, options={"learning_rate": 1e-3, "lora": {"r": 8}, "class_weights": "balanced"})
    assert "- Other options: `lora`: {'r': 8}, `class_weights`: balanced\n" in card
