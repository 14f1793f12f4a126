"""What frozen encoders say of a corpus: computed once, kept on disk, shared by folds, seeds and ablations."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from datasets import Dataset, Features, List, Value, concatenate_datasets
from torch import Tensor

from processing.collator import DRKFDataCollator
from processing.processing_drkf import DRKFProcessor

from ..extended_encoding_drkf import ExtendedModalityEncoding, moments_of, moments_of_the_others
from ..modeling_drkf import DRKFForEmotionClassification
from .cross_validation import fingerprint
from .datasets import DrawnEachEpoch, Inputs, blank_rows, pad_features

BATCH_SIZE = 16
HALF_PRECISION = List(Value("float16"))
MODALITIES = ("speech", "text")
MEDIA = {"audio": "clips", "text": "texts"}
LABELS = ("label", "labels")
COLUMNS = {"speech": HALF_PRECISION, "statistics": List(Value("float32")), "text": HALF_PRECISION}


def encode_corpus(rows: Dataset, model: DRKFForEmotionClassification, processor: DRKFProcessor) -> Dataset:
    """The states of each row's clip and text, flat, in the columns of `COLUMNS`; other columns stay.

    They lie in the cache of `datasets`, under a key made of the encoders' weights, the processor and the files: what
    has changed is encoded again.
    """
    encode = partial(_encode, model=model, collator=DRKFDataCollator(processor))
    return _kept_on_disk(rows, encode, COLUMNS, _key(rows, model, processor))


def _kept_on_disk(rows: Dataset, encode: Callable[..., dict[str, Any]], columns: dict[str, Any], key: str) -> Dataset:
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "drkf-states"
    folder.mkdir(parents=True, exist_ok=True)
    return rows.map(
        encode,
        batched=True,
        batch_size=BATCH_SIZE,
        features=Features({**rows.features, **columns}),
        cache_file_name=str(folder / f"{key}.arrow"),
        new_fingerprint=key,
        desc=f"Encoding {' and '.join(MEDIA[name] for name in MEDIA if name in rows.column_names)}",
    )


@torch.no_grad()
def _encode(
    columns: Mapping[str, Sequence[Any]], model: DRKFForEmotionClassification, collator: DRKFDataCollator
) -> dict[str, list[np.ndarray]]:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    batch = collator([{name: value for name, value in row.items() if name not in LABELS} for row in rows])
    encoding = model.drkf.modality_encoding.eval()
    speech = encoding.encode_speech(batch["input_values"], batch["audio_attention_mask"])
    text = encoding.encode_text(batch["input_ids"], batch["attention_mask"])
    statistics: Any = [None] * len(rows) if speech.statistics is None else speech.statistics
    return {
        "speech": [_flat(frames[mask].half()) for frames, mask in zip(speech.sequence, speech.mask, strict=True)],
        "statistics": [np.empty(0, np.float32) if clip is None else _flat(clip) for clip in statistics],
        "text": [_flat(tokens[mask].half()) for tokens, mask in zip(text.sequence, text.mask, strict=True)],
    }


def encode_texts(texts: Sequence[str], model: DRKFForEmotionClassification, processor: DRKFProcessor) -> "TextStates":
    """The states of texts alone, kept on disk like those of [`encode_corpus`]."""
    rows = Dataset.from_dict({"text": list(texts)})
    encode = partial(_encode_texts, model=model, processor=processor)
    encoded = _kept_on_disk(rows, encode, {"text_states": HALF_PRECISION}, _key(rows, model, processor))
    return TextStates(encoded, model.drkf.modality_encoding.widths[1])


@torch.no_grad()
def _encode_texts(
    columns: Mapping[str, Sequence[str]], model: DRKFForEmotionClassification, processor: DRKFProcessor
) -> dict[str, list[np.ndarray]]:
    batch = processor(text=list(columns["text"]), return_tensors="pt")
    text = model.drkf.modality_encoding.eval().encode_text(batch["input_ids"], batch["attention_mask"])
    states = [_flat(tokens[mask].half()) for tokens, mask in zip(text.sequence, text.mask, strict=True)]
    return {"text_states": states}


def _flat(states: Tensor) -> np.ndarray:
    return states.flatten().numpy()


def _key(rows: Dataset, model: DRKFForEmotionClassification, processor: DRKFProcessor) -> str:
    encoding, config = model.drkf.modality_encoding, model.config
    digest = hashlib.sha256()
    for encoder in (encoding.speech_encoder, encoding.text_encoder):
        digest.update(f"{encoder.config.to_json_string()} {fingerprint(encoder)}".encode())
    tokenizer = processor.tokenizer
    vocabulary = _fast_vocabulary(tokenizer) if tokenizer.is_fast else str(sorted(tokenizer.get_vocab()))
    limits = [processor.max_audio_samples, processor.min_audio_samples, processor.max_text_tokens]
    digest.update(f"{processor.feature_extractor.to_json_string()} {vocabulary} {limits}".encode())
    statistics = config.speech_statistics or config.standardize_states
    digest.update(f"{config.speech_pooling} {statistics} {config.speech_states}".encode())
    digest.update(f"{config.unpadded_speech} {processor.unpadded_speech} {processor.skip_silence}".encode())
    for row in rows.select_columns([name for name in rows.column_names if name not in LABELS]):
        file = Path(row["audio"]).stat() if "audio" in row else None
        facts = [row, file.st_size, file.st_mtime_ns] if file else [row]
        digest.update(json.dumps(facts, default=str, sort_keys=True).encode())
    return digest.hexdigest()[:32]


def _fast_vocabulary(tokenizer: Any) -> str:
    """All that makes tokens of a text; how the last batch was padded and cut does not."""
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps({name: value for name, value in described.items() if name not in ("padding", "truncation")})


class EncoderStates(torch.utils.data.Dataset):
    """Rows of [`encode_corpus`] as inputs of the model, one by one, read from the disk's cache as they are needed;
    `pad_features` makes batches of them.

    Args:
        rows: of a part. encoded: of the corpus. positions: of the part's rows in the latter.
        widths: of the states of speech and text.
    """

    def __init__(self, rows: Dataset, encoded: Dataset, positions: Sequence[int], widths: tuple[int, int]):
        self.rows, self.positions, self.widths = rows, positions, widths
        self.columns = {name: encoded.data.column(name) for name in COLUMNS}
        self.ids = rows["utterance_id"][:]
        label = next((name for name in LABELS if name in rows.column_names), None)
        self.labels = None if label is None else torch.tensor(rows[label][:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        speech, text = (self._states(name, index, width) for name, width in zip(MODALITIES, self.widths, strict=True))
        sample = {
            "utterance_id": self.ids[index],
            "speech_states": speech,
            "audio_attention_mask": torch.ones(len(speech), dtype=torch.long),
            "text_states": text,
            "attention_mask": torch.ones(len(text), dtype=torch.long),
        }
        statistics = self._states("statistics", index, self.widths[0])
        if len(statistics):
            sample["speech_statistics"] = statistics
        if self.labels is not None:
            sample["labels"] = self.labels[index]
        return sample

    def statistics(self) -> Tensor:
        """Of every clip over time, (clips, 3, width)."""
        return torch.stack([self._states("statistics", index, self.widths[0]) for index in range(len(self))])

    def tokens(self) -> Tensor:
        """Of all texts, (tokens, width)."""
        return torch.cat([self._states("text", index, self.widths[1]) for index in range(len(self))])

    def _states(self, name: str, index: int, width: int) -> Tensor:
        return _unflat(self.columns[name][self.positions[index]], width)


class TextStates(torch.utils.data.Dataset):
    """What [`encode_texts`] keeps, text by text, as a sample of an [`EncoderStates`] has it.

    Args:
        encoded: with the column `text_states`. width: of a state.
    """

    def __init__(self, encoded: Dataset, width: int):
        self.states, self.width = encoded.data.column("text_states"), width

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        states = _unflat(self.states[index], self.width)
        return {"text_states": states, "attention_mask": torch.ones(len(states), dtype=torch.long)}


def _unflat(states: Any, width: int) -> Tensor:
    return torch.from_numpy(states.values.to_numpy().astype(np.float32)).reshape(-1, width)


def state_inputs(
    rows: Sequence[Dataset],
    parts: Mapping[str, Dataset],
    model: DRKFForEmotionClassification,
    processor: DRKFProcessor,
) -> Inputs:
    """States of frozen encoders.

    Args:
        rows: the corpus, whose folds share what is kept on disk, and copies of it; each is kept by itself.
        parts: of these rows.
    """
    ordered = [each.select(np.argsort(each["utterance_id"][:])) for each in rows]  # the same for every fold
    columns = ["utterance_id", *COLUMNS]
    encoded = concatenate_datasets([encode_corpus(each, model, processor).select_columns(columns) for each in ordered])
    position = {utterance: index for index, utterance in enumerate(encoded["utterance_id"][:])}
    widths = model.drkf.modality_encoding.widths
    states = {
        name: EncoderStates(part, encoded, [position[utterance] for utterance in part["utterance_id"][:]], widths)
        for name, part in parts.items()
    }
    texts = partial(encode_texts, model=model, processor=processor)
    return Inputs(states, pad_features, blank_states(model, processor), texts)


def measure_training_moments(encoding: ExtendedModalityEncoding, training: EncoderStates) -> None:
    """Sets the means and deviations of the training part; see `standardize_states` of the configuration."""
    encoding.speech_standardization.usual.copy_(moments_of(training.statistics()))  # type: ignore[union-attr, operator]
    encoding.text_standardization.usual.copy_(moments_of(training.tokens()))  # type: ignore[union-attr, operator]


class SpeakerStatistics(DrawnEachEpoch):
    """Gives samples the means and deviations of their speaker's other clips in the same part; without any, and for the
    rest of the samples, those of the training part.

    Args:
        rows: of one part. training_moments: means and deviations of the training part, (2, 3, width).
        share: of the samples that get their speaker's, drawn in each epoch from seed, epoch and sample.
    """

    def __init__(self, rows: EncoderStates, training_moments: Tensor, share: float = 1.0, seed: int = 0):
        super().__init__(rows, seed)
        self.training_moments, self.share = training_moments.clone(), share
        clips = rows.statistics()
        self.known = [self.training_moments] * len(clips)
        for own in _positions(rows.rows["speaker"][:]).values():
            if len(own) > 1:
                for index, others in zip(own, moments_of_the_others(clips[own], self.training_moments), strict=True):
                    self.known[index] = others

    def __getitem__(self, index: int) -> dict[str, Any]:
        drawn = np.random.default_rng((self.seed, self.epoch, index, 1)).random() < self.share
        return {**self.rows[index], "speaker_statistics": self.known[index] if drawn else self.training_moments}


def _positions(speakers: Sequence[Any]) -> dict[Any, list[int]]:
    """Where each speaker's samples lie; those of unknown speakers, None, are left out."""
    positions: defaultdict[Any, list[int]] = defaultdict(list)
    for index, speaker in enumerate(speakers):
        if speaker is not None:
            positions[speaker].append(index)
    return positions


def blank_states(model: DRKFForEmotionClassification, processor: DRKFProcessor) -> dict[str, dict[str, Tensor]]:
    """[`blank_rows`] as states, for the samples of an [`EncoderStates`]."""
    blanks = blank_rows(processor)
    row = {**blanks["speech"], **blanks["text"]}
    encoded = _encode({name: [value] for name, value in row.items()}, model, DRKFDataCollator(processor))
    rows = Dataset.from_dict({"utterance_id": [""]})
    states = Dataset.from_dict(encoded, features=Features(COLUMNS))
    sample = EncoderStates(rows, states, [0], model.drkf.modality_encoding.widths)[0]
    speech = ("speech_states", "speech_statistics", "audio_attention_mask")
    return {
        "speech": {name: sample[name] for name in speech if name in sample},
        "text": {name: sample[name] for name in ("text_states", "attention_mask")},
    }
