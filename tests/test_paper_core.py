"""The paper's method stands alone: its files import nothing that this project adds, and compute the same."""

import ast
import inspect
from pathlib import Path

import pytest
import torch
from helpers.tiny import OBJECTIVE_NAMES, OBJECTIVES, assert_equal_gradients, tiny_batch, tiny_config, tiny_model

from modeling_drkf import DRKFForEmotionClassification, DRKFModel
from modeling_drkf.paper_configuration_drkf import PaperConfig
from modeling_drkf.paper_modeling_drkf import PaperForEmotionClassification, PaperModel

ROOM = Path(__file__).resolve().parents[1] / "modeling_drkf"
BESIDE = {
    "encoders_drkf",
    "attention_drkf",
    "outputs_drkf",
}  # what the boxes are made of: encoders, attention, outputs
PATH = {
    "paper_configuration_drkf", "paper_modeling_drkf", "losses_drkf",
    "orl_modality_encoding", "orl_progressive_augmentation", "orl_decoupled_representations", "orl_cmie_baseline",
    "kf_fusion_encoder", "kf_emodality_shuffling", "kf_emotion_heads",
}  # fmt: skip


def imported_from(module: str) -> set[str]:
    tree = ast.parse((ROOM / f"{module}.py").read_text())
    return {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}


def test_the_papers_files_import_one_another_and_nothing_else_of_the_project():
    for module in PATH:
        assert imported_from(module) <= PATH | BESIDE, module
    assert imported_from("paper_modeling_drkf") >= {"orl_modality_encoding", "kf_fusion_encoder", "kf_emotion_heads"}


def test_the_papers_path_is_short_enough_to_read_in_one_sitting():
    assert sum(len((ROOM / f"{module}.py").read_text().splitlines()) for module in PATH) <= 1300


@pytest.mark.parametrize(("options", "labels"), OBJECTIVES, ids=OBJECTIVE_NAMES)
def test_the_model_computes_what_the_papers_model_computes(options, labels):
    model, batch = tiny_model(**options), tiny_batch(labels=labels)
    fields = tiny_config(**options).to_dict()
    config = PaperConfig(**{name: value for name, value in fields.items() if name in PaperConfig.__annotations__},
                         id2label=model.config.id2label)  # fmt: skip
    torch.manual_seed(0)
    paper = PaperForEmotionClassification(config).eval()
    assert paper.state_dict().keys() == model.state_dict().keys()
    expected, output = paper(**batch), model(**batch)
    assert torch.equal(output.logits, expected.logits)
    assert torch.equal(output.loss, expected.loss)
    for name, term in expected.loss_terms.items():
        assert torch.equal(output.loss_terms[name], term), name
    output.loss.backward()
    expected.loss.backward()
    assert_equal_gradients(model, paper, atol=0)


@pytest.mark.parametrize("model", [PaperModel, PaperForEmotionClassification, DRKFModel, DRKFForEmotionClassification])
def test_forward_has_at_most_eight_named_arguments(model: type):
    kinds = [
        parameter.kind for name, parameter in inspect.signature(model.forward).parameters.items() if name != "self"
    ]
    assert len(kinds) - kinds.count(inspect.Parameter.VAR_KEYWORD) <= 8
