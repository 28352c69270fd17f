"""Promotion is verified, one at a time and leaves nothing behind; an export says what it can't read."""

from __future__ import annotations

import fcntl
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from braggwatch.models.bundling.registry import Registry, RegistryError
from braggwatch.models.bundling.tasks import DEFECT_TASK
from braggwatch.models.networks.factory import make_network
from braggwatch.models.runtimes import OnnxRuntime
from braggwatch.services.cli import app


def run(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from shutil import copytree

    from braggwatch.models.bundling.registry import default_root

    root = tmp_path_factory.mktemp("bundles")
    shipped = Registry().list(DEFECT_TASK)[0]
    copytree(default_root() / shipped, root / shipped)
    return root


def test_promoting_says_what_it_replaced(registry: Path) -> None:
    (bundle,) = Registry(registry).list()
    first = run("promote", bundle, "--registry", str(registry), "--json")
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout) == {
        "registry": str(registry),
        "alias": "production",
        "bundle": bundle,
        "former": None,
    }
    assert run("promote", bundle, "--registry", str(registry), "--alias", "night").exit_code == 0
    assert Registry(registry).aliases() == {"night": bundle, "production": bundle}
    absent = run("promote", "cxdp-fcc/9.9.9", "--registry", str(registry))
    assert absent.exit_code == 3
    assert bundle in absent.stderr


def test_promotions_at_the_same_time_lose_none(registry: Path) -> None:
    (bundle,) = Registry(registry).list()
    names = [f"line-{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: Registry(registry).promote(name, bundle), names))
    assert set(names) <= set(Registry(registry).aliases())
    assert [path.name for path in registry.iterdir() if path.name.startswith(".")] == []


def test_a_turn_that_never_comes_is_an_error(registry: Path) -> None:
    (bundle,) = Registry(registry).list()
    held = os.open(registry, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RegistryError, match="another promotion"):
            Registry(registry).promote("late", bundle, patience_s=0.1)
    finally:
        os.close(held)
    assert "late" not in Registry(registry).aliases()


def test_weights_in_a_file_are_exported_without_their_outlier_output(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = make_network("foveated", 4).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    target = tmp_path / "deep" / "model.onnx"
    words = ("export", str(tmp_path / "weights.safetensors"), "--to", str(target), "--temperature", "2", "--json")
    done = run(*words)
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["network"], said["temperature"], said["golden_difference"]) == ("foveated", 2.0, None)
    counts = torch.poisson(torch.rand(2, 64, 64, 64) * 50)
    scaled = torch.log1p(counts) / torch.log1p(counts).amax(dim=(1, 2, 3), keepdim=True)
    with torch.no_grad():
        wanted = network(scaled)[0][:, :3]
    output = OnnxRuntime(target.read_bytes(), threads=1).run(counts.numpy())
    torch.testing.assert_close(torch.from_numpy(output.logits), wanted, atol=1e-3, rtol=1e-3)
    assert [path.name for path in target.parent.iterdir()] == ["model.onnx"]
    again = run(*words)
    assert again.exit_code == 3
    assert "--force" in again.stderr


def test_what_holds_no_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    (tmp_path / "checkpoint.pt").write_bytes(b"no")
    for source, word in (
        (tmp_path / "broken.safetensors", "broken.safetensors"),
        (tmp_path, "checkpoint.pt"),
        (Path("nowhere"), "nowhere"),
    ):
        failed = run("export", str(source), "--to", str(tmp_path / "model.onnx"), "--registry", str(tmp_path))
        assert failed.exit_code == 3
        assert word in failed.stderr
    assert not (tmp_path / "model.onnx").exists()
