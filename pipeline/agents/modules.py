"""The torch modules that a policy is exported as: the same numbers as SB3's, in the fewest operators.

This module imports torch, so it is itself imported inside functions only.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from pipeline.agents.policies import Parts


class MatMulAdd(nn.Module):
    """``nn.Linear`` as MatMul and Add: onnx-tf surrounds Gemm with Shape, Pack and Reshape at a dynamic batch."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().t().contiguous())
        bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().clone()
        self.bias = nn.Parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(x, self.weight) + self.bias


class Normalize(nn.Module):
    """VecNormalize in float32: ``clip((x - mean) / sqrt(variance + epsilon), ±clip)``.

    SB3 subtracts in float64. Where the mean is so large beside the deviation that its rounding to float32
    would show, the rounded part is subtracted in a second step, which is exact for ``x`` near the mean.
    """

    def __init__(self, step: dict[str, Any], shape: list[int]) -> None:
        super().__init__()
        mean = torch.tensor(step["mean"], dtype=torch.float64).reshape(shape)
        variance = torch.tensor(step["variance"], dtype=torch.float64).reshape(shape)
        scale = 1 / torch.sqrt(variance + step["epsilon"])
        rest = mean - mean.float().double()
        self.mean: torch.Tensor
        self.scale: torch.Tensor
        self.low: torch.Tensor
        self.high: torch.Tensor
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", scale.float())
        self.rest: torch.Tensor | None
        self.register_buffer("rest", rest.float() if float((rest * scale).abs().max()) > 1e-6 else None)
        clip = float(step["clip"])
        self.register_buffer("low", torch.tensor(-clip))
        self.register_buffer("high", torch.tensor(clip))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x - self.mean
        if self.rest is not None:
            x = x - self.rest
        return torch.minimum(torch.maximum(x * self.scale, self.low), self.high)


class Clip(nn.Module):
    """``clip(x, low, high)`` per action."""

    def __init__(self, low: list[Any], high: list[Any]) -> None:
        super().__init__()
        self.low: torch.Tensor
        self.high: torch.Tensor
        self.register_buffer("low", torch.tensor([float(v) for v in low], dtype=torch.float32))
        self.register_buffer("high", torch.tensor([float(v) for v in high], dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.minimum(torch.maximum(x, self.low), self.high)


class Unscale(nn.Module):
    """``low + 0.5 (x + 1) (high - low)`` as ``x * reach + middle``."""

    def __init__(self, low: list[Any], high: list[Any]) -> None:
        super().__init__()
        lower, upper = (torch.tensor([float(v) for v in side], dtype=torch.float64) for side in (low, high))
        self.reach: torch.Tensor
        self.register_buffer("reach", ((upper - lower) / 2).float())
        middle = ((upper + lower) / 2).float()
        self.middle: torch.Tensor | None
        self.register_buffer("middle", middle if bool(middle.any()) else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * self.reach
        return x if self.middle is None else x + self.middle


class Argmax(nn.Module):
    """[batch, actions] -> [batch], int64, or int32 for runtimes without comfortable 64-bit integers."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        index = x.argmax(dim=1)
        return index if self.dtype == torch.int64 else index.to(self.dtype)


class Constant(nn.Module):
    """A parameter repeated along the batch: [n] -> [batch, n]."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value.detach().clone())

    def forward(self, like: torch.Tensor) -> torch.Tensor:
        return like * 0.0 + self.value


def mean_of_quantiles(net: nn.Sequential, quantiles: int) -> nn.Sequential:
    """``quantile_net(x).mean(1)``: the mean is linear, so it is folded into the last layer."""
    *body, last = net
    assert isinstance(last, nn.Linear)
    folded = nn.Linear(last.in_features, last.out_features // quantiles)
    with torch.no_grad():
        weight = last.weight.double().reshape(quantiles, -1, last.in_features).mean(0)
        folded.weight.copy_(weight)
        folded.bias.copy_(last.bias.double().reshape(quantiles, -1).mean(0))
    return nn.Sequential(*body, folded)


class Exported(nn.Module):
    """What every export traces: the whole policy, or its core, as a function of one observation.

    :param parts: the policy taken apart
    :param part: "policy" or "core"
    :param outputs: names, in order; for "policy" the first is "action"
    :param shape: of one observation
    :param integer: dtype of a Discrete action
    """

    def __init__(
        self, parts: Parts, part: str, outputs: list[str], shape: list[int], integer: torch.dtype = torch.int64
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.decision = parts.decision
        steps = parts.prologue if part == "policy" else []
        self.prologue = nn.Sequential(*(Normalize(step, shape) for step in steps))
        self.trunk = _small(parts.trunk)
        self.head = _small(parts.head)
        self.epilogue = nn.Sequential(*(_step(step, integer) for step in parts.epilogue))
        wanted = [name for name in outputs if name in parts.extras]
        self.sources = {name: parts.extras[name][0] for name in wanted}
        self.extras = nn.ModuleDict({name: _small(parts.extras[name][1]) for name in wanted})
        self.eval().requires_grad_(False)

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.prologue(observation)
        latent = self.trunk(x)
        decision = self.head(latent)
        at = {"observation": x, "latent": latent, "decision": decision}
        found = {self.decision: decision}
        for name, source in self.sources.items():
            found[name] = self.extras[name](at[source])
        if "action" in self.outputs:
            found["action"] = self.epilogue(decision)
        return tuple(found[name] for name in self.outputs)

    def equalize(self, middle: torch.Tensor, half: torch.Tensor) -> None:
        """Fold ``x = x' * half + middle`` into the first layer, so that it takes the equalized ``x'``.

        :param middle: of each dimension's range, flat, float64
        :param half: of each dimension's range, flat, float64
        """
        first = next(layer for layer in [*flat(self.trunk), *flat(self.head)] if not isinstance(layer, nn.Flatten))
        if not isinstance(first, MatMulAdd):
            raise TypeError(f"the first layer is {type(first).__name__}, which cannot take equalized inputs")
        weight = first.weight.double()
        first.bias.copy_(first.bias.double() + middle @ weight)
        first.weight.copy_(weight * half[:, None])

    def center(self) -> None:
        """Fold ``x - mean(x)`` over the actions into the last layer: argmax and softmax stay as they are.

        One integer scale serves all outputs: Q values near 100 that differ by 0.1 would share one level.
        """
        last = flat(self.head)[-1]
        if not isinstance(last, MatMulAdd):
            raise TypeError(f"the last layer is {type(last).__name__}, which cannot be centered")
        weight, bias = last.weight.double(), last.bias.double()
        last.weight.copy_(weight - weight.mean(dim=1, keepdim=True))
        last.bias.copy_(bias - bias.mean())


def _step(step: dict[str, Any], integer: torch.dtype) -> nn.Module:
    op = step["op"]
    if op == "argmax":
        return Argmax(integer)
    if op == "tanh":
        return nn.Tanh()
    if op == "reshape":
        return nn.Unflatten(1, step["shape"]) if step["shape"] else nn.Flatten(0)
    return {"clip": Clip, "unscale": Unscale}[op](step["low"], step["high"])


def _small(module: nn.Module) -> nn.Module:
    """A copy without Dropout and Identity, with Linear as MatMul and Add."""
    if isinstance(module, nn.Linear):
        return MatMulAdd(module)
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*(_small(child) for child in flat(module)))
    return copy.deepcopy(module)


def flat(module: nn.Module) -> list[nn.Module]:
    """The leaves of nested Sequentials, in order, without those that do nothing at inference."""
    if isinstance(module, nn.Sequential):
        return [leaf for child in module for leaf in flat(child)]
    return [] if isinstance(module, nn.Identity | nn.Dropout) else [module]


def parameters(parts: Parts) -> int:
    """Numbers in the core."""
    return sum(math.prod(p.shape) for module in (parts.trunk, parts.head) for p in module.parameters())
