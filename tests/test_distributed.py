"""Two real processes: gathered batches give the one-process loss and gradients; DDP finds no unused parameter."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from helpers.tiny import MULTI_HOT, MULTI_LABEL, TABLE_4, perturb, select, tiny_batch, tiny_model
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from modeling_drkf import DRKFForEmotionClassification
from modeling_drkf.gathering_drkf import gather_rows

WORLD_SIZE = 2
GATHERED: dict[str, dict[str, Any]] = {
    f"{representation}-{fusion}": {"representation": representation, "fusion": fusion, "emotion_discrimination": True}
    for representation in ("pcmi", "cmie")
    for fusion in ("self", "cross")
} | {"multi-label": {"representation": "pcmi", **MULTI_LABEL}}


def global_batch(options: dict[str, Any]) -> dict[str, Tensor]:
    """Two samples a process, whose texts and clips differ in length between the processes."""
    labels = MULTI_HOT if "problem_type" in options else [0, 1, 2, 0]
    return tiny_batch(samples=(640, 420, 311, 355), tokens=(3, 5, 9, 7), labels=labels)


def local_batch(batch: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """A process' own two samples, padded to its own longest."""
    local = select(batch, [2 * rank, 2 * rank + 1])
    samples = int(local["audio_attention_mask"].sum(1).max())
    tokens = int(local["attention_mask"].sum(1).max())
    lengths = {"input_values": samples, "audio_attention_mask": samples, "input_ids": tokens, "attention_mask": tokens}
    return {name: tensor[:, : lengths[name]] if name in lengths else tensor for name, tensor in local.items()}


def model_of(options: dict[str, Any]) -> DRKFForEmotionClassification:
    return perturb(tiny_model(**options)).train()


def loss_and_gradients(model: torch.nn.Module, batch: dict[str, Tensor]) -> dict[str, Any]:
    output = model(**batch)
    output.loss.backward()
    named = {name.removeprefix("module."): parameter.grad.clone() for name, parameter in model.named_parameters()}
    return {"loss": output.loss.detach(), "terms": output.loss_terms, "gradients": named}


def gathered(options: dict[str, Any], rank: int, gather: bool) -> dict[str, Any]:
    model = model_of(options)
    model.gather_across_processes = gather
    return loss_and_gradients(DistributedDataParallel(model), local_batch(global_batch(options), rank))


def three_steps(options: dict[str, Any], rank: int) -> dict[str, Tensor]:
    model = DistributedDataParallel(tiny_model(dropout=0.1, **options).train(), find_unused_parameters=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for _ in range(3):
        optimizer.zero_grad()
        model(**local_batch(global_batch(options), rank)).loss.backward()
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in model.module.named_parameters()}


def uneven_rows(rank: int) -> dict[str, Any]:
    """Process r holds r + 1 rows of r + 2 columns; the weights below tell every entry of the gathered tensor apart."""
    rows = torch.full((rank + 1, rank + 2, 2), float(rank + 1), requires_grad=True)
    whole = gather_rows(rows)
    weights = torch.arange(whole.numel(), dtype=torch.float32).view_as(whole)
    (whole * weights).sum().backward()
    return {"whole": whole.detach(), "weights": weights, "gradient": rows.grad}


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD_SIZE)
    results: dict[str, Any] = {"uneven": uneven_rows(rank)}
    for name, options in GATHERED.items():
        results[name] = gathered(options, rank, gather=True)
    results["local"] = gathered(GATHERED["pcmi-self"], rank, gather=False)
    for name, options in TABLE_4.items():
        results[name] = three_steps(options, rank)
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict[str, Any]]:
    """What each process computed; one launch serves all tests."""
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(process, args=(str(folder),), nprocs=WORLD_SIZE)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(WORLD_SIZE)]


@pytest.mark.parametrize("name", GATHERED)
def test_gathered_batches_are_one_batch(name, results):
    expected = loss_and_gradients(model_of(GATHERED[name]), global_batch(GATHERED[name]))
    torch.testing.assert_close(sum(rank[name]["loss"] for rank in results) / WORLD_SIZE, expected["loss"])
    for term, value in expected["terms"].items():
        mean = sum(rank[name]["terms"][term] for rank in results) / WORLD_SIZE
        torch.testing.assert_close(mean, value, msg=lambda message, term=term: f"{term}: {message}")
    for rank in results:
        assert rank[name]["gradients"].keys() == expected["gradients"].keys()
        for parameter, gradient in expected["gradients"].items():
            torch.testing.assert_close(
                rank[name]["gradients"][parameter], gradient, atol=2e-5, rtol=1e-3,
                msg=lambda message, parameter=parameter: f"{parameter}: {message}",
            )  # fmt: skip


def test_without_gathering_each_process_compares_its_own_samples(results):
    options = GATHERED["pcmi-self"]
    batch = global_batch(options)
    alone = [loss_and_gradients(model_of(options), local_batch(batch, rank)) for rank in range(WORLD_SIZE)]
    for rank, expected in zip(results, alone, strict=True):
        torch.testing.assert_close(rank["local"]["loss"], expected["loss"])
        for name, gradient in rank["local"]["gradients"].items():
            mean = (alone[0]["gradients"][name] + alone[1]["gradients"][name]) / 2
            torch.testing.assert_close(gradient, mean, atol=2e-5, rtol=1e-3)
    for term in ("contrastive_loss", "discrimination_loss"):
        local, whole = (sum(float(rank[key]["terms"][term]) for rank in results) for key in ("local", "pcmi-self"))
        assert local != pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("row", TABLE_4)
def test_ddp_trains_every_parameter_of_every_ablation(row, results):
    first, second = (rank[row] for rank in results)
    start = dict(tiny_model(dropout=0.1, **TABLE_4[row]).named_parameters())
    assert first.keys() == start.keys()
    for name, parameter in first.items():
        assert torch.equal(parameter, second[name]), f"{name} differs between the processes"
        assert not torch.equal(parameter, start[name]), f"{name} never moved"


def test_rows_of_uneven_batches_are_gathered_own_first_with_their_gradients(results):
    expected = torch.zeros(3, 3, 2)  # one row of two columns, two rows of three
    expected[0, :2], expected[1:] = 1.0, 2.0
    first, second = (result["uneven"] for result in results)
    assert torch.equal(first["whole"], expected)
    assert torch.equal(second["whole"], torch.cat([expected[1:], expected[:1]]))
    # One share from each process' loss: the first process' row comes last in the second process.
    assert torch.equal(first["gradient"], first["weights"][:1, :2] + second["weights"][2:, :2])
    assert torch.equal(second["gradient"], first["weights"][1:] + second["weights"][:2])
