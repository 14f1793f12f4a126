"""Fusing the shuffled pairs of Eq. 19: one sample of speech with all of its texts at a time, or all with one each."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .orl_modality_encoding import Modality

KEPT_TEXTS = 8


def fuse_pairs(encoder: nn.Module, speech: Modality, text: Modality, text_index: Tensor, recompute: bool) -> Tensor:
    """X_fusion of the pairs (S_i, T_j), (batch * texts, d), those of the first sample of speech first.

    Where a sample meets several texts, no pair carries the padding of another speech and no frame is copied.

    Args:
        encoder: FE. text_index: the texts that each sample of speech meets, (batch, texts).
        recompute: where a sample meets more than `KEPT_TEXTS` texts keep no activations, but fuse the pairs again in
            the backward pass, so that memory does not grow with the square of the batch.
    """

    def fuse(speech: Modality, text: Modality) -> Tensor:
        return encoder(speech, text).vector

    if text_index.shape[1] == 1:
        return fuse(speech, text.select(text_index[:, 0]))
    recompute = recompute and torch.is_grad_enabled() and text_index.shape[1] > KEPT_TEXTS
    frames, tokens = _valid_lengths(speech.mask), _valid_lengths(text.mask)[text_index].amax(1)
    fused = []
    for i, (num_frames, num_tokens) in enumerate(torch.stack([frames, tokens], dim=1).tolist()):
        halves = speech.repeated(i, text_index.shape[1]).cut(num_frames), text.select(text_index[i]).cut(num_tokens)
        fused.append(checkpoint(fuse, *halves, use_reentrant=False) if recompute else fuse(*halves))
    return torch.cat(fused)


def _valid_lengths(mask: Tensor) -> Tensor:
    """Positions up to the last valid one, at least one: (batch, length) to (batch,)."""
    positions = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (mask * positions).amax(1).clamp(min=1)
