"""The deployed graph is the trained network, with normalisation and temperature inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braggwatch.models.runtimes import InferenceError, OnnxRuntime, RuntimeUnavailableError

torch = pytest.importorskip("torch", reason="torch isn't installed")
onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
pytest.importorskip("onnxscript", reason="onnxscript isn't installed")

from braggwatch.models.bundling.export import ExportError, export_onnx  # noqa: E402


class Tiny(torch.nn.Module):
    """A randomly initialised convolutional network with what real ones have: batch norm, dropout, two poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv3d(1, 4, 5, stride=4, padding=2), torch.nn.BatchNorm3d(4), torch.nn.ReLU()
        )
        self.dropout = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x):
        y = self.body(x.unsqueeze(1))
        features = torch.cat([y.mean(dim=(2, 3, 4)), y.amax(dim=(2, 3, 4))], dim=1)
        return self.head(self.dropout(features)), features


@pytest.fixture(scope="module")
def network() -> Tiny:
    torch.manual_seed(0)
    net = Tiny()
    with torch.no_grad():
        net(torch.rand(4, 64, 64, 64))
    return net


@pytest.fixture(scope="module")
def exported(network: Tiny) -> bytes:
    return export_onnx(network, temperature=1.7)


def test_the_graph_normalises_and_calibrates(network: Tiny, exported: bytes) -> None:
    counts = np.random.default_rng(1).poisson(5.0, (2, 64, 64, 64)).astype(np.float32)
    output = OnnxRuntime(exported, threads=1).run(counts)
    log = np.log1p(counts)
    normalised = torch.from_numpy(log / log.max(axis=(1, 2, 3), keepdims=True))
    with torch.no_grad():
        logits, features = network.eval()(normalised)
    np.testing.assert_allclose(output.logits, logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(output.features, features.numpy(), atol=1e-4)
    np.testing.assert_allclose(output.probabilities, torch.softmax(logits / 1.7, dim=1).numpy(), atol=1e-4)


def test_any_batch_size_runs_and_an_empty_volume_stays_finite(exported: bytes) -> None:
    runtime = OnnxRuntime(exported, threads=1)
    for batch in (1, 2, 5, 8):
        output = runtime.run(np.zeros((batch, 64, 64, 64), np.float32))
        assert output.logits.shape == (batch, 3)
        assert output.features.shape == (batch, 8)
        assert np.isfinite(output.probabilities).all()


def test_no_path_of_the_exporting_machine_is_in_the_graph(exported: bytes) -> None:
    model = onnx.load_from_string(exported)
    assert all(not node.doc_string and not node.metadata_props for node in model.graph.node)
    assert str(Path(__file__).parent).encode() not in exported
    assert b".py" not in exported


def test_wrong_batches_and_graphs_are_refused_in_words(exported: bytes) -> None:
    runtime = OnnxRuntime(exported, threads=1)
    for bad in (
        np.zeros((64, 64, 64), np.float32),
        np.zeros((1, 32, 64, 64), np.float32),
        np.zeros((1, 64, 64, 64), np.float64),
        np.zeros((0, 64, 64, 64), np.float32),
    ):
        with pytest.raises(InferenceError, match="expected"):
            runtime.run(bad)  # pyright: ignore[reportArgumentType] - among them a wrong type
    with pytest.raises(RuntimeUnavailableError, match="can't load"):
        OnnxRuntime(b"not a graph")
    with pytest.raises(ValueError, match="thread"):
        OnnxRuntime(exported, threads=0)
    model = onnx.load_from_string(exported)
    del model.graph.output[2]
    with pytest.raises(RuntimeUnavailableError, match="features"):
        OnnxRuntime(model.SerializeToString())


def test_a_network_that_cannot_be_reproduced_is_not_exported() -> None:
    class Forgetful(torch.nn.Module):
        """Answers differently each time, so that no graph can agree with it."""

        def forward(self, x):
            features = x.mean(dim=(2, 3)) + torch.rand(x.shape[0], 64)
            return features[:, :3], features

    with pytest.raises(ExportError, match="differ"):
        export_onnx(Forgetful())


def test_a_temperature_that_is_not_positive_is_refused(network: Tiny) -> None:
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive"):
            export_onnx(network, temperature)
