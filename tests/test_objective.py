"""The objective of the whole model: its terms by hand, its gradients, its labels, its pairs."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.tiny import (
    MULTI_HOT,
    MULTI_LABEL,
    OBJECTIVE_NAMES,
    OBJECTIVES,
    TABLE_4,
    alone,
    assert_equal_gradients,
    encode,
    fused_batch_sizes,
    gradients,
    perturb,
    tiny_batch,
    tiny_model,
)
from torch import Tensor

from modeling_drkf.outputs_drkf import Modality

LABELS = [0, 1, 2, 0]


@pytest.mark.parametrize(("options", "labels"), OBJECTIVES, ids=OBJECTIVE_NAMES)
def test_every_parameter_learns_in_one_step(options, labels):
    np.random.seed(0)  # SpecAugment draws from numpy
    model = tiny_model(dropout=0.1, **options).train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    model(**tiny_batch(labels=labels)).loss.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    infinite = [name for name, gradient in gradients(model).items() if not gradient.isfinite().all()]
    assert infinite == []
    optimizer.step()
    still = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert still == []


@pytest.mark.parametrize("row", ["2-cmie", "5-cross", "6-drkf"])
def test_a_few_steps_lower_the_loss_on_a_batch(row):
    model = tiny_model(**TABLE_4[row]).train()
    batch = tiny_batch(labels=LABELS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert model.eval()(**batch).logits.argmax(-1).tolist() == LABELS


@pytest.mark.parametrize(("options", "labels"), OBJECTIVES, ids=OBJECTIVE_NAMES)
@torch.no_grad()
def test_the_loss_is_the_weighted_sum_of_its_terms(options, labels):
    weights = {
        "reconstruction_weight": 0.7, "contrastive_weight": 0.3, "classification_weight": 1.9,
        "discrimination_weight": 0.45,
    }  # fmt: skip
    model = perturb(tiny_model(**weights, **options))
    output = model(**tiny_batch(labels=labels))
    by_name = {
        "classification_loss": 1.9, "reconstruction_loss": 0.7, "label_divergence_loss": 1.0, "contrastive_loss": 0.3,
        "critic_loss": 0.3, "discrimination_loss": 0.45,
    }  # fmt: skip
    expected = {"classification_loss"}
    expected |= {"reconstruction_loss", "label_divergence_loss"} if options["representation"] == "pcmi" else set()
    expected |= {"contrastive_loss"} if options["representation"] != "none" else set()
    expected |= {"critic_loss"} if options["representation"] == "cmie" else set()
    expected |= {"discrimination_loss"} if options["emotion_discrimination"] else set()
    assert output.loss_terms.keys() == expected
    assert float(output.loss) == pytest.approx(sum(by_name[k] * float(v) for k, v in output.loss_terms.items()))
    assert all(math.isfinite(float(term)) for term in output.loss_terms.values())


# The terms of a mini batch, recomputed sample by sample from the model's own parts.


def valid_parts(modality: Modality, row: int) -> Modality:
    """One sample without padding."""
    mask = modality.mask[row]
    return Modality(modality.sequence[row, mask][None], mask[mask][None], modality.summary[row][None])


def cosine(left: Tensor, right: Tensor) -> Tensor:
    return (left @ right) / (left.norm() * right.norm())


def nt_xent(views: list[Tensor], others: list[Tensor], tau: Tensor) -> Tensor:
    anchors, partners, losses = views + others, others + views, []
    for index, (anchor, partner) in enumerate(zip(anchors, partners, strict=True)):
        rivals = [(cosine(anchor, rival) / tau).exp() for number, rival in enumerate(anchors) if number != index]
        losses.append(-((cosine(anchor, partner) / tau).exp() / sum(rivals)).log())
    return sum(losses) / len(losses)


@pytest.mark.parametrize("row", ["5-cross", "6-drkf"])
@torch.no_grad()
def test_loss_terms_by_hand(row):
    model = perturb(tiny_model(**TABLE_4[row]))
    batch = tiny_batch(labels=LABELS)
    terms = model(**batch).loss_terms
    speeches, texts, augmented_speeches, augmented_texts = [], [], [], []
    encoding, augmentation, dr = model.drkf.modality_encoding, model.augmentation, model.representations
    speech, text = encode(encoding, batch)
    for sample in range(4):
        s, t = valid_parts(speech, sample), valid_parts(text, sample)
        torch.testing.assert_close(s.summary[0], s.sequence[0].mean(0), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(t.summary[0], t.sequence[0, 0])
        speeches.append(s)
        texts.append(t)
        for source, target, autoencoder in (
            (s, augmented_speeches, augmentation.speech_autoencoder),
            (t, augmented_texts, augmentation.text_autoencoder),
        ):
            sequence = autoencoder(source.sequence)
            target.append(Modality(sequence, source.mask, sequence.mean(1)))

    def emotion(s: Modality, t: Modality) -> Tensor:
        return model.emotion_classifier(model.drkf.fusion_encoder(s, t).vector)[0].log_softmax(-1)

    def agreement(s: Modality, t: Modality) -> Tensor:
        return model.emotion_discriminator(model.drkf.fusion_encoder(s, t).vector)[0].sigmoid()

    everything = range(4)
    expected = {
        "classification_loss": -sum(emotion(speeches[i], texts[i])[LABELS[i]] for i in everything) / 4,
        "label_divergence_loss": -sum(
            emotion(augmented_speeches[i], augmented_texts[i])[LABELS[i]] for i in everything
        ) / 4,
        "reconstruction_loss": sum(
            F.mse_loss(augmented[i].sequence, raw[i].sequence) / 2
            for raw, augmented in ((speeches, augmented_speeches), (texts, augmented_texts))
            for i in everything
        ) / 4,
        "discrimination_loss": -sum(
            (p if LABELS[i] == LABELS[j] else 1 - p).log()
            for i in everything for j in everything
            for p in [agreement(speeches[i], texts[j])]
        ) / 16,
    }  # fmt: skip
    tau = torch.sigmoid(dr.temperature_logit)
    z_speech, z_speech_augmented = (
        [dr.speech_projection(x.summary)[0] for x in xs] for xs in (speeches, augmented_speeches)
    )
    z_text, z_text_augmented = ([dr.text_projection(x.summary)[0] for x in xs] for xs in (texts, augmented_texts))
    inter = (
        -sum(
            torch.stack([cosine(z_speech[i], z_text[j]) / tau for j in everything]).log_softmax(0)[i]
            for i in everything
        )
        / 4
    )
    expected["contrastive_loss"] = (
        nt_xent(z_speech, z_speech_augmented, tau) + nt_xent(z_text, z_text_augmented, tau) + inter
    )
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(float(value), rel=1e-4), name


@pytest.mark.parametrize("row", TABLE_4)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_ids_and_one_hot_labels_are_the_same(row, smoothing):
    models = [tiny_model(label_smoothing=smoothing, **TABLE_4[row]) for _ in range(2)]
    batch = tiny_batch()
    ids = torch.tensor(LABELS)
    outputs = [model(**batch, labels=y) for model, y in zip(models, (ids, F.one_hot(ids, 3).float()), strict=True)]
    for name, term in outputs[0].loss_terms.items():
        torch.testing.assert_close(outputs[1].loss_terms[name], term, msg=name)
    for output in outputs:
        output.loss.backward()
    assert_equal_gradients(*models)


def test_emodality_pairs_are_judged_by_the_label():
    """With a discriminator that answers a constant, Eq. 19 only depends on how many of the 16 pairs share a label."""
    model = tiny_model()
    with torch.no_grad():
        model.emotion_discriminator.output.weight.zero_()
        model.emotion_discriminator.output.bias.fill_(math.log(3))  # probability 3/4
        for labels, same in (([0, 1, 2, 0], 6), ([1, 1, 1, 1], 16), ([2, 2, 0, 0], 8)):
            term = model(**tiny_batch(labels=labels)).loss_terms["discrimination_loss"]
            assert float(term) == pytest.approx(
                -(same * math.log(3 / 4) + (16 - same) * math.log(1 / 4)) / 16, rel=1e-5
            )


@pytest.mark.parametrize(
    "options",
    [
        {"representation": "none"},
        {"representation": "pcmi", "contrastive_weight": 0.0},
        {"representation": "pcmi", "contrastive_weight": 0.0, "fusion": "cross", **MULTI_LABEL},
        {"representation": "none", "class_weights": [0.5, 1.0, 3.0]},
    ],
    ids=["none", "pcmi", "cross-multi-label", "class-weights"],
)
def test_four_accumulated_batches_of_one_are_one_batch_of_four(options):
    whole, parts = (perturb(tiny_model(emotion_discrimination=False, **options)).train() for _ in range(2))
    batch = tiny_batch(labels=MULTI_HOT if "problem_type" in options else LABELS)
    expected = whole(**batch)
    expected.loss.backward()
    outputs = [parts(**alone(batch, row)) for row in range(4)]
    for output in outputs:
        (output.loss / 4).backward()
    for name in expected.loss_terms.keys() - {"contrastive_loss"}:
        mean = sum(float(output.loss_terms[name]) for output in outputs) / 4
        assert mean == pytest.approx(float(expected.loss_terms[name]), rel=1e-5)
    assert_equal_gradients(parts, whole, atol=1e-5)


@torch.no_grad()
def test_a_cap_on_pairs_saves_work_and_keeps_the_mean():
    full = perturb(tiny_model(representation="none"))
    capped = tiny_model(representation="none", discrimination_pairs=2)
    capped.load_state_dict(full.state_dict())
    batch = tiny_batch(labels=LABELS)
    full_sizes, capped_sizes = fused_batch_sizes(full), fused_batch_sizes(capped)
    expected = float(full(**batch).loss_terms["discrimination_loss"])
    assert full_sizes == [4, 3, 3, 3, 3]  # matched, then each sample of speech with its texts
    evaluated = {float(capped(**batch).loss_terms["discrimination_loss"]) for _ in range(5)}
    assert len(evaluated) == 1  # an evaluation repeats itself
    assert capped_sizes[:2] == [4, 4]  # matched, then each sample of speech with one text, at once
    capped.train()  # without dropout: only the draw of shifts is random
    draws = {round(float(capped(**batch).loss_terms["discrimination_loss"]), 5) for _ in range(60)}
    assert len(draws) == 3  # one per cyclic shift
    assert sum(draws) / 3 == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_a_cap_beyond_the_batch_changes_nothing():
    full, capped = tiny_model(), tiny_model(discrimination_pairs=4)
    batch = tiny_batch(labels=LABELS)
    assert float(capped(**batch).loss) == pytest.approx(float(full(**batch).loss), rel=1e-6)


def test_a_batch_of_one_trains():
    model = tiny_model().train()
    output = model(**alone(tiny_batch(labels=LABELS), 0))
    output.loss.backward()
    assert all(gradient.isfinite().all() for gradient in gradients(model).values())
    assert gradients(model).keys() == {name for name, _ in model.named_parameters()}
