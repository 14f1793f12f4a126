"""Emodality shuffling (sec. 3.4.2): every speech of a batch is fused with the texts of the other samples."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .outputs_drkf import Modality

KEPT_TEXTS = 8


def shuffle_emodalities(num_speech: int, num_text: int, device: torch.device | str = "cpu") -> Tensor:
    """Which texts each speech meets: all but its own, (num_speech, num_text - 1).

    The matched pairs (S_i, T_i) are fused elsewhere. There are more texts than speech where those of other processes
    are behind the batch's own.
    """
    shifts = torch.arange(1, num_text, device=device)
    return (torch.arange(num_speech, device=device).unsqueeze(1) + shifts) % num_text


def fuse_pairs(encoder: nn.Module, speech: Modality, texts: Modality, text_index: Tensor) -> Tensor:
    """X_fusion of the pairs (S_i, T_j), (batch * texts, d), those of the first sample of speech first.

    One sample of speech is fused with all of its texts at a time, or all samples with one text each: no pair carries
    the padding of another speech, and no frame is copied. Where a sample meets more than `KEPT_TEXTS` texts, no
    activations are kept, but the pairs are fused again in the backward pass, so that memory does not grow with the
    square of the batch; an encoder that checkpoints its layers does so by itself.

    Args:
        encoder: FE. text_index: the texts that each sample of speech meets, (batch, texts).
    """

    def fuse(speech: Modality, texts: Modality) -> Tensor:
        return encoder(speech, texts).vector

    if text_index.shape[1] == 1:
        return fuse(speech, select(texts, text_index[:, 0]))
    recompute = torch.is_grad_enabled() and text_index.shape[1] > KEPT_TEXTS and not checkpoints_layers(encoder)
    frames, tokens = valid_lengths(speech.mask), valid_lengths(texts.mask)[text_index].amax(1)
    fused = []
    for i, (num_frames, num_tokens) in enumerate(torch.stack([frames, tokens], dim=1).tolist()):
        pair = cut(repeated(speech, i, text_index.shape[1]), num_frames), cut(select(texts, text_index[i]), num_tokens)
        fused.append(checkpoint(fuse, *pair, use_reentrant=False) if recompute else fuse(*pair))
    return torch.cat(fused)


def select(modality: Modality, index: Tensor) -> Modality:
    """The samples of the given indices, (P,), in that order."""
    # The gradient of sequence[index] is summed by several threads in whatever order they come.
    sequence, mask, summary = (tensor.index_select(0, index) for tensor in modality[:3])
    return Modality(sequence, mask, summary)


def repeated(modality: Modality, sample: int, times: int) -> Modality:
    """One sample, several times, without copies."""
    sequence, mask, summary = (tensor[sample].expand(times, *tensor.shape[1:]) for tensor in modality[:3])
    return Modality(sequence, mask, summary)


def cut(modality: Modality, length: int) -> Modality:
    """The first positions of each sample."""
    return Modality(modality.sequence[:, :length], modality.mask[:, :length], modality.summary)


def checkpoints_layers(encoder: nn.Module) -> bool:
    return any(getattr(layer, "gradient_checkpointing", False) for layer in encoder.modules())


def valid_lengths(mask: Tensor) -> Tensor:
    """Positions up to the last valid one, at least one: (batch, length) to (batch,)."""
    positions = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (mask * positions).amax(1).clamp(min=1)
