"""Activations in operators that every converter knows, and in numbers that never overflow.

Each is torch's own with another ``forward``. Imports torch, so it is imported inside functions only.
"""

from __future__ import annotations

import copy

import torch
from torch import nn


class GELU(nn.GELU):
    """``x / 2 * (1 + erf(x / √2))``, in the order in which TensorFlow Lite knows it for its own operator.

    In any other order it keeps an Erf, which TensorFlow Lite does not have; the Gelu of ONNX is newer than onnx-tf,
    and not converted to the newest opset.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.approximate != "none":
            return super().forward(x)
        return (x * 0.5) * (torch.erf(x * 0.5**0.5) + 1.0)


class CELU(nn.CELU):
    """onnx-tf multiplies an ``exp(x)`` that may be infinite by 0, which is NaN; one int8 scale does not hold it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _bent(x, self.alpha, self.alpha)


class SELU(nn.SELU):
    """As :class:`CELU`; constants of ``torch.nn.SELU``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.0507009873554805 * _bent(x, 1.6732632423543772, 1.0)


class ELU(nn.ELU):
    """Integers throughout, where TensorFlow Lite's own operator is in float."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _bent(x, self.alpha, 1.0)


class Softplus(nn.Softplus):
    """TensorFlow Lite takes it for ``log(1 + exp(x))``, infinite from 89 on, which one int8 scale does not hold."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _softplus(x * self.beta) / self.beta


class Mish(nn.Mish):
    """``x * tanh(softplus(x))``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.tanh(_softplus(x))


class LogSigmoid(nn.LogSigmoid):
    """torch's exporter writes ``log(sigmoid(x))``, infinite where the sigmoid is no float32 any more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - _softplus(x)


class PReLU(nn.PReLU):
    """Of one slope, or of one for each channel, the second dimension. TensorFlow Lite's own wants its slopes in 3."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        slope = self.weight.view(-1, *[1] * (x.dim() - 2))
        return torch.relu(x) + slope * torch.minimum(x, torch.zeros(()))


class RReLU(nn.RReLU):
    """At random in training alone; a policy acts with the mean slope."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) + (self.lower + self.upper) / 2 * torch.minimum(x, torch.zeros(()))


class Softshrink(nn.Softshrink):
    """torch's exporter selects among three tensors, which TensorFlow Lite has no integers for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x - self.lambd) + torch.minimum(x + self.lambd, torch.zeros(()))


def _bent(x: torch.Tensor, alpha: float, divisor: float) -> torch.Tensor:
    """``x``, and below 0 ``alpha * (exp(x / divisor) - 1)``."""
    below = torch.minimum(x, torch.zeros(()))
    return torch.relu(x) + alpha * (torch.exp(below / divisor) - 1.0)


def _softplus(x: torch.Tensor) -> torch.Tensor:
    """``max(x, 0) + log(1 + exp(-|x|))``. TensorFlow Lite has no integer operator that negates."""
    above = torch.relu(x)
    return above + torch.log(torch.exp(x - 2.0 * above) + 1.0)


_OURS = (GELU, CELU, SELU, Softplus, Mish, LogSigmoid, PReLU, RReLU, Softshrink)
KNOWN = {cls.__bases__[0]: cls for cls in _OURS}


def known(module: nn.Module) -> nn.Module:
    """A copy of a module, with such activations."""
    copied = copy.deepcopy(module)
    for child in copied.modules():
        child.__class__ = KNOWN.get(type(child), type(child))
    return copied


def for_integers(module: nn.Module) -> None:
    """Change the activations of a module that one integer scale per tensor is not enough for."""
    for child in module.modules():
        if type(child) is nn.ELU:
            child.__class__ = ELU
