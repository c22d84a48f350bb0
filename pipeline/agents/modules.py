"""The layers that a policy is exported as: the same numbers as SB3's, in the fewest operators.

This module imports torch, so it is itself imported inside functions only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pipeline.agents import activations


class MatMulAdd(nn.Module):
    """``nn.Linear`` as MatMul and Add: onnx-tf surrounds Gemm with Shape, Pack and Reshape at a dynamic batch."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().t().clone(memory_format=torch.contiguous_format))
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


class Reshape(nn.Module):
    """[batch, n] -> [batch, *shape] in one operator; ``nn.Unflatten`` asks for the batch's size."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1, *self.shape)


class Argmax(nn.Module):
    """[batch, choices] -> [batch], or, of several groups of choices, [batch, groups].

    :param dtype: int64, or int32 for runtimes without comfortable 64-bit integers
    :param sizes: of the groups; [] for one decision without a dimension of its own
    """

    def __init__(self, dtype: torch.dtype, sizes: list[int]) -> None:
        super().__init__()
        self.dtype = dtype
        self.ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.ends:
            index = x.argmax(dim=1)
        else:
            starts = [0, *self.ends[:-1]]
            found = [x[:, a:b].argmax(dim=1, keepdim=True) for a, b in zip(starts, self.ends, strict=True)]
            index = found[0] if len(found) == 1 else torch.cat(found, dim=1)
        return index if self.dtype == torch.int64 else index.to(self.dtype)


class Positive(nn.Module):
    """``x > 0`` as integers: the mode of independent Bernoulli distributions."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).to(self.dtype)


class OneHot(nn.Module):
    """Indices [batch] or [batch, groups], int32 -> [batch, sum(sizes)], float32: 1 where the index is.

    Each index is spread over its group's columns by a product with ones and zeros, which is exact: for a Gather
    onnx-tf puts an Assert into the graph, which TensorFlow.js does not have.
    """

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.spread: torch.Tensor | None
        self.index: torch.Tensor
        ones = [torch.ones(1, size) for size in sizes]
        self.register_buffer("spread", torch.block_diag(*ones) if len(sizes) > 1 else None)  # type: ignore[no-untyped-call]
        index = torch.tensor([i for size in sizes for i in range(size)])
        self.register_buffer("index", index.to(torch.int32 if self.spread is None else torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = self.spread
        spread = x.reshape(-1, 1) if wide is None else torch.matmul(x.to(torch.float32), wide)
        return (spread == self.index).to(torch.float32)


class Constant(nn.Module):
    """A parameter repeated along the batch: [n] -> [batch, n]."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value.detach().clone())

    def forward(self, like: torch.Tensor) -> torch.Tensor:
        return like * 0.0 + self.value


class StateDependentLogStd(nn.Module):
    """gSDE's log standard deviation over all exploration matrices: ``log(sqrt(latent² @ std² + epsilon))``."""

    def __init__(self, distribution: Any, log_std: torch.Tensor) -> None:
        super().__init__()
        self.variance = nn.Parameter(distribution.get_std(log_std.detach()) ** 2)
        self.epsilon = distribution.epsilon

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return 0.5 * torch.log(torch.matmul(latent * latent, self.variance) + self.epsilon)


class Affine(nn.Module):
    """``x * scale + shift`` per feature: what a batch normalization is at inference."""

    def __init__(self, scale: torch.Tensor, shift: torch.Tensor) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(scale), nn.Parameter(shift)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.shift


class Lstm(nn.Module):
    """One step of an ``nn.LSTM`` (its formula, gates in its order i, f, g, o), a MatMul and an Add per gate.

    ONNX's LSTM operator does not pass onnx-tf.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        layers = []
        for layer in range(lstm.num_layers):
            weight = torch.cat([getattr(lstm, f"weight_{kind}_l{layer}").detach() for kind in ("ih", "hh")], dim=1)
            biases = [getattr(lstm, f"bias_{kind}_l{layer}", None) for kind in ("ih", "hh")]
            bias = sum((b.detach() for b in biases if b is not None), torch.zeros(len(weight)))
            layers.append(nn.ModuleList(map(_linear, weight.chunk(4), bias.chunk(4))))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor, states: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        found = []
        for layer, gates in enumerate(self.layers):
            h, c = states[2 * layer : 2 * layer + 2]
            joined = torch.cat([x, h], dim=1)
            i, f, g, o = (gate(joined) for gate in gates)  # type: ignore[attr-defined]
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            x = torch.sigmoid(o) * torch.tanh(c)
            found += [x, c]
        return x, found


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> MatMulAdd:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return MatMulAdd(linear)


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


def step(step: dict[str, Any], integer: torch.dtype) -> nn.Module:
    """A step of a contract's epilogue, but for "mask", as a layer.

    :param integer: dtype of decisions
    """
    op = step["op"]
    if op == "argmax":
        return Argmax(integer, step.get("sizes", []))
    if op == "positive":
        return Positive(integer)
    if op == "tanh":
        return nn.Tanh()
    if op == "reshape":
        return Reshape(step["shape"])
    return {"clip": Clip, "unscale": Unscale}[op](step["low"], step["high"])


def small(module: nn.Module) -> nn.Module:
    """A copy without Dropout and Identity, with Linear as MatMul and Add, and normalizations folded into them."""
    found: list[nn.Module] = []
    for layer in flat(module):
        if isinstance(layer, nn.Linear):
            made: nn.Module = MatMulAdd(layer)
            if found and isinstance(found[-1], Affine):
                _fold(found.pop(), made)  # type: ignore[arg-type]
            found.append(made)
        else:
            found.append(_affine(layer) if type(layer).__name__ == "BatchRenorm1d" else activations.known(layer))
    return nn.Sequential(*found)


def _affine(norm: Any) -> Affine:
    """sb3_contrib's BatchRenorm in evaluation mode: ``(x - mean) / sqrt(var + eps) * scale + bias``."""
    scale = 1 / (norm.ra_var.double() + norm.eps).sqrt()
    shift = -norm.ra_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.scale.detach().double(), shift * norm.scale.detach().double()
        shift = shift + norm.bias.detach().double()
    return Affine(scale.float(), shift.float())


def _fold(affine: Affine, linear: MatMulAdd) -> None:
    scale, shift, weight = affine.scale.double(), affine.shift.double(), linear.weight.double()
    with torch.no_grad():
        linear.bias.copy_(linear.bias.double() + shift @ weight)
        linear.weight.copy_(weight * scale[:, None])


def without_ending_norm(layers: nn.Sequential) -> tuple[nn.Sequential, list[nn.Module]]:
    """The layers without a normalization at their end, and that one, to stand before whatever comes next."""
    found = list(layers)
    if found and type(found[-1]).__name__ == "BatchRenorm1d":
        return nn.Sequential(*found[:-1]), found[-1:]
    return layers, []


def flat(module: nn.Module) -> list[nn.Module]:
    """The leaves of nested Sequentials, in order, without those that do nothing at inference."""
    if isinstance(module, nn.Sequential):
        return [leaf for child in module for leaf in flat(child)]
    return [] if isinstance(module, nn.Identity | nn.Dropout) else [module]
