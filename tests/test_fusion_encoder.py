"""FE_s (Eq. 18) and FE_c (Table 4, row 5) against loops over one unpadded sample, and the heads EC and ED."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.numbers import random_numbers, total
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from modeling_drkf import DRKFConfig
from modeling_drkf.kf_emotion_heads import EmotionHead
from modeling_drkf.kf_fusion_encoder import (
    CrossAttentionFusion,
    FusionAttention,
    FusionEmbeddings,
    FusionLayer,
    SelfAttentionFusion,
)
from modeling_drkf.outputs_drkf import Modality, Requested

D, HEADS, LAYERS = 8, 2, 2
FRAMES, TOKENS = [5, 2, 3], [1, 4, 2]
ENCODERS = {"self": SelfAttentionFusion, "cross": CrossAttentionFusion}


def encoder(kind: str, attention: str = "eager", **fields: Any) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": D,
        "num_fusion_heads": HEADS,
        "num_fusion_layers": LAYERS,
        "max_fusion_positions": 32,
    }
    config = DRKFConfig(**(sizes | fields))
    config._attn_implementation = attention
    module = ENCODERS[kind](config).double().eval()
    for k, parameter in enumerate(module.parameters()):  # norms and biases too
        parameter.data += 0.1 * random_numbers(*parameter.shape, seed=k)
    return module


def sample(length: int, seed: int) -> Tensor:
    return random_numbers(length, D, seed=seed)


def batch(samples: list[Tensor], extra: int = 0, left: bool = False, seed: int = 99) -> Modality:
    """Pads samples with random content to the longest, and by `extra` more, at the right or at the left."""
    longest = max(len(rows) for rows in samples) + extra
    sequence, mask = random_numbers(len(samples), longest, D, seed=seed), torch.zeros(len(samples), longest).bool()
    for i, rows in enumerate(samples):
        valid = slice(longest - len(rows), None) if left else slice(len(rows))
        sequence[i, valid], mask[i, valid] = rows, True
    return Modality(sequence, mask, sequence.new_zeros(len(samples), D))


def samples() -> tuple[list[Tensor], list[Tensor]]:
    return (
        [sample(length, i).requires_grad_() for i, length in enumerate(FRAMES)],
        [sample(length, 10 + i).requires_grad_() for i, length in enumerate(TOKENS)],
    )


# --- one unpadded sample in loops ------------------------------------------------------------------------------------


def dense(layer: nn.Linear, x: Tensor) -> Tensor:
    return torch.stack([layer.weight @ row + layer.bias for row in x])


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    def one(row: Tensor) -> Tensor:
        mean = row.sum() / D
        variance = ((row - mean) ** 2).sum() / D
        return (row - mean) / (variance + layer.eps).sqrt() * layer.weight + layer.bias

    return torch.stack([one(row) for row in x])


def embed(embeddings: FusionEmbeddings, rows: list[Tensor], segments: list[int]) -> Tensor:
    return norm(
        embeddings.norm,
        torch.stack(
            [
                row + embeddings.segment.weight[segment] + embeddings.position.weight[position]
                for position, (row, segment) in enumerate(zip(rows, segments, strict=True))
            ]
        ),
    )


def naive_head(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    attended, weights = [], []
    for q in query:
        scores = [((q * k).sum() / math.sqrt(len(q))).exp() for k in key]
        weights.append(torch.stack(scores) / total(scores))
        attended.append(weights[-1] @ value)
    return torch.stack(attended), torch.stack(weights)


def naive_layer(layer: FusionLayer, hidden: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Post-norm layer; also the attention weights, (heads, queries, keys)."""
    attention = layer.attention
    query = dense(attention.query, hidden).chunk(HEADS, dim=1)
    key, value = (dense(part, context).chunk(HEADS, dim=1) for part in (attention.key, attention.value))
    attended, weights = zip(*(naive_head(*head) for head in zip(query, key, value, strict=True)), strict=True)
    hidden = norm(layer.attention_norm, hidden + dense(attention.output, torch.cat(attended, dim=1)))
    first, second = (part for part in layer.feed_forward if isinstance(part, nn.Linear))
    inner = dense(first, hidden)
    inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    return norm(layer.output_norm, hidden + dense(second, inner)), torch.stack(weights)


def naive_self(module: SelfAttentionFusion, speech: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """X_fusion of [CLS; S; SEP; T; SEP], and the attention of CLS, mean over layers and heads."""
    cls, sep = module.special_tokens.weight
    rows = [cls, *speech, sep, *text, sep]
    hidden = embed(module.embeddings, rows, [0] * (len(speech) + 2) + [1] * (len(text) + 1))
    attention = []
    for layer in module.layers:
        hidden, weights = naive_layer(layer, hidden, hidden)
        attention += [head[0] for head in weights]
    return hidden[0], torch.stack(attention).mean(0)


def naive_cross(module: CrossAttentionFusion, speech: Tensor, text: Tensor) -> tuple[Tensor, None]:
    s, t = (embed(module.embeddings, list(rows), [k] * len(rows)) for k, rows in enumerate((speech, text)))
    for speech_layer, text_layer in zip(module.speech_layers, module.text_layers, strict=True):
        s, t = naive_layer(speech_layer, s, t)[0], naive_layer(text_layer, t, s)[0]
    pooled = torch.cat([total(s, dim=0) / len(s), total(t, dim=0) / len(t)])
    return module.output.weight @ pooled + module.output.bias, None


NAIVE: dict[str, Callable] = {"self": naive_self, "cross": naive_cross}


# --- the module on a padded batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_fused_vectors_and_gradients_of_a_padded_batch_equal_the_loop(kind: str, attention: str) -> None:
    module, (speech, text) = encoder(kind, attention), samples()
    fused = module(batch(speech, extra=2), batch(text, extra=1)).vector
    naive = torch.stack([NAIVE[kind](module, *pair)[0] for pair in zip(speech, text, strict=True)])
    torch.testing.assert_close(fused, naive)

    probe, leaves = random_numbers(*fused.shape, seed=7), [*speech, *text, *module.parameters()]
    gradients, expected = (torch.autograd.grad((vectors * probe).sum(), leaves) for vectors in (fused, naive))
    torch.testing.assert_close(gradients, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ENCODERS)
def test_eager_and_sdpa_agree(kind: str) -> None:
    speech, text = (batch(modality, extra=1) for modality in samples())
    torch.testing.assert_close(*(encoder(kind, name)(speech, text).vector for name in ("eager", "sdpa")))


@settings(deadline=None, max_examples=15)
@given(
    kind=st.sampled_from(["self", "cross"]),
    extra=st.integers(0, 5),
    left=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_padding_never_matters(kind: str, extra: int, left: bool, seed: int) -> None:
    module, (speech, text) = encoder(kind), samples()
    clean = module(batch(speech), batch(text)).vector
    padded_speech, padded_text = batch(speech, extra, seed=seed), batch(text, extra, left=left, seed=seed + 1)
    for padded in (padded_speech, padded_text):
        padded.sequence.retain_grad()
    fused = module(padded_speech, padded_text).vector
    torch.testing.assert_close(fused, clean)
    (fused * random_numbers(*fused.shape)).sum().backward()
    for padded in (padded_speech, padded_text):
        assert padded.sequence.grad[~padded.mask].count_nonzero() == 0
        assert padded.sequence.grad[padded.mask].count_nonzero() == padded.mask.sum() * D


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    for kind in ENCODERS:
        module, (speech, text) = encoder(kind), samples()
        together = module(batch(speech), batch(text)).vector
        for i in range(len(speech)):
            torch.testing.assert_close(module(batch([speech[i]]), batch([text[i]])).vector[0], together[i])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_cls_attention_equals_the_loop_and_is_zero_on_padding(attention: str) -> None:
    module, (speech, text) = encoder("self", attention), samples()
    padded_speech, padded_text = batch(speech, extra=2), batch(text, extra=1, left=True)
    fused = module(padded_speech, padded_text, Requested(output_modality_attention=True))
    torch.testing.assert_close(fused.vector, module(padded_speech, padded_text).vector)
    for i, (frames, tokens) in enumerate(zip(FRAMES, TOKENS, strict=True)):
        naive = naive_self(module, speech[i], text[i])[1]
        on_speech, on_text = naive[1 : 1 + frames], naive[2 + frames : 2 + frames + tokens]
        valid = fused.speech_attention[i][padded_speech.mask[i]], fused.text_attention[i][padded_text.mask[i]]
        torch.testing.assert_close(valid, (on_speech, on_text), check_dtype=False, rtol=1e-5, atol=1e-7)
        # What is left of 1 lies on CLS itself and on the two SEP.
        rest = naive[0] + naive[1 + frames] + naive[-1]
        assert (valid[0].sum() + valid[1].sum() + rest).item() == pytest.approx(1, abs=1e-6)
    assert fused.speech_attention[~padded_speech.mask].count_nonzero() == 0
    assert fused.text_attention[~padded_text.mask].count_nonzero() == 0


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_last_layer_gives_its_cls_what_the_whole_layer_gives_it(attention: str) -> None:
    speech_rows, text_rows = samples()
    module = encoder("self", attention)
    gradients = []
    for flags in (Requested(), Requested(output_hidden_states=True)):
        module.zero_grad()
        fused = module(batch(speech_rows), batch(text_rows), flags)
        total(fused.vector).backward()
        gradients.append([fused.vector, *[parameter.grad.clone() for parameter in module.parameters()]])
    for short, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(short, whole, rtol=1e-10, atol=1e-12)


def test_attention_is_given_on_request_only_and_by_self_attention_only() -> None:
    speech, text = (batch(modality) for modality in samples())
    for kind, asked in (("self", False), ("cross", False), ("cross", True)):
        fused = encoder(kind)(speech, text, Requested(output_modality_attention=asked))
        assert fused.speech_attention is None
        assert fused.text_attention is None


@pytest.mark.parametrize(("kind", "positions"), [("self", 5 + 4 + 3), ("cross", 5)])
def test_more_valid_positions_than_embeddings_raise(kind: str, positions: int) -> None:
    speech, text = batch([sample(5, 0)]), batch([sample(4, 1)])
    assert encoder(kind, max_fusion_positions=positions)(speech, text).vector.isfinite().all()
    with pytest.raises(ValueError, match=rf"{positions} positions, max_fusion_positions is {positions - 1}"):
        encoder(kind, max_fusion_positions=positions - 1)(speech, text)


@pytest.mark.parametrize("kind", ENCODERS)
def test_padding_beyond_the_last_position_embedding_is_no_error(kind: str) -> None:
    module, (speech, text) = encoder(kind, max_fusion_positions=10), samples()
    torch.testing.assert_close(
        module(batch(speech, extra=20), batch(text, extra=20)).vector, module(batch(speech), batch(text)).vector
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENCODERS)
def test_compiled_it_is_one_graph_for_all_lengths_with_the_same_values_and_gradients(kind: str) -> None:
    module, (speech, text) = encoder(kind, "sdpa", max_fusion_positions=16), samples()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=True)
    leaves = [*speech, *text, *module.parameters()]
    for extra in (1, 4, 12):  # the last has more positions than embeddings
        vectors = [fuse(batch(speech, extra), batch(text, extra=2)).vector for fuse in (module, compiled)]
        torch.testing.assert_close(vectors[1], vectors[0])
        probe = random_numbers(*vectors[0].shape, seed=extra)
        expected, gradients = (torch.autograd.grad((vector * probe).sum(), leaves) for vector in vectors)
        torch.testing.assert_close(gradients, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ENCODERS)
def test_dropout_acts_in_training_only(kind: str) -> None:
    speech, text = (batch(modality) for modality in samples())
    for dropout in (0.0, 0.5):
        module = encoder(kind, fusion_dropout=dropout)
        evaluated, trained = module(speech, text).vector, module.train()(speech, text).vector
        assert torch.equal(evaluated, trained) == (dropout == 0)


def test_a_dropped_key_is_dropped_for_every_query_of_its_head() -> None:
    attention = FusionAttention(DRKFConfig(hidden_size=D, num_fusion_heads=HEADS, fusion_dropout=0.5)).double().train()
    for layer in (attention.query, attention.key):
        nn.init.zeros_(layer.weight)  # each query attends to all keys alike
    for layer in (attention.value, attention.output):
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    keys = 16
    hidden = (2.0 ** torch.arange(keys))[None, :, None].expand(3, keys, D).double()  # a sum tells which were kept
    torch.manual_seed(0)
    attended, _ = attention(hidden, hidden, None)
    assert torch.equal(attended, attended[:, :1].expand_as(attended))
    by_head = attended[:, 0].unflatten(-1, (HEADS, -1))
    assert torch.equal(by_head, by_head[..., :1].expand_as(by_head))
    kept = (by_head[..., 0] * keys * 0.5).flatten().tolist()
    assert len(set(kept)) == 3 * HEADS
    assert [bin(int(number)).count("1") for number in kept] == pytest.approx([8] * len(kept), abs=6)
    assert kept == [int(number) for number in kept]


def test_paper_sizes() -> None:
    config = DRKFConfig()
    layer = FusionLayer(DRKFConfig(hidden_size=16))
    assert (config.num_fusion_layers, config.num_fusion_heads, config.max_fusion_positions) == (6, 8, 2800)
    assert (config.hidden_size, config.fusion_dropout) == (1024, 0.1)
    assert [part.out_features for part in layer.feed_forward if isinstance(part, nn.Linear)] == [64, 16]  # 4 d
    for kind, stacks in (("self", ["layers"]), ("cross", ["speech_layers", "text_layers"])):
        module = encoder(kind, num_fusion_layers=6)
        assert [len(getattr(module, stack)) for stack in stacks] == [6] * len(stacks)


# --- EC and ED -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [1, 4])
def test_head_is_linear_gelu_linear(outputs: int) -> None:
    torch.manual_seed(0)
    head = EmotionHead(DRKFConfig(hidden_size=D, num_fusion_heads=HEADS), outputs).double().eval()
    fused = random_numbers(3, D)
    first, second = (layer for layer in head.modules() if isinstance(layer, nn.Linear))
    hidden = dense(first, fused)
    torch.testing.assert_close(head(fused), dense(second, hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2))
    assert not torch.equal(head.train()(fused), head.eval()(fused))
