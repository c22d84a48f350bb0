"""Activations in operators that every converter knows, and in numbers that never overflow.

Each is torch's own with another ``forward``. Imports torch, so it is imported inside functions only.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # of torch.nn.SELU


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
    """As :class:`CELU`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return SELU_SCALE * _bent(x, SELU_ALPHA, 1.0)


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


# The integer core's. An Edge TPU has neither EXP, LOG, ERF, ABS, NEG nor DIV; TFLM has no integers for the first two.
# Below is nothing but what both have in int8: LOGISTIC, TANH, RELU, RELU6, RSQRT (``1 / sqrt``), ADD, SUB, MUL.

ARTANH = (1.99999847, 0.66684641, 0.39434126, 0.35024398)
GELU_STEEPNESS = 0.35
GELU_POLYNOMIAL = (1.13982203, -1.17037339, 0.57028105, 0.06870263, -0.15470544, 0.16080912, -0.19056855, 0.07604135)


class IntegerELU(nn.ELU):
    """TensorFlow Lite's own operator is in float."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _bent_in_integers(x, self.alpha, 1.0)


class IntegerCELU(CELU):
    """As :class:`IntegerELU`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _bent_in_integers(x, self.alpha, self.alpha)


class IntegerSELU(SELU):
    """As :class:`IntegerELU`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return SELU_SCALE * _bent_in_integers(x, SELU_ALPHA, 1.0)


class IntegerSoftplus(Softplus):
    """``max(x, 0) + log(1 + exp(-|x|))``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above, below = _halves(x * self.beta)
        return (above + _log_of_1_and_exp(above, below)) / self.beta


class IntegerLogSigmoid(LogSigmoid):
    """``min(x, 0) - log(1 + exp(-|x|))``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above, below = _halves(x)
        return 0.0 - below - _log_of_1_and_exp(above, below)


class IntegerMish(Mish):
    """``x * (1 - v²) / (1 + v²)`` with ``v = σ(-x)``: ``softplus(x)`` is ``-log(v)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above, below = _halves(x)
        u = torch.sigmoid(above - below)
        v = 1.0 - u
        root = torch.sqrt(v * v + 1.0)
        share = u * (v + 1.0) / root / root
        return above * share - below * share


class IntegerGELU(GELU):
    """``max(x, 0) - |x| * Φ(-|x|)``, where ``Φ(-|x|) = 1/2 - t * P(t²)`` with ``t = tanh(0.35 |x|)``.

    ``P`` is the polynomial of degree 7 that is nearest up to 6 (minimax, by Lawson's weights), where the error is 4e-7
    at most, in float32 1.5e-6; beyond, less than 1e-6 is subtracted. Other factors than 0.35 need larger coefficients,
    which cancel each other, or a higher degree.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.approximate != "none":
            return super().forward(x)
        above, below = _halves(x)
        size = nn.functional.relu6(above + below)
        t = torch.tanh(size * GELU_STEEPNESS)
        return above - size * (0.5 - t * _polynomial(t * t, GELU_POLYNOMIAL))


class IntegerHardswish(nn.Hardswish):
    """``max(x, 0) - |x| * max(3 - |x|, 0) / 6``; torch's own way becomes RELU_0_TO_1 or HARD_SWISH."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above, below = _halves(x)
        size = above + below
        return above - size * torch.relu(3.0 - size) * (1 / 6)


class IntegerSoftsign(nn.Softsign):
    """``x / (1 + |x|)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above, below = _halves(x)
        root = torch.sqrt(above + below + 1.0)
        return above / root / root - below / root / root


class IntegerLeakyReLU(nn.LeakyReLU):
    """``max(x, 0) + slope * min(x, 0)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above, below = _halves(x)
        return above - self.negative_slope * below


class IntegerPReLU(PReLU):
    """As :class:`IntegerLeakyReLU`, with learned slopes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above, below = _halves(x)
        return above - self.weight.view(-1, *[1] * (x.dim() - 2)) * below


class IntegerRReLU(RReLU):
    """As :class:`IntegerLeakyReLU`, with the mean slope."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above, below = _halves(x)
        return above - (self.lower + self.upper) / 2 * below


class IntegerSoftshrink(Softshrink):
    """``max(x - lambda, 0) - max(-x - lambda, 0)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x - self.lambd) - torch.relu(x * -1.0 - self.lambd)


def _halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``max(x, 0)`` and ``max(-x, 0)``, each with 256 steps of its own.

    The converter folds RELU, and the factor before it, into the layer before, which it makes twice: both give half of
    the range, in steps half as wide, at the price of parameters that are held twice. MINIMUM is not used for it: it
    has one scale on both sides, so whatever else reads ``x`` would get no more than the range of the minimum.
    """
    return torch.relu(x), torch.relu(x * -1.0)


def _bent_in_integers(x: torch.Tensor, alpha: float, divisor: float) -> torch.Tensor:
    """As :func:`_bent`: with ``t = tanh(y / 2)``, ``1 - exp(-y)`` is ``2 t / (1 + t)``."""
    above, below = _halves(x)
    t = torch.tanh(below * (0.5 / divisor))
    root = torch.sqrt(t + 1.0)
    return above - (2.0 * alpha) * (t / root / root)


def _log_of_1_and_exp(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """``log(1 + exp(-|x|))`` of the halves of ``x``, 6e-8 off at most.

    It is ``2 artanh(s)`` with ``s = exp(-|x|) / (2 + exp(-|x|)) = σ(-|x| - log 2)``, which is 1/3 at most. There the
    odd polynomial of degree 7 is nearest (minimax, by Lawson's weights) instead of artanh's series 2, 2/3, 2/5, 2/7.
    """
    s = torch.sigmoid(-math.log(2) - above - below)
    return s * _polynomial(s * s, ARTANH)


def _polynomial(x: torch.Tensor, coefficients: tuple[float, ...]) -> torch.Tensor:
    """By Horner's rule; the constant coefficient is the first."""
    value: torch.Tensor | float = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = x * value + coefficient
    return torch.as_tensor(value)


_OF_INTEGERS = (
    *(IntegerELU, IntegerCELU, IntegerSELU, IntegerSoftplus, IntegerLogSigmoid, IntegerMish, IntegerGELU),
    *(IntegerHardswish, IntegerSoftsign, IntegerLeakyReLU, IntegerPReLU, IntegerRReLU, IntegerSoftshrink),
)
FOR_INTEGERS = {cls.__bases__[0]: cls for cls in _OF_INTEGERS}


def for_integers(module: nn.Module) -> None:
    """Change the activations of a module, which :func:`known` made, to those of the integer core."""
    for child in module.modules():
        child.__class__ = FOR_INTEGERS.get(type(child), type(child))
