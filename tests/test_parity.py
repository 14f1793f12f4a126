"""The four parts that carry the method, rebuilt from the equations alone with loops over numbers: agreement to 1e-6.

The autoencoder (Eq. 8-9), NT-Xent (Eq. 14-15), InfoNCE (Eq. 16) and FE_s (Eq. 18), on a model's own weights.
"""

import math
from typing import Any

import torch
from helpers.numbers import random_numbers
from helpers.tiny import perturb, tiny_model
from torch import Tensor

from modeling_drkf.losses_drkf import inter_modality_mi_loss, intra_modality_mi_loss
from modeling_drkf.outputs_drkf import Modality

Vector = list[float]
TAU = 0.6


def close(actual: Tensor, expected: Any) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=actual.dtype), rtol=1e-6, atol=1e-6)


def model() -> Any:
    return perturb(tiny_model()).double()


def linear(layer: Any, x: Vector) -> Vector:
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    return [sum(w * value for w, value in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def add(x: Vector, y: Vector) -> Vector:
    return [a + b for a, b in zip(x, y, strict=True)]


def dot(x: Vector, y: Vector) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


def cosine(x: Vector, y: Vector) -> float:
    return dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))


def softmax(scores: Vector) -> Vector:
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def norm(layer: Any, x: Vector) -> Vector:
    mean = sum(x) / len(x)
    spread = math.sqrt(sum((value - mean) ** 2 for value in x) / len(x) + 1e-12)
    scaled = [(value - mean) / spread for value in x]
    return add([w * value for w, value in zip(layer.weight.tolist(), scaled, strict=True)], layer.bias.tolist())


def test_autoencoder():
    """Each block: three linear layers down (LeakyReLU between), three up (ReLU between); x grows by its output."""
    autoencoder = model().augmentation.speech_autoencoder
    inputs = random_numbers(5, 32)
    expected = []
    for row in inputs.tolist():
        x = row
        for block in autoencoder.blocks:
            layers = [layer for layer in block if isinstance(layer, torch.nn.Linear)]
            y = x
            for number, layer in enumerate(layers):
                y = linear(layer, y)
                if number in (0, 1):
                    y = [value if value > 0 else 0.01 * value for value in y]
                elif number in (3, 4):
                    y = [max(value, 0.0) for value in y]
            x = add(x, y)
        first, _, last = autoencoder.transition
        expected.append(linear(last, [max(value, 0.0) for value in linear(first, x)]))
    close(autoencoder(inputs), expected)


def test_nt_xent():
    """Each of the 2M views against the 2M - 1 others; its partner is the other view of its sample."""
    z, augmented = random_numbers(4, 16), random_numbers(4, 16, seed=1)
    views, size = [*z.tolist(), *augmented.tolist()], 4
    terms = []
    for i, view in enumerate(views):
        others = [j for j in range(2 * size) if j != i]
        scores = softmax([cosine(view, views[j]) / TAU for j in others])
        terms.append(-math.log(scores[others.index((i + size) % (2 * size))]))
    close(intra_modality_mi_loss(z, augmented, torch.tensor(TAU)), sum(terms) / len(terms))


def test_info_nce():
    """Each speech against the M texts of the batch."""
    speech, text = random_numbers(4, 16), random_numbers(4, 16, seed=1)
    terms = [
        -math.log(softmax([cosine(left, right) / TAU for right in text.tolist()])[i])
        for i, left in enumerate(speech.tolist())
    ]
    close(inter_modality_mi_loss(speech, text, torch.tensor(TAU)), sum(terms) / len(terms))


def test_fusion_encoder():
    """[CLS; S_seq; SEP; T_seq; SEP] of one sample without padding, layer by layer, position by position."""
    encoder = model().drkf.fusion_encoder
    speech, text = random_numbers(1, 6, 32), random_numbers(1, 4, 32, seed=1)
    fused = encoder(*(Modality(half, torch.ones(half.shape[:2]).bool(), half[:, 0]) for half in (speech, text)))

    cls, sep = encoder.special_tokens.weight.tolist()
    sequence = [cls, *speech[0].tolist(), sep, *text[0].tolist(), sep]
    segments = [0] * 8 + [1] * 5
    embeddings = encoder.embeddings
    hidden = [
        norm(
            embeddings.norm, add(add(x, embeddings.segment.weight[s].tolist()), embeddings.position.weight[p].tolist())
        )
        for p, (x, s) in enumerate(zip(sequence, segments, strict=True))
    ]
    for layer in encoder.layers:
        attention, heads = layer.attention, 4
        size = 32 // heads
        query, key, value = (
            [linear(part, x) for x in hidden] for part in (attention.query, attention.key, attention.value)
        )
        attended = []
        for i in range(len(hidden)):
            row: Vector = []
            for head in (slice(first, first + size) for first in range(0, 32, size)):
                weights = softmax([dot(query[i][head], other[head]) / math.sqrt(size) for other in key])
                row += [dot(weights, [other[head][d] for other in value]) for d in range(size)]
            attended.append(linear(attention.output, row))
        hidden = [norm(layer.attention_norm, add(x, y)) for x, y in zip(hidden, attended, strict=True)]
        inner, _, outer = layer.feed_forward
        hidden = [
            norm(
                layer.output_norm,
                add(x, linear(outer, [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in linear(inner, x)])),
            )
            for x in hidden
        ]
    close(fused.vector[0], hidden[0])
