"""transformers' own tests of configurations and models, run on tiny DRKFs; `make peer` runs this file."""

import unittest
from typing import ClassVar

import shipped
import torch
from helpers.tiny import tiny_batch, tiny_config

from modeling_drkf import DRKFConfig, DRKFForEmotionClassification, DRKFModel

common = shipped.load("test_modeling_common")
ConfigTester = shipped.load("test_configuration_common").ConfigTester

# The mixin looks up in these tables which class has no loss and which takes a class id a sample.
common.MODEL_MAPPING_NAMES = common.MODEL_MAPPING_NAMES | {"drkf": "DRKFModel"}
common.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES = {"drkf": "DRKFForEmotionClassification"}

SAMPLES, TOKENS = (640, 420, 555, 311, 600, 480, 640), (5, 9, 3, 7, 9, 4, 6)
FRAMES = 31  # of 640 samples


class DRKFTester:
    """What the mixin asks for: a small configuration and a batch for it."""

    batch_size = len(SAMPLES)
    num_hidden_layers = 2
    num_attention_heads = 4
    hidden_size = 32
    num_hidden_states_types = 3  # of the fusion encoder and of both encoders
    seq_length = 3 + FRAMES + max(TOKENS)  # CLS, SEP and SEP of the fused sequence
    is_training = True
    speech_encoder = "wav2vec2"

    def __init__(self, parent: unittest.TestCase, fusion: str):
        self.parent, self.fusion = parent, fusion

    def get_config(self) -> DRKFConfig:
        return tiny_config(self.speech_encoder, fusion=self.fusion)

    def prepare_config_and_inputs_for_common(self) -> tuple[DRKFConfig, dict[str, torch.Tensor]]:
        return self.get_config(), tiny_batch(self.speech_encoder, SAMPLES, TOKENS)


class DRKFTests(common.ModelTesterMixin):
    all_model_classes = (DRKFModel, DRKFForEmotionClassification)
    _is_composite = True
    test_can_init_all_missing_weights_before_2023 = True
    additional_model_inputs: ClassVar = ["input_ids", "audio_attention_mask", "attention_mask"]
    fusion: str

    def setUp(self) -> None:
        self.model_tester = DRKFTester(self, self.fusion)
        fields = {"fusion": self.fusion, "hidden_size": 64}
        self.config_tester = ConfigTester(self, DRKFConfig, has_text_modality=False, **fields)

    def test_config(self) -> None:
        self.config_tester.run_common_tests()

    def test_can_init_all_missing_weights(self) -> None:
        """With SEW: `_init_weights` of Wav2Vec2 and its like leaves out some of their own weights."""
        self.model_tester.speech_encoder = "sew"
        super().test_can_init_all_missing_weights()

    def test_model_outputs_equivalence(self) -> None:
        with self.subTest("DRKFModel"):
            self.skipTest("the test subtracts outputs, which PyTorch refuses for the boolean masks of DRKFModel")
        self.all_model_classes = (DRKFForEmotionClassification,)
        with self.subTest("DRKFForEmotionClassification"):
            super().test_model_outputs_equivalence()


class FEs(DRKFTests, unittest.TestCase):
    fusion = "self"


class FEc(DRKFTests, unittest.TestCase):
    fusion = "cross"

    def setUp(self) -> None:
        super().setUp()
        self.model_tester.seq_length = FRAMES + max(TOKENS)  # FE_c has no special tokens

    def test_attention_outputs(self) -> None:
        """FE_c attends twice a layer: speech to text, then text to speech."""
        self.model_tester.num_hidden_layers *= 2
        self.model_tester.encoder_seq_length, self.model_tester.key_length = FRAMES, max(TOKENS)
        super().test_attention_outputs()

    @unittest.skip("the hidden states of FE_c are both modalities put together for the output, beside the graph")
    def test_retain_grad_hidden_states_attentions(self) -> None:
        pass
