"""sb3 -> weights (safetensors), the architecture as JSON, and a NumPy policy to copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import errors

if TYPE_CHECKING:
    import torch

FILES = ["weights.safetensors", "architecture.json", "numpy_policy.py"]
ACTIVATIONS = {"Tanh": "tanh", "ReLU": "relu", "ELU": "elu", "LeakyReLU": "leaky_relu", "Sigmoid": "sigmoid"}
ACTIVATIONS |= {"SiLU": "silu", "Softplus": "softplus", "Hardtanh": "hardtanh", "Flatten": "flatten"}


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write the three files. ``architecture.json`` lists the core's layers in order.

    :raises errors.UnsupportedPolicy: an activation that the NumPy policy does not have
    """
    from safetensors.torch import save

    from pipeline.agents import jobs, modules

    parts = jobs.open_agent(source).parts
    layers, tensors = [], {}
    for index, module in enumerate([*modules.flat(parts.trunk), *modules.flat(parts.head)]):
        layer, weights = _layer(module, f"layers.{index}")
        layers.append(layer)
        tensors.update(weights)
    (target / FILES[0]).write_bytes(save(tensors))
    architecture = {"layers": layers, "prologue": contract["prologue"], "epilogue": contract["epilogue"]}
    architecture["decision"] = contract["decision"]
    (target / FILES[1]).write_text(json.dumps(architecture, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("numpy_policy.py"), target / FILES[2])
    contract["files"] = FILES
    contract["outputs"] = [o for o in contract["outputs"] if o["name"] in ("action", contract["decision"])]


def _layer(module: torch.nn.Module, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    import torch
    from torch import nn

    if isinstance(module, nn.Linear):
        bias = torch.zeros(module.out_features) if module.bias is None else module.bias.detach()
        weights = {f"{name}.weight": module.weight.detach().contiguous(), f"{name}.bias": bias}
        return {"op": "linear", "name": name, "inputs": module.in_features, "outputs": module.out_features}, weights
    kind = type(module).__name__
    if kind not in ACTIVATIONS:
        raise errors.UnsupportedPolicy(f"the NumPy policy has no {kind}", expected=", ".join(ACTIVATIONS))
    layer: dict[str, Any] = {"op": ACTIVATIONS[kind]}
    for constant in ("alpha", "negative_slope", "min_val", "max_val"):
        if hasattr(module, constant):
            layer[constant] = getattr(module, constant)
    return layer, {}
