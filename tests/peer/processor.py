"""transformers' own tests of processors, run on a small DRKFProcessor; `make peer` runs this file."""

import unittest
from typing import Any

import shipped
from helpers.tiny import tiny_processor

from processing.processing_drkf import DRKFProcessor, DRKFProcessorKwargs

ProcessorTesterMixin = shipped.load("test_processing_common").ProcessorTesterMixin


class At16kHz(DRKFProcessor):
    """The tests give arrays without their sampling rate, which DRKFProcessor refuses; theirs is 16 kHz."""

    _auto_class = None  # a loaded processor compares equal to the saved one only where no code travels

    def __call__(self, audio: Any = None, text: Any = None, sample_names: Any = None, **kwargs: Any) -> Any:
        if "sampling_rate" not in kwargs.get("audio_kwargs", {}):
            kwargs.setdefault("sampling_rate", 16_000)
        return super().__call__(audio, text, sample_names, **kwargs)


At16kHzKwargs = DRKFProcessorKwargs  # `test_valid_processor_kwargs_set` looks for this name


class Processor(ProcessorTesterMixin, unittest.TestCase):
    processor_class = At16kHz
    audio_input_name = "input_values"

    @classmethod
    def _setup_feature_extractor(cls) -> Any:
        return tiny_processor().feature_extractor

    @classmethod
    def _setup_tokenizer(cls) -> Any:
        return tiny_processor().tokenizer

    def test_subprocessor_defaults_3_audio(self) -> None:
        self.skipTest("the mask of the audio is audio_attention_mask: attention_mask is that of the text")
