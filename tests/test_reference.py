"""The package's step against the straightforward one of `benchmarks/reference.py`: values and gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.reader import ROOT, blocks
from helpers.tiny import fused_batch_sizes, gradients, perturb, tiny_batch, tiny_model

from benchmarks.reference import predict, training_loss, with_plain_encoders
from modeling_drkf import kf_emodality_shuffling
from modeling_drkf.kf_emodality_shuffling import select

TOKENS = (5, 9, 3, 7)  # of `tiny_batch`


@pytest.mark.parametrize("kept_texts", [3, 2])
@pytest.mark.parametrize("labels", [[0, 1, 2, 0], [1, 1, 1, 1]])
def test_loss_and_gradients_are_those_of_the_straightforward_step(
    labels: list[int], kept_texts: int, monkeypatch: pytest.MonkeyPatch
):
    model, batch = perturb(tiny_model()).train(), tiny_batch(labels=labels)
    monkeypatch.setattr(kf_emodality_shuffling, "KEPT_TEXTS", kept_texts)
    plain = with_plain_encoders(model)
    loss, expected_loss = model(**batch).loss, training_loss(plain, batch)
    loss.backward()
    expected_loss.backward()
    actual, expected = gradients(model), gradients(plain)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-6)
    assert actual.keys() == expected.keys()
    scale = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-4, atol=1e-6 * float(scale), msg=name)


def test_pairs_fused_again_in_the_backward_pass_give_the_same_gradients_under_dropout(monkeypatch: pytest.MonkeyPatch):
    model, batch = tiny_model(dropout=0.2).train(), tiny_batch(labels=[0, 1, 2, 0])
    sizes, results = fused_batch_sizes(model), []
    for kept_texts in (3, 2):
        monkeypatch.setattr(kf_emodality_shuffling, "KEPT_TEXTS", kept_texts)
        model.zero_grad()
        sizes.clear()
        torch.manual_seed(0)
        np.random.seed(0)  # SpecAugment's
        model(**batch).loss.backward()
        results.append(gradients(model))
        assert sizes == [4, 4, 3, 3, 3, 3] + [3, 3, 3, 3] * (kept_texts == 2)
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, msg=name)


@pytest.mark.parametrize("fusion", ["self", "cross"])
@torch.no_grad()
def test_no_pair_carries_the_padding_of_another_speech(fusion: str):
    model, batch = perturb(tiny_model(fusion=fusion)), tiny_batch(labels=[0, 1, 2, 0])
    speech, text = model.drkf(**{name: batch[name] for name in batch if name != "labels"}).modalities()
    lengths: list[tuple[int, int]] = []
    model.drkf.fusion_encoder.register_forward_pre_hook(
        lambda _, halves: lengths.append((halves[0].mask.shape[1], halves[1].mask.shape[1]))
    )
    text_index = torch.tensor([[1, 2], [2, 0], [3, 2], [2, 2]])
    fused = kf_emodality_shuffling.fuse_pairs(model.drkf.fusion_encoder, speech, text, text_index)
    longest_texts = [max(TOKENS[j] for j in row) for row in text_index.tolist()]
    assert lengths == list(zip(speech.mask.sum(1).tolist(), longest_texts, strict=True))
    assert len({frames for frames, _ in lengths}) > 1
    for row, (i, j) in zip(fused, [(0, 1), (0, 2), (1, 2), (1, 0), (2, 3), (2, 2), (3, 2), (3, 2)], strict=True):
        alone = model.drkf.fusion_encoder(select(speech, torch.tensor([i])), select(text, torch.tensor([j]))).vector[0]
        torch.testing.assert_close(row, alone)


def test_the_method_page_shows_the_straightforward_step():
    assert ("python", (ROOT / "benchmarks/reference.py").read_text()) in blocks(Path("docs/concepts/method.md"))


def test_answers_are_those_of_the_straightforward_way():
    model, batch = perturb(tiny_model()), tiny_batch()
    with torch.no_grad():
        output, (logits, consistency_logits) = model(**batch), predict(with_plain_encoders(model), batch)
    torch.testing.assert_close(output.logits, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.consistency_logits, consistency_logits, rtol=1e-5, atol=1e-6)
    assert logits.std() > 0.01
