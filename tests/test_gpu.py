"""What a GPU must do as a CPU does: `benchmarks/gpu.sh` runs these where there is one."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from helpers.tiny import gradients, perturb, tiny_batch, tiny_config, tiny_model
from helpers.trainers import trainer
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from modeling_drkf import DRKFForEmotionClassification

DEVICE = "cuda"
LABELS = [0, 1, 2, 0]
WIDE_HEADS = {"hidden_size": 64, "num_fusion_heads": 4}  # flash and flex refuse narrow ones

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no GPU"),
]


def placed(device: str) -> tuple[Any, dict[str, torch.Tensor]]:
    batch = {name: tensor.to(device) for name, tensor in tiny_batch(labels=LABELS).items()}
    return perturb(tiny_model(**WIDE_HEADS)).train().to(device), batch


def step(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return loss.detach().cpu(), {name: gradient.cpu() for name, gradient in gradients(model).items()}


def assert_like_the_cpu(loss: torch.Tensor, found: dict[str, torch.Tensor], tolerance: float) -> None:
    expected_loss, expected = step(*placed("cpu"))
    torch.testing.assert_close(loss.float(), expected_loss, rtol=tolerance, atol=0)
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name].float(), gradient, rtol=tolerance, atol=tolerance * scale, msg=name)


def test_loss_and_gradients_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert_like_the_cpu(*step(*placed(DEVICE)), tolerance=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype: torch.dtype):
    with torch.autocast(DEVICE, dtype):
        loss, found = step(*placed(DEVICE))
    assert_like_the_cpu(loss, found, tolerance=0.1)


@pytest.mark.parametrize("attention", ["flash_attention_2", "flex_attention"])
def test_other_attention_agrees_and_trains_with_dropout(attention: str):
    if attention == "flash_attention_2" and find_spec("flash_attn") is None:
        pytest.skip("flash_attn is not installed")
    config = tiny_config(**WIDE_HEADS)
    dtype = torch.bfloat16 if attention == "flash_attention_2" else torch.float32
    model = perturb(DRKFForEmotionClassification._from_config(config, attn_implementation=attention))
    model = model.to(DEVICE, dtype).eval()
    sdpa = DRKFForEmotionClassification._from_config(config, attn_implementation="sdpa")
    sdpa.load_state_dict(model.state_dict())
    _, batch = placed(DEVICE)
    with torch.no_grad():
        expected = sdpa.to(DEVICE, dtype).eval()(**batch).logits
        torch.testing.assert_close(model(**batch).logits, expected, rtol=0.02, atol=0.02)
    model.drkf.fusion_encoder.train()
    for layer in model.drkf.fusion_encoder.layers:
        layer.attention.dropout = 0.5
    _, found = step(model, batch)
    assert all(gradient.isfinite().all() for gradient in found.values())


def test_a_compiled_fusion_encoder_gives_the_same_loss_and_gradients():
    model, batch = placed(DEVICE)
    model.drkf.fusion_encoder.compile(dynamic=True)
    assert_like_the_cpu(*step(model, batch), tolerance=1e-2)


def test_sharded_over_one_device_pairs_are_fused_again_in_the_backward_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("modeling_drkf.kf_emodality_shuffling.KEPT_TEXTS", 0)
    backend = "nccl" if DEVICE == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mesh = init_device_mesh(DEVICE, (1,))
        model, batch = placed(DEVICE)
        for layer in model.drkf.fusion_encoder.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        loss = model(**batch).loss
        loss.backward()
        found = {name: gradient.full_tensor().cpu() for name, gradient in gradients(model).items()}
    finally:
        dist.destroy_process_group()
    assert_like_the_cpu(loss.detach().cpu(), found, tolerance=1e-2)


def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path):
    options = {"max_steps": 4, "save_steps": 2, "use_cpu": DEVICE == "cpu", "seed": 1}
    whole = trainer(tmp_path / "a", **options)
    whole.train()
    again = trainer(tmp_path / "b", **options)
    again.train(str(tmp_path / "a" / "checkpoint-2"))
    for (name, expected), actual in zip(whole.model.named_parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6, msg=name)
