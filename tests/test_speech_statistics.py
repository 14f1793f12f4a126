"""Statistics over time and standardisation: hand-computed numbers, padding, and states in place of raw input."""

import pytest
import torch
from helpers.tiny import alone, encode, perturb, select, tiny_batch, tiny_model

from modeling_drkf.extended_encoding_drkf import (
    SpeechStandardization,
    Standardization,
    moments_of,
    moments_of_the_others,
    pooled_in_time,
    speaker_moments,
    time_statistics,
)

FRAMES = torch.tensor([[[1.0, 2.0], [3.0, 2.0], [99.0, 99.0]], [[5.0, -4.0], [99.0, 99.0], [99.0, 99.0]]])
MASK = torch.tensor([[True, True, False], [True, False, False]])
OPTIONS = {"speech_statistics": True, "speech_pooling": 2, "standardize_states": True}


def test_time_statistics_are_mean_deviation_and_maximum_of_valid_frames():
    statistics = time_statistics(FRAMES, MASK)
    expected = [[[2.0, 2.0], [1.0, 0.0], [3.0, 2.0]], [[5.0, -4.0], [0.0, 0.0], [5.0, -4.0]]]
    torch.testing.assert_close(statistics, torch.tensor(expected), atol=2e-5, rtol=0)
    assert time_statistics(FRAMES[:1], torch.zeros(1, 3, dtype=torch.bool)).abs().max() <= 1e-5


def test_constant_frames_have_a_finite_gradient():
    frames = torch.ones(1, 4, 2, requires_grad=True)
    time_statistics(frames, torch.ones(1, 4, dtype=torch.bool)).sum().backward()
    assert torch.isfinite(frames.grad).all()


def test_windows_are_means_of_valid_frames():
    frames, mask = pooled_in_time(FRAMES, MASK, 2)
    torch.testing.assert_close(frames, torch.tensor([[[2.0, 2.0], [0.0, 0.0]], [[5.0, -4.0], [0.0, 0.0]]]))
    assert mask.tolist() == [[True, False], [True, False]]
    assert pooled_in_time(FRAMES, MASK, 1)[0] is FRAMES


def test_standardisation_by_training_part_and_by_speaker():
    clips = torch.tensor([[[0.0], [1.0], [4.0]], [[2.0], [3.0], [4.0]]])  # mean, deviation, maximum of two clips
    usual = moments_of(clips)
    torch.testing.assert_close(usual[:, :, 0], torch.tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 1e-5]]))
    module = SpeechStandardization(1)
    assert torch.equal(module(clips), clips - torch.tensor([0.0, 1.0, 0.0])[:, None])
    frames = torch.tensor([[[3.0], [1.0]]])
    assert torch.equal(module.frames(frames), frames)
    module.usual.copy_(usual)
    torch.testing.assert_close(module(clips)[0, :2, 0], torch.tensor([-1.0, -1.0]))
    torch.testing.assert_close(module.frames(frames)[0, :, 0], torch.tensor([1.0, 0.0]))
    speaker = torch.stack([torch.full((3, 1), 3.0), torch.full((3, 1), 2.0)])
    torch.testing.assert_close(module(clips[:1], speaker[None])[0, :, 0], torch.tensor([-1.5, -1.0, 0.5]))
    torch.testing.assert_close(module.frames(frames, speaker[None])[0, :, 0], torch.tensor([0.0, -2 / 3]))


def test_few_clips_of_a_speaker_are_drawn_towards_what_is_usual():
    usual = torch.tensor([[[0.0]], [[1.0]]])
    one = speaker_moments(torch.tensor([[[6.0]]]), usual)  # 1 of 3 parts: center 2, variance 2/3
    torch.testing.assert_close(one.flatten(), torch.tensor([2.0, (2 / 3) ** 0.5]))
    many = speaker_moments(torch.full((10_000, 1, 1), 6.0), usual)
    torch.testing.assert_close(many[0].flatten(), torch.tensor([6.0]), atol=2e-3, rtol=0)


def test_moments_of_the_others_are_those_without_the_clip():
    generator = torch.Generator().manual_seed(0)
    for size, offset in ((2, 0.0), (5, 0.0), (40, 300.0)):  # far from zero, too
        clips = torch.randn(size, 3, 4, generator=generator) * 0.1 + offset
        clips[0] += 50.0  # one that is most of all sums
        usual = torch.stack([torch.randn(3, 4, generator=generator), torch.rand(3, 4, generator=generator) + 0.1])
        found = moments_of_the_others(clips, usual)
        for index in range(size):
            others = torch.cat([clips[:index], clips[index + 1 :]])
            expected = speaker_moments(others.double(), usual.double()).float()
            torch.testing.assert_close(found[index], expected, rtol=1e-6, atol=1e-6)


def measured(model, batch):
    """The model with the statistics of the batch as what is usual."""
    encoding = model.drkf.modality_encoding
    with torch.no_grad():
        speech = encoding.encode_speech(batch["input_values"], batch["audio_attention_mask"])
        text = encoding.encode_text(batch["input_ids"], batch["attention_mask"])
    encoding.speech_standardization.usual.copy_(moments_of(speech.statistics))
    encoding.text_standardization.usual.copy_(moments_of(text.sequence[text.mask]))
    return speech, text


def test_states_give_what_raw_input_gives_and_padding_never_matters():
    model, batch = perturb(tiny_model(**OPTIONS)).eval(), tiny_batch()
    speech, text = measured(model, batch)
    states = {
        "speech_states": speech.sequence, "speech_statistics": speech.statistics, "audio_attention_mask": speech.mask,
        "text_states": text.sequence, "attention_mask": text.mask,
    }  # fmt: skip
    with torch.no_grad():
        whole = model(**batch)
        torch.testing.assert_close(model(**states).logits, whole.logits, atol=0, rtol=0)
        for row in range(len(whole.logits)):
            own = model(**alone(batch, row)).logits[0]
            torch.testing.assert_close(own, whole.logits[row], atol=1e-5, rtol=0)


def test_the_speaker_takes_the_place_of_the_training_part():
    model, batch = perturb(tiny_model(**OPTIONS)).eval(), tiny_batch()
    _speech, _ = measured(model, batch)
    usual = model.drkf.modality_encoding.speech_standardization.usual
    with torch.no_grad():
        plain = model(**batch).logits
        same = model(**batch, speaker_statistics=usual.expand(len(plain), -1, -1, -1)).logits
        other = model(**batch, speaker_statistics=(usual + 0.5).expand(len(plain), -1, -1, -1)).logits
    torch.testing.assert_close(same, plain, atol=1e-6, rtol=0)
    assert (other - plain).abs().max() > 1e-3


def test_every_parameter_of_the_options_learns():
    model = tiny_model(**OPTIONS, adapter_dropout=0.2).train()
    batch = tiny_batch()
    measured(model, batch)
    model(**batch, labels=torch.tensor([0, 1, 2, 0])[: len(batch["input_ids"])]).loss.backward()
    adapters = [name for name, _ in model.named_parameters() if "adapter" in name]
    assert any("statistics_adapter" in name for name in adapters)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "adapter" in name:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_dropout_before_the_adapters_is_drawn_for_speech_and_text():
    encoding = tiny_model(**OPTIONS, adapter_dropout=0.4).drkf.modality_encoding.train()
    encoding.speech_encoder.eval(), encoding.text_encoder.eval()
    drawn, again = encode(encoding, tiny_batch()), encode(encoding, tiny_batch())
    assert not any(torch.equal(half.sequence, other.sequence) for half, other in zip(drawn, again, strict=True))


def test_neither_both_nor_none_of_raw_input_and_states():
    model, batch = tiny_model(**OPTIONS), select(tiny_batch(), [0])
    with pytest.raises(ValueError, match="one of input_values and speech_states"):
        model(input_ids=batch["input_ids"])
    with pytest.raises(ValueError, match="need speech_statistics beside them"):
        model(speech_states=torch.zeros(1, 2, 32), input_ids=batch["input_ids"])
    assert isinstance(model.drkf.modality_encoding.text_standardization, Standardization)
