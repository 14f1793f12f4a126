"""What probes find in each half alone, for ED: numbers by hand, losses by loops."""

import math

import pytest
import torch
from helpers.tiny import MULTI_HOT, MULTI_LABEL, alone, encode, gradients, perturb, tiny_batch, tiny_model
from torch import Tensor

from modeling_drkf import DRKFForEmotionClassification
from modeling_drkf.extended_objective_drkf import ProbeDiscriminator

HALVES = {"discriminator": "halves", "representation": "none"}
LABELS = [0, 1, 2, 0]
PRESENT = {"speech_present": [True, False, True, True], "text_present": [True, True, True, False]}


def test_the_logit_by_hand():
    discriminator = ProbeDiscriminator(tiny_model(**HALVES).config)
    with torch.no_grad():
        discriminator.agreement.copy_(torch.tensor([[4.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 8.0]]))
        discriminator.bias.fill_(-1.0)
    speech, text = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]), torch.tensor([[0.25, 0.5, 0.25]])
    # 0.5 (4 * 0.25 + 1 * 0.5) + 0.5 * 2 * 0.5 - 1 and 8 * 0.25 - 1
    expected = torch.tensor([0.25, 1.0])
    torch.testing.assert_close(discriminator(speech.log(), text.log()), expected)
    torch.testing.assert_close(discriminator(speech.log().unsqueeze(1), text.log()), expected.unsqueeze(1))


def test_halves_that_say_nothing_agree_as_often_as_classes_do_by_chance():
    """Log odds of 1/C at the start, less 1 for what classes in common would say."""
    discriminator = tiny_model(**HALVES).emotion_discriminator
    even = torch.zeros(1, 3)
    assert discriminator(even, even).item() == pytest.approx(math.log((1 / 3) / (2 / 3)))


@pytest.mark.parametrize("options", [{}, {"speech_statistics": True}], ids=["mean", "statistics"])
@torch.no_grad()
def test_each_half_is_read_alone(options: dict):
    model, batch = perturb(tiny_model(**HALVES, **options)), tiny_batch()
    output, probes, discriminator = model(**batch), model.half_classifiers, model.emotion_discriminator
    other_words = {**batch, "input_ids": batch["input_ids"].flip(0), "attention_mask": batch["attention_mask"].flip(0)}
    other_voices = {name: batch[name].flip(0) for name in ("input_values", "audio_attention_mask")}
    torch.testing.assert_close(model(**other_words).speech_logits, output.speech_logits)
    torch.testing.assert_close(model(**{**batch, **other_voices}).text_logits, output.text_logits)
    assert (model(**other_words).text_logits - output.text_logits).abs().min(-1).values.max() > 1e-3
    speech, text = encode(model.drkf.modality_encoding, batch)
    for row in range(4):
        frames, tokens = speech.sequence[row][speech.mask[row]], text.sequence[row][text.mask[row]]
        voice = frames[0] if options else frames.mean(0)
        for probe, vector, found in (
            (probes.speech, voice, "speech_logits"),
            (probes.text, tokens.mean(0), "text_logits"),
        ):
            standardised = (vector - vector.mean()) / (vector.var(correction=0) + 1e-5).sqrt()
            torch.testing.assert_close(probe(standardised), output[found][row], atol=1e-5, rtol=1e-5)
        p, q = output.speech_logits[row].softmax(-1), output.text_logits[row].softmax(-1)
        by_hand = sum(p[c] * discriminator.agreement[c, d] * q[d] for c in range(3) for d in range(3))
        torch.testing.assert_close(output.consistency_logits[row], by_hand + discriminator.bias)
        single = model(**alone(batch, row))
        torch.testing.assert_close(single.consistency_logits[0], output.consistency_logits[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "labels"), [({}, LABELS), (MULTI_LABEL, MULTI_HOT), ({"class_weights": [1.0, 2.0, 0.5]}, LABELS)]
)
@pytest.mark.parametrize("given", [{}, PRESENT], ids=["whole", "blanked"])
def test_loss_terms_by_loops(options: dict, labels: list, given: dict):
    model = perturb(tiny_model(**HALVES, **options))
    present = {name: torch.tensor(there) for name, there in given.items()}
    output = model(**tiny_batch(labels=labels), **present)
    speech_there, text_there = given.get("speech_present", [True] * 4), given.get("text_present", [True] * 4)
    multi_label = options == MULTI_LABEL
    weight_of = options.get("class_weights", [1.0] * 3)

    def probabilities(logits: Tensor) -> Tensor:
        return logits.sigmoid() if multi_label else logits.softmax(-1)

    def cross_entropy(logits: Tensor, label) -> Tensor:
        if multi_label:
            p = logits.sigmoid()
            return -sum((p[c] if label[c] else 1 - p[c]).log() for c in range(3)) / 3
        return -weight_of[label] * logits.softmax(-1)[label].log()

    halves = [
        sum(cross_entropy(logits[row], labels[row]) for row in range(4)) / 4
        for logits in (output.speech_logits, output.text_logits)
    ]
    torch.testing.assert_close(output.loss_terms["halves_loss"], (halves[0] + halves[1]) / 2)
    pairs = []
    for i in range(4):
        for j in range(4):
            if speech_there[i] and text_there[j]:
                p, q = probabilities(output.speech_logits[i]), probabilities(output.text_logits[j])
                logit = p @ model.emotion_discriminator.agreement @ q + model.emotion_discriminator.bias
                agrees = logit.sigmoid()
                pairs.append(-(agrees if labels[i] == labels[j] else 1 - agrees).log())
    torch.testing.assert_close(output.loss_terms["discrimination_loss"], sum(pairs) / len(pairs))


def test_every_parameter_learns_and_each_probe_shapes_its_own_half():
    model = perturb(tiny_model(discriminator="halves")).train()
    output = model(**tiny_batch(labels=LABELS))
    output.loss.backward()
    assert {name for name, gradient in gradients(model).items() if not gradient.any()} == set()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == set()
    for half, other in (("speech", "text"), ("text", "speech")):
        model.zero_grad()
        model(**tiny_batch(labels=LABELS))[f"{half}_logits"].sum().backward()
        reached = {name for name, gradient in gradients(model).items() if gradient.any()}
        assert any(f"{half}_encoder" in name for name in reached)
        assert not any(f"{other}_" in name or "fusion_encoder" in name for name in reached)


@torch.no_grad()
def test_it_is_saved_and_loaded(tmp_path):
    model, batch = perturb(tiny_model(**HALVES)), tiny_batch()
    model.save_pretrained(tmp_path)
    again = DRKFForEmotionClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(again(**batch).consistency_logits, model(**batch).consistency_logits)
