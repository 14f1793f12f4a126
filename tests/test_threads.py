"""How many threads a training on a CPU uses."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from modeling_drkf.training import processes
from modeling_drkf.training.processes import SMALL_MODEL, fitting_threads, free_cores, threads_for


@pytest.mark.parametrize(
    ("trained", "available", "free", "threads"),
    [
        (SMALL_MODEL - 1, 8, None, 1),
        (SMALL_MODEL, 8, 8.0, 8),
        (SMALL_MODEL, 8, 2.6, 3),
        (SMALL_MODEL, 8, 0.1, 1),
        (SMALL_MODEL, 2, 30.0, 2),
        (SMALL_MODEL, 4, None, 4),
    ],
)
def test_a_small_model_has_one_thread_and_a_large_one_the_idle_cores(trained, available, free, threads):
    assert threads_for(trained, available, free) == threads


def test_idle_cores_are_counted_from_the_systems_times(tmp_path, monkeypatch: pytest.MonkeyPatch):
    times = tmp_path / "stat"
    monkeypatch.setattr(processes, "PROCESSOR_TIMES", times)
    assert free_cores() is None
    monkeypatch.setattr(processes.os, "sysconf", {"SC_CLK_TCK": 100}.get)
    clock = iter((0.0, 2.0))
    monkeypatch.setattr(processes.time, "perf_counter", lambda: next(clock))
    times.write_text("cpu 1 2 3 400 50 6 7 8\ncpu0 1 2 3 400 50 6 7 8\n")
    monkeypatch.setattr(processes.time, "sleep", lambda seconds: times.write_text("cpu 9 9 9 700 50 6 7 8\n"))
    assert free_cores() == 1.5


def test_the_number_of_threads_is_put_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with fitting_threads(nn.Linear(2, 2)) as threads:
            assert (threads, torch.get_num_threads()) == (1, 1)
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with fitting_threads(nn.Linear(2, 2)) as threads:
            assert threads == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_deepspeed_does_not_warn_of_a_missing_gpu():
    pytest.importorskip("deepspeed", reason="DeepSpeed is in the extra `deepspeed`")
    code = "from processing.quiet import quieten_deepspeed; quieten_deepspeed(); import deepspeed"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Setting accelerator to CPU" not in done.stderr + done.stdout
