"""DRKF is imported before, after and between the public names of the libraries that it works with.

Each order runs in a process of its own, in which nothing but what is named was imported: a fresh interpreter that is
forked for each.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = {
    "transformers": (
        *("AutoFeatureExtractor", "Trainer", "Wav2Vec2ForSequenceClassification", "pipeline", "AutoConfig"),
        *("AutoModel", "AutoModelForAudioClassification", "AutoProcessor", "AutoTokenizer", "TrainingArguments"),
        *("TrainerCallback", "EarlyStoppingCallback", "DataCollatorWithPadding", "Pipeline", "PreTrainedModel"),
        *("PreTrainedConfig", "PreTrainedTokenizerFast", "ProcessorMixin", "Wav2Vec2Processor", "HubertModel"),
        *("Wav2Vec2FeatureExtractor", "WavLMModel", "WhisperProcessor", "RobertaModel", "BertTokenizerFast"),
        *("AudioClassificationPipeline", "BitsAndBytesConfig", "GenerationConfig", "set_seed", "get_scheduler"),
    ),
    "peft": ("get_peft_model", "LoraConfig", "PeftModel", "TaskType"),
    "accelerate": ("Accelerator", "init_empty_weights", "infer_auto_device_map", "notebook_launcher"),
    "datasets": ("Audio", "Dataset", "DatasetDict", "Features", "concatenate_datasets", "load_dataset"),
}
IMPORTS = [f"from {package} import {name}" for package, names in NAMES.items() for name in names]
FEW = [f"from transformers import {name}" for name in NAMES["transformers"][:4]] + ["from peft import PeftModel"]

# Runs each order given on the command line in a fork of this interpreter, and shows those that failed.
RUN = """
import os, sys, traceback
exec(sys.argv[1])
failed = False
for order in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        try:
            exec(order, {})
        except BaseException:
            print(order, file=sys.stderr)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    failed |= os.waitpid(child, 0)[1] != 0
sys.exit(failed)
"""
REGISTERED = """
from modeling_drkf import DRKFConfig, DRKFForEmotionClassification
from transformers import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY
assert MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[DRKFConfig] is DRKFForEmotionClassification
assert "multimodal-emotion-recognition" in PIPELINE_REGISTRY.get_supported_tasks()
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def run(first: str, orders: list[str]) -> None:
    command = [sys.executable, "-c", RUN, first, *(f"{order}\n{REGISTERED}" for order in orders)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]


def between(imports: list[str]) -> list[str]:
    """Each import before DRKF's, and that of its successor after it."""
    following = [*imports[1:], imports[0]]
    return [f"{before}\nimport modeling_drkf\n{after}" for before, after in zip(imports, following, strict=True)]


def test_some_names_after_drkf():
    run("import modeling_drkf", FEW)


def test_drkf_between_some_names():
    run("import torch, transformers", between(FEW[1:4]))


@pytest.mark.slow
def test_every_name_after_drkf():
    assert len(IMPORTS) >= 30
    run("import modeling_drkf", IMPORTS)


@pytest.mark.slow
@pytest.mark.parametrize("package", NAMES)
def test_drkf_between_all_names_of_a_package(package: str):
    """The first of the other packages come after the last of each."""
    others = [f"from {other} import {names[0]}" for other, names in NAMES.items() if other != package]
    run("import torch, transformers", between([f"from {package} import {name}" for name in NAMES[package]] + others))
