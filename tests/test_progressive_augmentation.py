"""PA: the residual autoencoder of Eq. 8-9 rebuilt layer by layer, and Eq. 10 as a loop."""

from typing import Any

import pytest
import torch
from helpers.numbers import agree, numbers, random_numbers, total
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from modeling_drkf import DRKFConfig
from modeling_drkf.losses_drkf import reconstruction_loss
from modeling_drkf.orl_progressive_augmentation import ProgressiveAugmentation, ResidualAutoencoder
from modeling_drkf.outputs_drkf import Modality

M, D = 3, 8
LENGTHS = {"speech": [5, 2, 4], "text": [1, 3, 2]}
MASKS = {name: torch.arange(max(lengths)) < torch.tensor(lengths)[:, None] for name, lengths in LENGTHS.items()}


def config(**fields: Any) -> DRKFConfig:
    sizes: dict[str, Any] = {
        "hidden_size": D,
        "num_fusion_heads": 2,
        "num_augmentation_blocks": 3,
        "augmentation_sizes": [6, 5, 4],
    }
    return DRKFConfig(**(sizes | fields))


def augmentation(**fields: Any) -> ProgressiveAugmentation:
    torch.manual_seed(0)
    return ProgressiveAugmentation(config(**fields)).double().eval()


def sequence(name: str, seed: int = 0) -> Tensor:
    return random_numbers(*MASKS[name].shape, D, seed=seed)


def modality(name: str, values: Tensor) -> Modality:
    return Modality(values, MASKS[name], values[:, 0])


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


# --- Eq. 8-9 ---------------------------------------------------------------------------------------------------------


def naive_block(block: nn.Module, x: Tensor) -> Tensor:
    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.01 * x)

    def relu(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0 * x)

    down_1, down_2, bottleneck, up_1, up_2, output = linear_layers(block)
    for layer, activation in ((down_1, leaky), (down_2, leaky), (bottleneck, None), (up_1, relu), (up_2, relu)):
        x = layer.weight @ x + layer.bias
        x = x if activation is None else activation(x)
    return output.weight @ x + output.bias


def naive_autoencoder(autoencoder: ResidualAutoencoder, x: Tensor) -> Tensor:
    """One position, (d,)."""
    for block in autoencoder.blocks:
        x = x + naive_block(block, x)
    first, second = linear_layers(autoencoder.transition)
    hidden = first.weight @ x + first.bias
    return second.weight @ torch.where(hidden > 0, hidden, 0 * hidden) + second.bias


def test_paper_sizes() -> None:
    autoencoder = ResidualAutoencoder(DRKFConfig(hidden_size=32))
    widths = [[(layer.in_features, layer.out_features) for layer in linear_layers(b)] for b in autoencoder.blocks]
    assert widths == 5 * [[(32, 256), (256, 128), (128, 64), (64, 128), (128, 256), (256, 32)]]
    assert [(layer.in_features, layer.out_features) for layer in linear_layers(autoencoder.transition)] == [
        (32, 32)
    ] * 2
    assert len(linear_layers(autoencoder)) == 5 * 6 + 2


def test_augmented_sequences_and_summaries_equal_the_rebuilt_autoencoder() -> None:
    module = augmentation()
    inputs = {name: sequence(name, seed).requires_grad_() for seed, name in enumerate(MASKS)}
    probe = {name: sequence(name, seed=9) for name in MASKS}
    autoencoders = {"speech": module.speech_autoencoder, "text": module.text_autoencoder}
    leaves = [*inputs.values(), *module.parameters()]

    augmented = dict(zip(MASKS, module(*(modality(name, inputs[name]) for name in MASKS)), strict=True))
    naive_parts, parts = [], []
    for name, lengths in LENGTHS.items():
        assert augmented[name].mask is MASKS[name]
        for i, length in enumerate(lengths):
            rows = [naive_autoencoder(autoencoders[name], inputs[name][i, t]) for t in range(length)]
            torch.testing.assert_close(augmented[name].sequence[i, :length], torch.stack(rows))
            mean = total(rows, dim=0) / length
            torch.testing.assert_close(augmented[name].summary[i], mean)
            naive_parts += [mean.sum(), *((row * probe[name][i, t]).sum() for t, row in enumerate(rows))]
            parts += [(augmented[name].sequence[i, :length] * probe[name][i, :length]).sum()]
            parts += [augmented[name].summary[i].sum()]
    gradients = torch.autograd.grad(total(parts), leaves)
    torch.testing.assert_close(gradients, torch.autograd.grad(total(naive_parts), leaves))
    assert all(gradient.count_nonzero() > 0 for gradient in gradients)


def test_each_block_adds_its_output_to_what_it_reads() -> None:
    autoencoder = ResidualAutoencoder(config(num_augmentation_blocks=2, augmentation_sizes=[D, D, D])).double()
    with torch.no_grad():
        for layer in linear_layers(autoencoder):
            layer.weight.copy_(torch.eye(D))
            layer.bias.zero_()
        for layer in linear_layers(autoencoder.transition):
            layer.bias.fill_(0.5)
    # Identity layers pass a positive x unchanged: x + x = 2 x after block 1, 4 x after block 2, then twice 0.5.
    x = numbers([[[1.0, 2.0, 0.5, 3.0, 4.0, 0.1, 7.0, 1.0]]])
    torch.testing.assert_close(autoencoder(x), 4 * x + 1)
    # Of x < 0 each block passes nothing (its ReLU cuts 1e-4 x), so -x itself arrives: the transition's ReLU leaves
    # 0.5 - 0.1 of the sixth entry, nothing of the fifth, and adds 0.5.
    arrived = autoencoder(-x)[0, 0]
    assert arrived.tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.5, 0.9, 0.5, 0.5])


def test_data_of_fewer_dimensions_than_the_sum_but_more_than_a_bottleneck_are_reconstructed() -> None:
    """Twelve latent dimensions through bottlenecks of four: only the residual path can carry them."""
    torch.manual_seed(0)
    autoencoder = ResidualAutoencoder(config(hidden_size=16, augmentation_sizes=[12, 8, 4]))
    data = torch.randn(256, 12) @ torch.randn(12, 16) / 12**0.5
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=3e-3)
    for _ in range(600):
        optimizer.zero_grad()
        error = (autoencoder(data) - data).pow(2).mean()
        error.backward()
        optimizer.step()
    assert error / data.var() < 0.05


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**16), scale=st.floats(0, 1e3))
def test_padding_reaches_neither_valid_positions_nor_summaries(seed: int, scale: float) -> None:
    module = augmentation()
    inputs = {name: sequence(name).requires_grad_() for name in MASKS}
    dirty = {
        name: torch.where(mask[..., None], inputs[name], scale * sequence(name, seed)) for name, mask in MASKS.items()
    }
    clean = module(*(modality(name, inputs[name]) for name in MASKS))
    for name, expected, result in zip(
        MASKS, clean, module(*(modality(name, dirty[name]) for name in MASKS)), strict=True
    ):
        torch.testing.assert_close(result.sequence[MASKS[name]], expected.sequence[MASKS[name]])
        torch.testing.assert_close(result.summary, expected.summary)
        (gradient,) = torch.autograd.grad(expected.summary.sum(), inputs[name], retain_graph=True)
        assert gradient[~MASKS[name]].count_nonzero() == 0


def test_modalities_share_no_parameter() -> None:
    module = augmentation()
    speech, text = module(*(modality(name, sequence(name)) for name in MASKS))
    for summary, other in ((speech.summary, module.text_autoencoder), (text.summary, module.speech_autoencoder)):
        gradients = torch.autograd.grad(summary.sum(), list(other.parameters()), allow_unused=True, retain_graph=True)
        assert gradients == (None,) * len(gradients)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_acts_in_training_only_and_is_off_by_default(dropout: float) -> None:
    module = augmentation(augmentation_dropout=dropout) if dropout else augmentation()
    inputs = [modality(name, sequence(name)) for name in MASKS]
    evaluated, repeated = module(*inputs)[0].sequence, module(*inputs)[0].sequence
    trained = module.train()(*inputs)[0].sequence
    assert torch.equal(evaluated, repeated)
    assert torch.equal(evaluated, trained) == (dropout == 0)


# --- Eq. 10 ----------------------------------------------------------------------------------------------------------


def padded_reconstruction(speech: Tensor, augmented_speech: Tensor, text: Tensor, augmented_text: Tensor) -> Tensor:
    return reconstruction_loss(speech, augmented_speech, MASKS["speech"], text, augmented_text, MASKS["text"])


def naive_reconstruction(speech: Tensor, augmented_speech: Tensor, text: Tensor, augmented_text: Tensor) -> Tensor:
    pairs = {"speech": (speech, augmented_speech), "text": (text, augmented_text)}
    return total(
        (original[i, t, k] - augmented[i, t, k]) ** 2 / (length * D)
        for name, (original, augmented) in pairs.items()
        for i, length in enumerate(LENGTHS[name])
        for t in range(length)
        for k in range(D)
    ) / (2 * M)


def original_and_augmented() -> list[Tensor]:
    return [sequence(name, seed) for seed, name in enumerate(("speech", "speech", "text", "text"))]


def test_reconstruction_equals_a_loop_over_valid_positions() -> None:
    agree(padded_reconstruction, naive_reconstruction, *original_and_augmented())


def test_reconstruction_by_hand() -> None:
    # speech: sample 1 (1 + 4) / 2 = 2.5, sample 2 (3 - 1)^2 = 4, mean 3.25; text: 1 and 9, mean 5; halved sum 4.125
    speech, augmented_speech = numbers([[[1.0], [2.0]], [[3.0], [50.0]]]), numbers([[[0.0], [0.0]], [[1.0], [-50.0]]])
    text, augmented_text = numbers([[[1.0]], [[3.0]]]), numbers([[[0.0]], [[0.0]]])
    masks = torch.tensor([[True, True], [True, False]]), torch.tensor([[True], [True]])
    loss = reconstruction_loss(speech, augmented_speech, masks[0], text, augmented_text, masks[1])
    assert loss.item() == pytest.approx(4.125)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**16), scale=st.floats(0, 1e3))
def test_reconstruction_ignores_what_padding_holds(seed: int, scale: float) -> None:
    clean = original_and_augmented()
    masks = [MASKS["speech"]] * 2 + [MASKS["text"]] * 2
    dirty = [
        torch.where(mask[..., None], tensor, scale * random_numbers(*tensor.shape, seed=seed + k)).requires_grad_()
        for k, (tensor, mask) in enumerate(zip(clean, masks, strict=True))
    ]
    loss = padded_reconstruction(*dirty)
    torch.testing.assert_close(loss, padded_reconstruction(*clean))
    for gradient, mask in zip(torch.autograd.grad(loss, dirty), masks, strict=True):
        assert gradient[~mask].count_nonzero() == 0
        assert gradient[mask].count_nonzero() == gradient[mask].numel()


@pytest.mark.parametrize("dimension", [1, 2], ids=["length", "width"])
def test_reconstruction_does_not_grow_with_length_or_width(dimension: int) -> None:
    speech, augmented_speech, text, augmented_text = (
        torch.cat([tensor, tensor], dimension) for tensor in original_and_augmented()
    )
    masks = [torch.cat([mask, mask], 1) if dimension == 1 else mask for mask in MASKS.values()]
    loss = reconstruction_loss(speech, augmented_speech, masks[0], text, augmented_text, masks[1])
    torch.testing.assert_close(loss, padded_reconstruction(*original_and_augmented()))
