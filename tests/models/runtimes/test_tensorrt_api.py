"""Everything that we use of TensorRT exists: in the installed version, and in others whose interface is known."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path

import pytest

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.half_precision import to_half_precision
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.runtimes import tensorrt_api, tensorrt_types
from braggwatch.models.runtimes.engine_build import parser_problem
from support.small_graph import small_graph
from support.tensorrt_host import rtx

INTERFACES = Path(__file__).parents[4] / "shared" / "design"
# Names that every enumeration of the bindings has, and what our classes inherit from Python.
PYTHONS_OWN = {"__members__", "__buffer__"}


def declared_members() -> dict[str, set[str]]:
    """Members that our types declare, by name of our class."""
    found: dict[str, set[str]] = {}
    for node in ast.parse(Path(tensorrt_types.__file__).read_text()).body:
        if isinstance(node, ast.ClassDef):
            names = {
                one.name if isinstance(one, ast.FunctionDef) else ast.unparse(one.target)
                for one in node.body
                if isinstance(one, ast.FunctionDef | ast.AnnAssign)
            }
            found[node.name] = names - PYTHONS_OWN
    return found


def module_attributes() -> set[tuple[str, ...]]:
    """Chains like ('DataType', 'FLOAT') that the one file that touches the module reads from it."""
    chains: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(Path(tensorrt_api.__file__).read_text())):
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node.id == "self" and chain[:1] == ["_module"]:
            chain = chain[1:]
        elif not (isinstance(node, ast.Name) and node.id == "module"):
            continue
        if chain:
            chains.add(tuple(chain))
    return chains


def used(rtx_flavour: bool) -> set[tuple[str, ...]]:
    """Class, or class and member, that this flavour must have."""
    other = "Full" if rtx_flavour else "Rtx"
    only_rtx = {
        "ComputeCapability",
        "DynamicShapesKernelSpecializationStrategy",
        "EngineInvalidityDiagnostics",
        "EngineValidity",
    }
    names = {
        "FullBuilderConfig": "IBuilderConfig",
        "RtxBuilderConfig": "IBuilderConfig",
        "RtxCudaEngine": "ICudaEngine",
        "RtxExecutionContext": "IExecutionContext",
        "RtxRuntime": "Runtime",
        "RtxRuntimeConfig": "IRuntimeConfig",
    }
    wanted = {chain for chain in module_attributes() if rtx_flavour or chain[0] not in only_rtx}
    for name, members in declared_members().items():
        if name.startswith(other) or (name in {"Severity", "IRuntimeCache"} and not rtx_flavour) or name == "Severity":
            continue
        wanted |= {(names.get(name, name), member) for member in members}
    return {(chain[0], *(one for one in chain[1:] if one not in PYTHONS_OWN)) for chain in wanted}


def test_the_collection_finds_what_is_there() -> None:
    assert {("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"), ("DataType", "FLOAT")} <= module_attributes()
    assert "execute_async_v3" in declared_members()["IExecutionContext"]
    assert ("IRuntimeConfig", "set_runtime_cache") in used(True)
    assert ("IRuntimeConfig", "set_runtime_cache") not in used(False)
    assert ("IBuilderConfig", "create_timing_cache") in used(False)
    assert len(used(True)) > 40


@pytest.mark.parametrize(("interface", "is_rtx"), [("api_rtx_1.7.json", True), ("api_trt_11.4.json", False)])
def test_other_versions_have_what_we_use(interface: str, is_rtx: bool) -> None:
    path = INTERFACES / interface
    if not path.exists():
        pytest.skip(f"{interface} isn't here: it lies beside the checkout where the interfaces are compared")
    there = json.loads(path.read_text())["api"]
    missing = [
        ".".join(chain)
        for chain in sorted(used(is_rtx))
        if chain[0] not in there or (len(chain) > 1 and chain[1] not in there[chain[0]])
    ]
    assert missing == []


def test_the_installed_one_has_what_we_use() -> None:
    rtx()
    module = importlib.import_module("tensorrt_rtx_bindings")
    missing = []
    for chain in sorted(used(True)):
        value = module
        for name in chain:
            value = getattr(value, name, None)
        if value is None:
            missing.append(".".join(chain))
    assert missing == []


@pytest.mark.parametrize("bundle_id", Registry().list())
def test_the_parser_takes_every_shipped_bundle_in_fp16(bundle_id: str) -> None:
    half = to_half_precision(Bundle.load(Registry().root / bundle_id).model)
    assert parser_problem(rtx(), half.model) is None


def test_the_parser_names_what_it_does_not_take() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed: no graph to make")
    graph = onnx.load_from_string(small_graph())
    graph.graph.node[0].op_type = "Det"
    problem = parser_problem(rtx(), graph.SerializeToString())
    assert problem is not None
    assert "Det" in problem
