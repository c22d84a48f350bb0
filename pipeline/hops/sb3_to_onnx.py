"""sb3 -> onnx, by torch.onnx: the whole policy, or its core, at a chosen opset."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import torch

    from pipeline.agents import modules

FILE = "policy.onnx"
# The TorchScript-based exporter writes opset 14 itself; the newer one writes from 18 on.
FIRST_DYNAMO_OPSET = 18


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``policy.onnx`` with a dynamic batch, and the contract in its metadata as ``slipway``.

    :param settings: ``opset``; ``part``, "policy" or "core"; ``integer``, the dtype of a Discrete action;
        ``calibration``, for a core, folder of the agent's rollouts
    """
    import onnx
    import torch

    from pipeline.agents import jobs, modules

    parts = jobs.open_agent(source).parts
    shape = contract["observation_space"]["shape"]
    contract["part"] = settings["part"]
    if settings["part"] == "core":
        contract["outputs"] = [o for o in contract["outputs"] if o["name"] == contract["decision"]]
    names = [output["name"] for output in contract["outputs"]]
    module = modules.Exported(parts, contract["part"], names, shape, getattr(torch, settings["integer"]))
    if settings["part"] == "core":
        _for_integers(module, contract, Path(settings["calibration"]))
    outputs = [output["name"] for output in contract["outputs"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's deprecation notes and tracer hints; the check decides
        _export(module, outputs, target / FILE, settings["opset"], torch.zeros(2, *shape))
    model = onnx.load(target / FILE, load_external_data=False)
    _hold_to_request(model, settings["opset"])
    _strip(model)
    for output in contract["outputs"]:
        if output["dtype"] == "int64":
            output["dtype"] = settings["integer"]
    contract["opset"] = settings["opset"]
    contract["files"] = [FILE]
    entry = model.metadata_props.add()
    entry.key, entry.value = "slipway", contracts.text(contract)
    onnx.checker.check_model(model, full_check=True)
    (target / FILE).write_bytes(model.SerializeToString(deterministic=True))


def _for_integers(module: modules.Exported, contract: dict[str, Any], calibration: Path) -> None:
    """Fold into the core what makes one integer scale per tensor enough, and say so in the contract."""
    import torch

    middle, half = _ranges(calibration, contract["prologue"])
    module.equalize(torch.from_numpy(middle), torch.from_numpy(half))
    step = {"op": "equalize", "middle": middle.tolist(), "half": half.tolist()}
    contract["prologue"] = [*contract["prologue"], step]
    if contract["action_space"]["type"] == "Discrete":
        module.center()
        contract["centered"] = contract["decision"]
        contract["decision"] = contract["outputs"][0]["name"] = "preferences"


def _ranges(calibration: Path, prologue: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half of each normalized dimension's range in the rollouts, flat, float64.

    One integer scale serves a whole input tensor: unequalized, a velocity of ±0.07 beside a position of ±1.2
    gets few of the 256 levels. A dimension that never varied keeps its unit.
    """
    import numpy as np

    with np.load(calibration / "observations.npz") as stored:
        values = contracts.prologue(prologue, stored["observation"])
    flat = values.reshape(len(values), -1).astype(np.float64)
    least, most = flat.min(axis=0), flat.max(axis=0)
    half = (most - least) / 2
    return (most + least) / 2, np.where(half > 1e-6, half, 1.0)


def _export(module: torch.nn.Module, outputs: list[str], path: Path, opset: int, sample: torch.Tensor) -> None:
    import torch

    names: dict[str, Any] = {"input_names": ["observation"], "output_names": outputs}
    if opset >= FIRST_DYNAMO_OPSET:
        batch = torch.export.Dim("batch")
        torch.onnx.export(
            module,
            (sample,),
            str(path),
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
            dynamic_shapes=({0: batch},),
            **names,
        )
        return
    axes = {name: {0: "batch"} for name in ["observation", *outputs]}
    torch.onnx.export(module, (sample,), str(path), opset_version=opset, dynamo=False, dynamic_axes=axes, **names)


def _hold_to_request(model: onnx.ModelProto, opset: int) -> None:
    """A failed version conversion leaves the exporter's own opset silently."""
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found != {"": opset}:
        raise errors.OpsetUnfit("the exporter wrote another opset than asked for", expected=opset, found=found)


def _strip(model: onnx.ModelProto) -> None:
    """Take out what names this machine's paths: the newer exporter's stack traces."""
    from onnx import helper

    graph = model.graph
    holders = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for holder in holders:
        holder.ClearField("doc_string")
        holder.ClearField("metadata_props")
    _constants_to_initializers(graph, helper)


def _constants_to_initializers(graph: onnx.GraphProto, helper: Any) -> None:
    """The older exporter writes scalars as Constant nodes; as initializers they are no operators."""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        tensor = helper.get_attribute_value(node.attribute[0])
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)
