"""A tiny model under a real `DRKFTrainer`."""

from pathlib import Path

import torch
from datasets import Dataset

from modeling_drkf import DRKFTrainer, DRKFTrainingArguments

from .tiny import tiny_model, tiny_processor


def rows(count: int = 8, samples: int = 4000) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(samples + 300 * index, generator=generator).tolist() for index in range(count)]
    return Dataset.from_dict(
        {
            "audio": [{"array": clip, "sampling_rate": 16000} for clip in clips],
            "text": ["good day", "bad day today"] * (count // 2),
            "label": [index % 3 for index in range(count)],
        }
    )


def trainer(folder: Path, *, model_options: dict | None = None, **options) -> DRKFTrainer:
    arguments = DRKFTrainingArguments(
        str(folder), **{"per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True, **options}
    )
    data = rows()
    return DRKFTrainer(
        tiny_model(max_fusion_positions=600, **(model_options or {})),
        arguments,
        train_dataset=data,
        eval_dataset=data,
        processing_class=tiny_processor(),
    )
