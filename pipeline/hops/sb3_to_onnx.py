"""sb3 -> onnx, by torch.onnx: the whole policy, or its core, at a chosen opset."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from pipeline.agents import exported

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

    from pipeline.agents import exported, jobs

    reference = jobs.open_agent(source)
    contract["part"] = part = settings["part"]
    if part == "core":
        kept = {contract["decision"], *(state["output"] for state in contract["states"])}
        contract["outputs"] = [output for output in contract["outputs"] if output["name"] in kept]
        contract["inputs"] = exported.inputs_of(reference.parts, part)
        if "log_std" in contract["distribution"]:  # a core has no such output
            contract["distribution"] = {}
    names = [output["name"] for output in contract["outputs"]]
    integer = getattr(torch, settings["integer"])
    module = exported.Exported(reference.parts, contract["observation_space"], part, names, integer)
    if part == "core":
        _for_integers(module, contract, Path(settings["calibration"]))
    outputs = [output["name"] for output in contract["outputs"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's deprecation notes and tracer hints; the check decides
        try:
            _export(module, outputs, target / FILE, settings["opset"])
        except RuntimeError as error:
            raise _refusal(error, settings["opset"]) from None
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


def _for_integers(module: exported.Exported, contract: dict[str, Any], calibration: Path) -> None:
    """Fold into the core what makes one integer scale per tensor enough, and say so in the contract."""
    import torch

    from pipeline.agents import activations

    activations.for_integers(module)
    seen = contracts.read_inputs(contract, calibration / "observations.npz")
    ready = contracts.prologue(contract["prologue"], seen)
    one_hot = {step["input"] for step in contract["prologue"] if step["op"] == "one_hot"}
    for name in module.features.slices:
        layout = next(entry["layout"] for entry in contract["inputs"] if entry["name"] == name)
        if name in one_hot or layout.startswith("channel-"):
            continue  # their ranges are known: 0 to 1, and 0 to 255
        middle, half = _range(ready[name])
        module.equalize(name, torch.from_numpy(middle), torch.from_numpy(half))
        step = {"op": "equalize", "input": name, "middle": middle.tolist(), "half": half.tolist()}
        contract["prologue"] = [*contract["prologue"], step]
    if contracts.chooses(contract["epilogue"]):
        module.center(contracts.groups(contract) or [])
        decision = next(output for output in contract["outputs"] if output["name"] == contract["decision"])
        contract["centered"] = contract["decision"]
        contract["decision"] = decision["name"] = "preferences"


def _range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half of each dimension's range, flat, float64.

    One integer scale serves a whole input tensor: unequalized, a velocity of ±0.07 beside a position of ±1.2
    gets few of the 256 levels. A dimension that never varied keeps its unit.
    """
    import numpy as np

    flat = values.reshape(len(values), -1).astype(np.float64)
    least, most = flat.min(axis=0), flat.max(axis=0)
    half = (most - least) / 2
    return (most + least) / 2, np.where(half > 1e-6, half, 1.0)


def _export(module: exported.Exported, outputs: list[str], path: Path, opset: int) -> None:
    import torch

    names: dict[str, Any] = {"input_names": module.names, "output_names": outputs}
    samples = module.samples()
    if opset >= FIRST_DYNAMO_OPSET:
        batch = torch.export.Dim("batch")
        torch.onnx.export(
            module,
            samples,
            str(path),
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
            dynamic_shapes=(tuple({0: batch} for _ in samples),),
            **names,
        )
        return
    axes = {name: {0: "batch"} for name in [*module.names, *outputs]}
    torch.onnx.export(module, samples, str(path), opset_version=opset, dynamo=False, dynamic_axes=axes, **names)


def _refusal(error: RuntimeError, opset: int) -> Exception:
    """What the exporters say of an operator that ONNX has not, in our words; anything else as it is."""
    absent = re.findall(r"operator '(\S+)' to ONNX opset|function found for <OpOverload\(op='(\S+?)'", str(error))
    return errors.lacking(f"ONNX of opset {opset}", map("".join, absent)) if absent else error


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
