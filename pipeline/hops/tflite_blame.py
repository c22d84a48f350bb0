"""Where rounding to integers costs most: every layer's share, float and integer network side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.hops import tflite_layers

if TYPE_CHECKING:
    from pipeline.hops.tflite_layers import Inputs

FILE = "layers.json"


def layers(content: bytes, exact: bytes, inputs: Inputs) -> list[dict[str, Any]]:
    """What rounding costs in each layer with weights, in order.

    Errors are root mean squares over observations, as a share of the standard deviation of what the layer answers in
    float: what does not vary decides nothing. ``inherited`` comes with its inputs, ``weights`` from its own rounded
    weights and bias, ``steps`` from rounding its answers; ``error`` is the whole.

    :param content: the integer network
    :param exact: the same in float32
    :param inputs: observations after the prologue, by name, [rows, ...]
    :return: ``name``, ``low`` and ``high`` (the range of the answers in float), ``step`` (0.0 in float), and the four
    """
    import numpy as np

    file, float_file = tflite_layers.File(content), tflite_layers.File(exact)
    pairs = list(zip(float_file.layers(), file.layers(), strict=True))
    chosen = tflite_layers.few(inputs, 2 * sum(float_file.size(t) for p, _ in pairs for t in (p.takes, p.gives)))
    wanted = tflite_layers.watched(exact, chosen, [t for pair, _ in pairs for t in (pair.takes, pair.gives)])
    found = tflite_layers.watched(content, chosen, [t for _, pair in pairs for t in (pair.takes, pair.gives)])
    told = []
    for place, (original, layer) in enumerate(pairs):
        given, answered = wanted[2 * place], wanted[2 * place + 1]
        now_given, now_answered = found[2 * place], found[2 * place + 1]
        kernel, size = float_file.kernel(original), float_file.shape(original.gives)[1:]
        flat = kernel.reshape(len(kernel), -1)
        own = file.kernel(layer).reshape(flat.shape)
        before = tflite_layers.seen_by(original, given, kernel, size) @ flat.T
        after = tflite_layers.seen_by(original, now_given, kernel, size)
        step = float(file.scale(layer.gives)[0]) if file.scale(layer.gives).size else 0.0
        spread = max(float(answered.std(axis=0).mean()), 1e-12)
        bias = file.bias(layer) - float_file.bias(original)
        parts = {
            "inherited": float(np.sqrt(np.mean((after @ flat.T - before) ** 2))),
            "weights": float(np.sqrt(np.mean((after @ (own - flat).T + bias) ** 2))),
            "steps": step / 12**0.5,
            "error": float(np.sqrt(np.mean((now_answered - answered) ** 2))),
        }
        told.append(
            {
                "name": float_file.graph.Tensors(original.gives).Name().decode(),
                "low": _digits(float(answered.min())),
                "high": _digits(float(answered.max())),
                "step": _digits(step),
                **{name: _digits(value / spread) for name, value in parts.items()},
            }
        )
    return told


def _digits(value: float) -> float:
    """Four of them: the last ones differ from one machine's float arithmetic to another's."""
    return float(f"{value:.4g}")


def phrase(told: list[dict[str, Any]]) -> str:
    """Which layer's own rounding costs most, its range, and what to try."""
    costs = [(entry[cause], place, cause) for place, entry in enumerate(told) for cause in ("weights", "steps")]
    if not costs:
        return ""
    cost, place, cause = max(costs)
    entry = told[place]
    where = f"the error enters at layer {place + 1} of {len(told)} with weights ({entry['name'][-60:]})"
    span = f"{entry['low']:g} to {entry['high']:g}"
    if cause == "weights":
        return f"{where}, whose rounded weights cost {cost:.0%} of what its answers ({span}) vary by: try float16"
    return (
        f"{where}, whose answers from {span} in steps of {entry['step']:g} cost {cost:.0%} of what they vary by: "
        "try int16x8"
    )
