"""Every private name of other libraries that the project uses, in one table, held against what is installed."""

import argparse
import inspect
from typing import Any

import pytest
from transformers import (
    Pipeline,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
    Trainer,
    Wav2Vec2Model,
    Wav2Vec2PreTrainedModel,
)
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2FeatureEncoder
from transformers.models.whisper.modeling_whisper import WhisperPreTrainedModel

MOST = 2000  # sessions of Gradio's queue, see web/answers.py

METHODS: list[tuple[Any, str, list[str], str]] = [  # owner, name, parameters, what for
    (Trainer, "_save_checkpoint", ["self", "model", "trial"], "a checkpoint counts once it is sealed"),
    (Trainer, "_load_optimizer_and_scheduler", ["self", "checkpoint"], "resuming with other trained parameters"),
    (Trainer, "_load_from_checkpoint", ["self", "resume_from_checkpoint", "model"], "damaged weights are explained"),
    (Trainer, "_load_rng_state", ["self", "checkpoint"], "the same of random numbers"),
    (Trainer, "_load_scaler", ["self", "checkpoint"], "the same of the loss scale"),
    (Trainer, "_load_callback_state", ["self"], "the same of the callbacks"),
    (Trainer, "_get_output_dir", ["self", "trial"], "where that checkpoint lies"),
    (Trainer, "_push_from_checkpoint", ["self", "checkpoint_folder"], "a pushed checkpoint carries its code"),
    (Trainer, "_get_learning_rate", ["self"], "the encoders' rate is logged beside it"),
    (Trainer, "_get_train_sampler", ["self", "train_dataset"], "lengths of rows below a wrapping dataset"),
    (Trainer, "_get_eval_sampler", ["self", "eval_dataset"], "predictions in the order of their utterances"),
    (ProcessorMixin, "_merge_kwargs", ["self", "ModelProcessorKwargs", "tokenizer_init_kwargs", "kwargs"], "options"),
    (PreTrainedModel, "_init_weights", ["self", "module"], "the documented place of initialisation"),
    (Pipeline, "_sanitize_parameters", ["self", "pipeline_parameters"], "the documented hooks of a pipeline"),
    (Pipeline, "_forward", ["self", "input_tensors", "forward_parameters"], "the same"),
    (Wav2Vec2PreTrainedModel, "_get_feat_extract_output_lengths", ["self", "input_lengths", "add_adapter"], "frames"),
    (
        Wav2Vec2PreTrainedModel,
        "_get_feature_vector_attention_mask",
        ["self", "feature_vector_length", "attention_mask", "add_adapter"],
        "which frames are valid",
    ),
    (WhisperPreTrainedModel, "_get_feat_extract_output_lengths", ["self", "input_lengths"], "the same, of Whisper"),
    (Wav2Vec2FeatureEncoder, "_freeze_parameters", ["self"], "frozen convolutions"),
    (argparse.ArgumentParser, "_get_value", ["self", "action", "arg_string"], "recipes are read as options are"),
    (argparse.ArgumentParser, "_check_value", ["self", "action", "value"], "the same"),
]
ATTRIBUTES: list[tuple[Any, str]] = [
    (argparse.ArgumentParser(), "_actions"),  # the options that a recipe may hold
    (argparse.ArgumentParser(), "_option_string_actions"),  # by either of its names
    (PreTrainedConfig(), "_attn_implementation"),
    (PreTrainedModel, "_auto_class"),
    (PreTrainedModel, "_no_split_modules"),
    (PreTrainedModel, "_supports_sdpa"),
    (PreTrainedModel, "_supports_flash_attn"),
    (PreTrainedModel, "_supports_flex_attn"),
    (Pipeline, "_load_processor"),
    (Wav2Vec2Model, "_get_feat_extract_output_lengths"),
]


QUEUE = ["stopped", "pending_messages_per_session", "pending_event_ids_session"]  # of Gradio, see web/answers.py


@pytest.mark.parametrize(("owner", "name", "parameters", "purpose"), METHODS)
def test_a_private_method_has_the_parameters_that_it_is_called_with(owner, name, parameters, purpose):
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters, purpose


@pytest.mark.parametrize(("owner", "name"), ATTRIBUTES)
def test_a_private_attribute_is_there(owner, name):
    assert hasattr(owner, name)


def test_the_queue_of_gradio_is_as_the_page_knows_it():
    gradio = pytest.importorskip("gradio")
    with gradio.Blocks() as page:
        page.queue()
    queue = page._queue
    assert [name for name in QUEUE if not hasattr(queue, name)] == []
    assert (queue.stopped, dict(queue.pending_messages_per_session), queue.pending_event_ids_session) == (
        False,
        {},
        {},
    )
    assert queue.pending_messages_per_session.max_size == MOST


def test_the_protocol_of_uvicorn_is_as_the_page_knows_it():
    protocol = pytest.importorskip("uvicorn.protocols.http.h11_impl").H11Protocol
    methods = {
        "connection_made": ["self", "transport"],
        "data_received": ["self", "data"],
        "connection_lost": ["self", "exc"],
    }
    assert {name: list(inspect.signature(getattr(protocol, name)).parameters) for name in methods} == methods
