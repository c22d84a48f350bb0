"""What every export traces: the whole policy, or its core, as a function of named inputs.

Imports torch, so it is imported inside functions only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pipeline.agents import features, modules
from pipeline.agents.parts import Parts

Tensors = dict[str, torch.Tensor]


class Prologue(nn.Module):
    """The steps before the core, on the inputs that they name."""

    def __init__(self, steps: list[dict[str, Any]], shapes: Mapping[str, list[int]]) -> None:
        super().__init__()
        self.inputs = [step["input"] for step in steps]
        self.resets = [step["by"] if step["op"] == "reset" else "" for step in steps]
        self.steps = nn.ModuleList(self._made(step, shapes) for step in steps)

    @staticmethod
    def _made(step: dict[str, Any], shapes: Mapping[str, list[int]]) -> nn.Module:
        if step["op"] == "normalize":
            return modules.Normalize(step, shapes[step["input"]])
        return modules.OneHot(step["sizes"]) if step["op"] == "one_hot" else nn.Identity()

    def forward(self, given: Tensors) -> Tensors:
        found = dict(given)
        for name, by, step in zip(self.inputs, self.resets, self.steps, strict=True):
            found[name] = found[name] * given[by] if by else step(found[name])
        return found


class Value(nn.Module):
    """The critic's value from a features extractor of its own."""

    def __init__(self, extractor: features.Features | features.Foreign, layers: nn.Module) -> None:
        super().__init__()
        self.extractor, self.layers = extractor, layers

    def forward(self, given: Tensors) -> torch.Tensor:
        value: torch.Tensor = self.layers(self.extractor(given))
        return value


class Exported(nn.Module):
    """A policy as a function of the contract's inputs, in order; it gives the outputs, in order.

    :param parts: the policy taken apart
    :param space: the agent's observation space
    :param part: "policy", or "core": without prologue and epilogue
    :param outputs: names, in order
    :param integer: dtype of decisions
    """

    def __init__(
        self,
        parts: Parts,
        space: dict[str, Any],
        part: str,
        outputs: list[str],
        integer: torch.dtype = torch.int64,
    ) -> None:
        super().__init__()
        self.parts, self.outputs, self.part = parts, outputs, part
        self.names = [entry["name"] for entry in inputs_of(parts, part)]
        shapes = {entry["name"]: entry["shape"][1:] for entry in parts.inputs}
        self.prologue = Prologue(parts.prologue if part == "policy" else [], shapes)
        self._space = space
        self.features = self._features(parts.extractor)
        self.memory = modules.Lstm(parts.lstm) if parts.lstm is not None else None
        self.trunk = modules.small(parts.trunk)
        self.head = modules.small(parts.head)
        self.mask = next((step["value"] for step in parts.epilogue if step["op"] == "mask"), None)
        self.epilogue = nn.Sequential(*(modules.step(step, integer) for step in parts.epilogue if step["op"] != "mask"))
        wanted = [name for name in outputs if name in parts.extras]
        self.sources = {name: parts.extras[name][0] for name in wanted}
        self.extras = nn.ModuleDict({name: self._extra(*parts.extras[name]) for name in wanted})
        for layout in self.features.layouts:
            for layer in self._first_layers():
                layout.fold(layer)
        self.eval().requires_grad_(False)

    def _features(self, extractor: nn.Module) -> features.Features | features.Foreign:
        entries = [entry for entry in self.parts.inputs if entry["role"] == "observation"]
        return features.build(extractor, self._space, entries, self.parts.scaled)

    def _extra(self, source: str, module: Any) -> nn.Module:
        if source != "inputs":
            return modules.small(module)
        extractor, layers = module
        made = Value(self._features(extractor), modules.small(layers))
        for layout in made.extractor.layouts:
            for layer in features.first_layers(made.layers):
                layout.fold(layer)
        return made

    def _first_layers(self) -> list[modules.MatMulAdd | modules.StateDependentLogStd]:
        """The layers that take the features."""
        behind = [self.extras[name] for name, source in self.sources.items() if source == "features"]
        if self.memory is not None:
            return [*self.memory.layers[0], *features.first_layers(*behind)]  # type: ignore[misc]
        if modules.flat(self.trunk):
            return list(features.first_layers(self.trunk, *behind))
        latent = [self.extras[name] for name, source in self.sources.items() if source == "latent"]
        return list(features.first_layers(self.head, *behind, *latent))

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = self.prologue(dict(zip(self.names, inputs, strict=True)))
        found: Tensors = {}
        x = seen = self.features(given)
        if self.memory is not None:
            states = self.parts.states
            x, new = self.memory(x, [given[state["input"]] for state in states])
            found |= {state["output"]: value for state, value in zip(states, new, strict=True)}
        latent = self.trunk(x)
        decision = self.head(latent)
        found[self.parts.decision] = decision
        at = {"inputs": given, "features": seen, "latent": latent, "decision": decision}
        for name, source in self.sources.items():
            found[name] = self.extras[name](at[source])
        if "action" in self.outputs:
            if self.mask is not None:
                decision = torch.where(given["action_mask"], decision, self.mask)
            found["action"] = self.epilogue(decision)
        return tuple(found[name] for name in self.outputs)

    def samples(self, batch: int = 2) -> tuple[torch.Tensor, ...]:
        """Inputs of zeros (no action forbidden), to trace with."""
        found = []
        for entry in inputs_of(self.parts, self.part):
            make = torch.ones if entry["dtype"] == "bool" else torch.zeros
            found.append(make(batch, *entry["shape"][1:], dtype=getattr(torch, entry["dtype"])))
        return tuple(found)

    def equalize(self, name: str, middle: torch.Tensor, half: torch.Tensor) -> None:
        """Fold ``x = x' * half + middle`` of an input into the first layers, so that they take the equalized ``x'``.

        :param name: one of ``features.slices``
        :param middle: of each dimension's range, flat, float64
        :param half: of each dimension's range, flat, float64
        """
        start, stop = self.features.slices[name]
        for layer in self._first_layers():
            if not isinstance(layer, modules.MatMulAdd):
                raise TypeError(f"a first layer is {type(layer).__name__}, which cannot take equalized inputs")
            rows = layer.weight[start:stop].double()
            layer.bias.copy_(layer.bias.double() + middle @ rows)
            layer.weight[start:stop] = (rows * half[:, None]).float()

    def center(self, sizes: list[int]) -> None:
        """Fold ``x - mean(x)`` over each group of choices into the last layer: argmax and softmax stay as they are.

        One integer scale serves all outputs: Q values near 100 that differ by 0.1 would share one level.
        """
        last = modules.flat(self.head)[-1]
        if not isinstance(last, modules.MatMulAdd):
            raise TypeError(f"the last layer is {type(last).__name__}, which cannot be centered")
        start = 0
        for size in sizes:
            group = slice(start, start + size)
            weight, bias = last.weight[:, group].double(), last.bias[group].double()
            last.weight[:, group] = (weight - weight.mean(dim=1, keepdim=True)).float()
            last.bias[group] = (bias - bias.mean()).float()
            start += size


def inputs_of(parts: Parts, part: str) -> list[dict[str, Any]]:
    """The contract's entries of what a part takes; the core takes what the prologue gives."""
    if part == "policy":
        return parts.inputs
    sizes = {step["input"]: sum(step["sizes"]) for step in parts.prologue if step["op"] == "one_hot"}
    found = []
    for entry in parts.inputs:
        if entry["role"] in ("mask", "keep"):
            continue
        if entry["name"] in sizes:
            entry = {**entry, "shape": ["batch", sizes[entry["name"]]], "dtype": "float32"}
        found.append(entry)
    return found


def parameters(parts: Parts) -> int:
    """Numbers in the core."""
    layers = [parts.extractor, parts.trunk, parts.head, *([parts.lstm] if parts.lstm is not None else [])]
    return sum(math.prod(p.shape) for layer in layers for p in layer.parameters())
