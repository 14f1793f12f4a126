"""The Hub pipeline: `pipeline("multimodal-emotion-recognition", model=..., trust_remote_code=True)`."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from transformers import Pipeline, PreTrainedModel, ProcessorMixin
from transformers.utils import ModelOutput

from .audio_drkf import AudioSource
from .errors_drkf import DependencyError, FileError, InputError
from .recognition_drkf import Answer, EmotionRecognizer
from .recognition_options_drkf import Processor, RecognitionOptions

TASK = "multimodal-emotion-recognition"
EMBEDDINGS = {"fused": "pooler_output", "speech": "speech_summary", "text": "text_summary"}


class MultimodalEmotionRecognitionPipeline(Pipeline):
    """What a speaker feels, from the voice and the words.

    Inputs, answers and errors are those of [`EmotionRecognizer.__call__`], options those of [`RecognitionOptions`];
    options given to `pipeline(...)` are the defaults of its calls. A call reads ahead, batches clips of like length
    and goes on after an input that cannot be used; `preprocess`, `forward` and `postprocess` take one input to its
    answer.

    Example:

    ```python
    pipe = pipeline("multimodal-emotion-recognition", model="runs/demo/both", trust_remote_code=True)
    pipe({"audio": "clip.wav", "text": "You find me furious after the contract."})
    pipe("meeting.wav", chunk_length_s=10, transcriber="openai/whisper-tiny", batch_size=8)
    ```
    """

    _load_processor: Any = True
    _load_tokenizer: Any = False
    _load_feature_extractor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.processor is None:
            raise ValueError("the pipeline needs the checkpoint's processor: pipeline(..., processor=processor)")
        require_weights(self.model)
        self.model.eval()
        config = self.model.config
        options = {name: value for name, value in kwargs.items() if name in RecognitionOptions.names()}
        self.recognizer = EmotionRecognizer(
            cast(Processor, self.processor),
            self._infer,
            config.label_names,
            config.is_multi_label,
            getattr(config, "modality_dropout", 0.0),
            self.model.name_or_path or "the model",
            PipelineVoices(self)
            if getattr(config, "standardize_states", False) and config.speech_statistics
            else None,
            **options,
        )

    @property
    def label_names(self) -> list[str]:
        """The classes in the order of the logits."""
        return self.recognizer.label_names

    @property
    def is_multi_label(self) -> bool:
        return self.recognizer.is_multi_label

    def __call__(self, inputs: Any, names: Sequence[str] | None = None, **options: Any) -> Any:  # type: ignore[override]
        return self.recognizer(inputs, names, **options)

    __call__.__doc__ = EmotionRecognizer.__call__.__doc__

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        RecognitionOptions.checked(options)
        return options, {}, {name: options[name] for name in ("top_k", "return_embeddings") if name in options}

    def preprocess(self, inputs: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """One input, as a call takes it, to the model's tensors; `units` are the pieces that they belong to."""
        units = self.recognizer.units(inputs, **options)
        waiting = [unit for unit in units if unit.is_waiting]
        return {"units": units, **(_tensors(self.recognizer.features(waiting)) if waiting else {})}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        tensors = {name: value for name, value in model_inputs.items() if name != "units"}
        output = self.model(**tensors, output_modality_attention=True) if tensors else None
        return {"units": model_inputs.get("units"), "output": output}

    def postprocess(  # type: ignore[override]
        self, model_outputs: dict[str, Any], top_k: int | None = None, return_embeddings: bool = False
    ) -> Answer:
        """The answer, or the timeline, to the input that `preprocess` read."""
        units = model_outputs["units"]
        if waiting := [unit for unit in units if unit.is_waiting]:
            self.recognizer.answer(waiting, _arrays(model_outputs["output"]), top_k, return_embeddings)
        item = units[0].item
        item.answers = [unit.answer for unit in units]
        return item.whole_answer()

    def _infer(self, features: dict[str, np.ndarray]) -> dict[str, np.ndarray | None]:
        try:
            return _arrays(self.forward(_tensors(features))["output"])  # type: ignore[index]
        except ValueError as error:  # a sequence beyond the model's positions
            raise InputError(str(error)) from error

    def speaker(self, clips: Sequence[AudioSource]) -> np.ndarray:
        """How a speaker sounds, for the option `speaker`; `numpy.save` keeps it.

        Args:
            clips: recordings of the speaker.

        Returns: mean and spread of their statistics over time, (2, 3, width).

        Raises:
            AudioError: a recording cannot be used.
            InputError: there is no recording.
        """
        if not isinstance(clips, Sequence) or isinstance(clips, (str, bytes)) or not clips:
            raise InputError("speaker takes a list of recordings, at least one")
        encoding: Any = self.model.drkf.modality_encoding  # type: ignore[union-attr]
        processor: Any = self.processor
        statistics = []
        for number, clip in enumerate(clips, 1):
            name = f"clip {number} of the speaker"
            inputs = processor(audio=clip, sample_names=[name], return_tensors="pt").to(self.device)
            with torch.inference_mode():
                found = encoding.encode_speech(inputs["input_values"], inputs["audio_attention_mask"])
            statistics.append(found.statistics)
        return encoding.speaker_statistics(torch.cat(statistics)).float().cpu().numpy()

    def read_audio(self, audio: AudioSource, max_seconds: float | None = None) -> dict[str, Any]:
        """See [`EmotionRecognizer.read_audio`]."""
        return self.recognizer.read_audio(audio, max_seconds)

    def explain(self, audio: AudioSource, text: str | None = None, answer: Answer | None = None) -> Any:
        """An `Explanation`: where the model looked while it answered; see [`processing.explanation.explain`].

        Raises:
            DependencyError: the package drkf is not installed.
        """
        try:
            explanation = import_module("processing.explanation")
        except ImportError as error:
            raise DependencyError("explaining an answer needs the package drkf: pip install drkf") from error
        return explanation.explain(self, audio, text, answer)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Model, processor and code: a folder that `pipeline(model=...)` loads."""
        self.model.save_pretrained(save_directory, **kwargs)
        cast(ProcessorMixin, self.processor).save_pretrained(save_directory, **kwargs)


class PipelineVoices:
    """The `Voices` of a pipeline whose model standardises speech by speaker."""

    def __init__(self, pipe: MultimodalEmotionRecognitionPipeline):
        self._speaker, self._device = pipe.speaker, pipe.device
        self._encoding: Any = pipe.model.drkf.modality_encoding  # type: ignore[union-attr]

    @property
    def usual(self) -> np.ndarray:
        return self._encoding.speech_standardization.usual.float().cpu().numpy()

    def of_clips(self, clips: Sequence[AudioSource]) -> np.ndarray:
        return self._speaker(clips)

    def encode(self, features: dict[str, np.ndarray]) -> tuple[dict[str, Any], np.ndarray]:
        tensors = {name: tensor.to(self._device) for name, tensor in _tensors(features).items()}
        try:
            with torch.inference_mode():
                speech = self._encoding.encode_speech(tensors.pop("input_values"), tensors.pop("audio_attention_mask"))
        except ValueError as error:
            raise InputError(str(error)) from error
        states = {"speech_states": speech.sequence, "audio_attention_mask": speech.mask}
        states["speech_statistics"] = speech.statistics
        return {**tensors, **states}, speech.statistics.float().cpu().numpy()

    def moments(self, mean: np.ndarray, deviation: np.ndarray, clips: int) -> np.ndarray:
        return self._encoding.shrunk_statistics(torch.from_numpy(mean), torch.from_numpy(deviation), clips).numpy()


def require_weights(model: PreTrainedModel) -> None:
    """Raises `FileError` for a model with weights that are not its checkpoint's but drawn at random."""
    if missing := getattr(model, "missing_weights", None):
        raise FileError(
            f"{model.name_or_path} lacks {len(missing)} of its weights, {missing[0]} among them: restore the file of "
            "the weights from its source, or train the model where they are new on purpose"
        )


def _tensors(features: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(values) for name, values in features.items()}


def _arrays(output: ModelOutput) -> dict[str, np.ndarray | None]:
    values = {name: output.get(name) for name in ("logits", "consistency", "modality_shares")}
    values |= {name: output.get(field) for name, field in EMBEDDINGS.items()}
    return {name: None if value is None else value.float().cpu().numpy() for name, value in values.items()}
