"""EC as the mean of experts: what fusion says, and what probes say of each half alone."""

import pytest
import torch
from helpers.tiny import MULTI_HOT, MULTI_LABEL, gradients, perturb, tiny_batch, tiny_model

LABELS = [0, 1, 2, 0]


@pytest.mark.parametrize("other", [{}, {"discriminator": "halves"}, {"emotion_discrimination": False}])
@pytest.mark.parametrize(("multi_label", "labels"), [({}, LABELS), (MULTI_LABEL, MULTI_HOT)])
def test_experts_answer_with_the_mean_of_three_that_learn_by_themselves(other: dict, multi_label: dict, labels: list):
    options = {"representation": "none", **other, **multi_label}
    alone, model = (perturb(tiny_model(**options, **kind)) for kind in ({}, {"classifier": "experts"}))
    model.load_state_dict(alone.state_dict(), strict=False)
    batch = tiny_batch(labels=labels)
    expected, output = alone(**batch), model(**batch)
    mean = (expected.logits + output.speech_logits + output.text_logits) / 3
    torch.testing.assert_close(output.logits, mean)
    model.config.score_temperature = 0.5
    tempered = model(**batch)
    torch.testing.assert_close(tempered.logits, 2 * mean)
    torch.testing.assert_close(tempered.loss, output.loss)
    assert (output.logits - expected.logits).abs().max() > 1e-2
    for name, term in expected.loss_terms.items():
        torch.testing.assert_close(output.loss_terms[name], term)
    model.zero_grad()
    output.loss.backward()
    assert {name for name, gradient in gradients(model).items() if not gradient.any()} == set()


def test_an_additive_classifier_begins_with_late_fusion():
    model = tiny_model(classifier="additive").eval()
    output = model(**tiny_batch())
    torch.testing.assert_close(output.logits, output.speech_logits + output.text_logits)
    assert output.logits.std() > 1e-3


@pytest.mark.parametrize("other", [{"discriminator": "halves"}, {"emotion_discrimination": False}, {}])
@pytest.mark.parametrize(("multi_label", "labels"), [({}, LABELS), (MULTI_LABEL, MULTI_HOT)])
def test_an_additive_classifier_learns_as_one(other: dict, multi_label: dict, labels: list):
    """Eq. 20 and Eq. 11 read the sum of EC's logits and of both probes'."""
    options = {**other, **multi_label}
    alone, model = (perturb(tiny_model(**options, **kind)) for kind in ({}, {"classifier": "additive"}))
    model.load_state_dict(alone.state_dict(), strict=False)
    batch = tiny_batch(labels=labels)
    expected, output = alone(**batch), model(**batch)
    total = expected.logits + output.speech_logits + output.text_logits
    torch.testing.assert_close(output.logits, total)
    target = model.target(batch["labels"])
    loss = torch.nn.functional.binary_cross_entropy_with_logits if multi_label else torch.nn.functional.cross_entropy
    torch.testing.assert_close(output.loss_terms["classification_loss"], loss(total, target).detach())
    assert "halves_loss" not in output.loss_terms
    encoded = model.drkf(**{name: tensor for name, tensor in batch.items() if name != "labels"})
    speech, text = model.augmentation(*encoded.modalities())
    fused = model.drkf.fusion_encoder(speech, text).vector
    augmented = model.emotion_classifier(fused) + sum(model.half_classifiers(speech, text).values())
    torch.testing.assert_close(output.loss_terms["label_divergence_loss"], loss(augmented, target).detach())
    output.loss.backward()
    assert {name for name, gradient in gradients(model).items() if not gradient.any()} == set()
