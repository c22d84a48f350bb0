"""sb3 -> weights (safetensors), the architecture as JSON, and a NumPy policy to copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors

if TYPE_CHECKING:
    import torch

    from pipeline.agents import exported, modules

FILES = ["weights.safetensors", "architecture.json", "numpy_policy.py"]
_NAMED = (
    *("Tanh", "ReLU", "ReLU6", "ELU", "CELU", "SELU", "LeakyReLU", "Sigmoid", "SiLU", "Mish", "GELU"),
    *("Softplus", "Softsign", "Hardtanh", "Hardsigmoid", "Hardswish", "Flatten", "Hardshrink", "Softshrink"),
    *("LogSigmoid", "Tanhshrink", "PReLU", "RReLU"),
)
OPERATORS = {name: name.lower() for name in _NAMED} | {name: "leaky_relu" for name in ("LeakyReLU", "PReLU", "RReLU")}
_CONSTANTS = ("alpha", "negative_slope", "min_val", "max_val", "beta", "threshold", "lambd")


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write the three files. ``architecture.json`` lists the core's layers in order, weights by name.

    :raises errors.NotRun: the NumPy policy has no such layer
    """
    from safetensors.torch import save

    from pipeline.agents import exported, jobs

    parts = jobs.open_agent(source).parts
    kept = {*contracts.acting(contract), contract["decision"]}
    contract["outputs"] = [output for output in contract["outputs"] if output["name"] in kept]
    module = exported.Exported(parts, contract["observation_space"], "policy", sorted(kept))
    written = _Written()
    architecture = {
        "features": _features(module, written),
        "memory": [written.gates(gates) for gates in module.memory.layers] if module.memory is not None else [],
        "layers": written.layers([*module.trunk.children(), *module.head.children()]),
        **{name: contract[name] for name in ("prologue", "epilogue", "decision", "states")},
    }
    (target / FILES[0]).write_bytes(save(written.tensors))
    (target / FILES[1]).write_text(json.dumps(architecture, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("numpy_policy.py"), target / FILES[2])
    contract["files"] = FILES
    contract["distribution"] = {} if "log_std" in contract["distribution"] else contract["distribution"]


class _Written:
    """Layers as JSON, and their tensors by name."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.count = 0

    def _name(self) -> str:
        self.count += 1
        return f"layers.{self.count - 1}"

    def _dense(self, layer: modules.MatMulAdd, name: str) -> None:
        self.tensors[f"{name}.weight"] = layer.weight.detach().t().contiguous()
        self.tensors[f"{name}.bias"] = layer.bias.detach()

    def gates(self, gates: Any) -> str:
        name = self._name()
        for index, gate in enumerate(gates):
            self._dense(gate, f"{name}.{index}")
        return name

    def layers(self, found: list[Any]) -> list[dict[str, Any]]:
        return [self._layer(layer) for layer in found]

    def _layer(self, layer: Any) -> dict[str, Any]:
        kind = type(layer).__name__
        if kind == "MatMulAdd":
            name = self._name()
            self._dense(layer, name)
            inputs, outputs = layer.weight.shape
            return {"op": "linear", "name": name, "inputs": inputs, "outputs": outputs}
        if kind == "Conv2d":
            name = self._name()
            self.tensors |= {f"{name}.weight": layer.weight.detach(), f"{name}.bias": layer.bias.detach()}
            return {"op": "conv", "name": name, "stride": list(layer.stride)}
        if kind == "Affine":
            return {"op": "affine", "scale": layer.scale.tolist(), "shift": layer.shift.tolist()}
        if kind not in OPERATORS or getattr(layer, "approximate", "none") != "none":
            raise errors.NotRun(f"not supported: the NumPy policy has no {kind}")
        if kind == "PReLU":
            return {"op": OPERATORS[kind], "negative_slope": layer.weight.tolist()}
        if kind == "RReLU":
            return {"op": OPERATORS[kind], "negative_slope": (layer.lower + layer.upper) / 2}
        held = {constant: getattr(layer, constant) for constant in _CONSTANTS if hasattr(layer, constant)}
        return {"op": OPERATORS[kind], **held}


def _features(module: exported.Exported, written: _Written) -> list[dict[str, Any]]:
    features: Any = module.features
    if not hasattr(features, "branches"):
        kind = type(features.extractor).__name__
        raise errors.NotRun(f"not supported: the NumPy policy has no features extractor {kind}")
    found = []
    for name, branch in zip(features.names, features.branches, strict=True):
        kind = type(branch).__name__
        layers: list[dict[str, Any]] = []
        if kind == "Convolutions":
            turned = [{"op": "transpose", "axes": [0, 3, 1, 2]}] if branch.last else []
            layers = [*turned, *written.layers(list(branch.body)), {"op": "transpose", "axes": [0, 2, 3, 1]}]
            layers += written.layers([branch.flat, *branch.dense])
        elif kind == "Flatten":
            layers = written.layers([branch])
        found.append({"input": name, "layers": layers})
    return found
