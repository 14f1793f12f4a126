"""The Hub pipeline: `pipeline("multimodal-emotion-recognition", model=..., trust_remote_code=True)`."""

import os
from typing import Any

import numpy as np
import torch
from transformers import Pipeline
from transformers.utils import ModelOutput

from .explanation_drkf import Explanation, explain
from .recognition_drkf import EmotionRecognizer
from .recognition_options_drkf import RecognitionOptions

TASK = "multimodal-emotion-recognition"


class MultimodalEmotionRecognitionPipeline(Pipeline):
    """What a speaker feels, from the voice and the words.

    Inputs, answers and errors are those of [`EmotionRecognizer.__call__`], options those of [`RecognitionOptions`];
    options given to `pipeline(...)` are the defaults of its calls. `preprocess`, `_forward` and `postprocess` take one
    batch of the processor's features to the model and back.

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
        self.model.eval()
        config = self.model.config
        defaults = {} if self._batch_size is None else {"batch_size": self._batch_size}
        self.recognizer = EmotionRecognizer(
            self.processor,
            lambda features: self.postprocess(self.forward(self.preprocess(features))),
            config.label_names,
            config.is_multi_label,
            getattr(config, "modality_dropout", 0.0),
            **defaults,
            **self._preprocess_params,
        )

    @property
    def label_names(self) -> list[str]:
        """The classes in the order of the logits."""
        return self.recognizer.label_names

    @property
    def is_multi_label(self) -> bool:
        return self.recognizer.is_multi_label

    def __call__(self, inputs: Any, **options: Any) -> Any:  # type: ignore[override]
        return self.recognizer(inputs, **options)

    __call__.__doc__ = EmotionRecognizer.__call__.__doc__

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        RecognitionOptions.checked(options)
        return options, {}, {}

    def preprocess(self, features: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {name: torch.from_numpy(values) for name, values in features.items()}

    def _forward(self, tensors: dict[str, torch.Tensor]) -> ModelOutput:  # type: ignore[override]
        return self.model(**tensors, output_modality_attention=True)

    def postprocess(self, output: ModelOutput) -> dict[str, np.ndarray | None]:  # type: ignore[override]
        values = {name: output.get(name) for name in ("logits", "consistency_logits", "modality_shares")}
        return {name: None if value is None else value.float().numpy() for name, value in values.items()}

    def read_audio(self, audio: Any, max_seconds: float | None = None) -> dict[str, Any]:
        """See [`EmotionRecognizer.read_audio`]."""
        return self.recognizer.read_audio(audio, max_seconds)

    def explain(self, audio: Any, text: str | None = None, answer: dict[str, Any] | None = None) -> Explanation:
        """Where the model looked while it answered; see [`explain`]."""
        return explain(self, audio, text, answer)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Model, processor and code: a folder that `pipeline(model=...)` loads."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.recognizer.processor.save_pretrained(save_directory, **kwargs)
