"""What a clip's frames have in common: statistics over time, and how they lie to what is usual. Outside Table 4.

A small corpus does not teach a fusion encoder to average; and a voice differs more from other voices than from itself
in another mood. Both are options of ME, off by default.
"""

from typing import cast

import torch
from torch import Tensor, nn

STATISTICS = 3  # mean, standard deviation, maximum
SMALLEST_SPREAD = 1e-5
SHRINKAGE_CLIPS = 2.0  # what is usual in training counts as so many clips of the speaker


def time_statistics(frames: Tensor, mask: Tensor) -> Tensor:
    """Mean, standard deviation and maximum over valid frames.

    Args:
        frames: (batch, length, width). mask: (batch, length).

    Returns: (batch, 3, width); zeros where no frame is valid.
    """
    weights = mask.unsqueeze(-1).to(frames.dtype)
    count = weights.sum(1).clamp(min=1)
    mean = (frames * weights).sum(1) / count
    variance = ((frames - mean.unsqueeze(1)).square() * weights).sum(1) / count
    lowest = torch.finfo(frames.dtype).min
    maximum = frames.masked_fill(~mask.unsqueeze(-1), lowest).amax(1) * mask.any(1, keepdim=True)
    return torch.stack([mean, variance.clamp(min=SMALLEST_SPREAD**2).sqrt(), maximum], dim=1)


def pooled_in_time(frames: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Means over windows of valid frames, which padding on the right does not move.

    Args:
        frames: (batch, length, width). mask: (batch, length), valid frames first. size: frames a window.

    Returns: (batch, windows, width), zero where no frame is valid, and the windows' mask, (batch, windows).
    """
    if size == 1:
        return frames, mask
    windows = (frames.shape[1] + size - 1) // size
    missing = windows * size - frames.shape[1]
    weights = nn.functional.pad(mask.to(frames.dtype), (0, missing)).unflatten(1, (windows, size))
    sums = nn.functional.pad(frames * mask.unsqueeze(-1).to(frames.dtype), (0, 0, 0, missing))
    counts = weights.sum(2)
    return sums.unflatten(1, (windows, size)).sum(2) / counts.clamp(min=1).unsqueeze(-1), counts > 0


def usual_statistics(clips: Tensor) -> Tensor:
    """Center and spread of some clips' statistics, (clips, ..., width) to (2, ..., width)."""
    return torch.stack([clips.mean(0), clips.std(0, correction=0).clamp(min=SMALLEST_SPREAD)])


def speaker_statistics(clips: Tensor, usual: Tensor) -> Tensor:
    """Center and spread of a speaker's clips, drawn towards what is usual: the more so the fewer the clips.

    Args:
        clips: `time_statistics` of the speaker's clips, (clips, 3, width). usual: of the training part, (2, 3, width).

    Returns: (2, 3, width).
    """
    center, spread = usual_statistics(clips)
    return drawn_towards(usual, center, spread, len(clips))


def statistics_of_the_others(clips: Tensor, usual: Tensor) -> Tensor:
    """[`speaker_statistics`] without each of at least two clips: (clips, 3, width) to (clips, 2, 3, width).

    In one pass: the sums over all clips, less the clip's own part.
    """
    wide = clips.double()
    mean, others = wide.mean(0), len(clips) - 1
    deviations = wide - mean
    shift = -deviations / others
    variance = (deviations.square().sum(0) - deviations.square()) / others - shift.square()
    spread = variance.clamp(min=SMALLEST_SPREAD**2).sqrt()
    return drawn_towards(usual.double(), mean + shift, spread, others).to(clips.dtype).transpose(0, 1)


def drawn_towards(usual: Tensor, center: Tensor, spread: Tensor, clips: int) -> Tensor:
    """Center and spread of so many clips, (..., 3, width), nearer to the usual ones: (2, ..., 3, width)."""
    share = clips / (clips + SHRINKAGE_CLIPS)
    variance = share * spread.square() + (1 - share) * usual[1].square()
    return torch.stack([share * center + (1 - share) * usual[0], variance.sqrt()])


class Standardization(nn.Module):
    """Subtracts what is usual in the training part and divides by its spread.

    Both are measured once, on the training part; until then 0 and 1 are usual.
    """

    def __init__(self, *shape: int):
        super().__init__()
        self.register_buffer("usual", torch.stack([torch.zeros(shape), torch.ones(shape)]))

    def forward(self, values: Tensor, usual: Tensor | None = None) -> Tensor:
        """
        Args:
            values: (batch, ..., width). usual: center and spread for each sample, (batch, 2, ..., width); the training
                part's, if not given.
        """
        center, spread = cast(Tensor, self.usual) if usual is None else usual.unbind(1)
        return (values - center.to(values.dtype)) / spread.to(values.dtype)


class SpeechStandardization(Standardization):
    """[`Standardization`] of time statistics, and of frames by the same numbers: by the usual mean over time and the
    usual deviation over time."""

    def __init__(self, width: int):
        super().__init__(STATISTICS, width)
        cast(Tensor, self.usual)[0, 1] = 1.0

    def frames(self, frames: Tensor, usual: Tensor | None = None) -> Tensor:
        """(batch, length, width); `usual` as in `forward`, (batch, 2, 3, width)."""
        center = cast(Tensor, self.usual)[None, 0] if usual is None else usual[:, 0]
        mean, deviation = center[:, 0, None].to(frames.dtype), center[:, 1, None].to(frames.dtype)
        return (frames - mean) / deviation.clamp(min=SMALLEST_SPREAD)
