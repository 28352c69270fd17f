"""What a step of training costs, and what of it is memory handed back to the system and asked for again.

``pytest -m benchmark tests/benchmarks/test_training_step.py -s`` prints the rows of docs/performance.md.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("torch")

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

PROGRAM = """
import json, sys, time
import torch
from braggwatch.models.learning.freed_memory import keep_freed_memory
from braggwatch.models.networks.cxdp import FoveatedConfig, FoveatedNet, PaperNet
from braggwatch.models.networks.sdm import PaperSdmNet

if sys.argv[2] == "kept" and not keep_freed_memory():
    sys.exit(3)
torch.set_num_threads(1)
network, shape, bf16 = {
    "foveated": (FoveatedNet(FoveatedConfig()), (24, 64, 64, 64), True),
    "paper-half": (PaperNet(3, 16), (16, 64, 64, 64), True),
    "paper": (PaperNet(3, 32), (16, 64, 64, 64), True),
    "published order network": (PaperSdmNet(), (64, 1, 150, 150), False),
}[sys.argv[1]]
network.train()
samples, labels = torch.rand(shape), torch.randint(0, 2, shape[:1])
optimiser = torch.optim.Adam(network.parameters(), 1e-3)

def step():
    began = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits, _ = network(samples)
    loss = torch.nn.functional.cross_entropy(logits.float(), labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return time.process_time() - began

step()
print(json.dumps(1e3 * min(step() for _ in range(4)) / shape[0]))
"""


def ms_a_sample(network: str, freed: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, network, freed],
        capture_output=True,
        text=True,
        check=False,
        env={"OMP_NUM_THREADS": "1"},
    )
    if done.returncode == 3:
        pytest.skip("this C library can't be told to keep memory")
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout))


@pytest.mark.parametrize("network", ["foveated", "paper-half", "paper", "published order network"])
def test_keeping_freed_memory_makes_no_step_dearer(network: str) -> None:
    kept, left = ms_a_sample(network, "kept"), ms_a_sample(network, "left")
    print(f"\n| {network} | {left:.1f} ms | {kept:.1f} ms | {kept / left:.2f} |")  # noqa: T201 the row is a result
    assert kept < 1.1 * left
