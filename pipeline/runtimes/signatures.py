"""TFLite signatures: tensors bound by name, integers quantized and dequantized by their own scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from pipeline.contract import Run


def bind(interpreter: Any) -> Run:
    """Run an interpreter's only signature, one observation at a time (TFLite files have batch 1)."""
    runner = interpreter.get_signature_runner()
    return rows(runner, runner.get_input_details(), runner.get_output_details())


def rows(runner: Callable[..., Any], takes: Mapping[str, Any], gives: Mapping[str, Any]) -> Run:
    """Run whatever takes and gives tensors of one observation by name.

    :param runner: tensors [1, ...] as keywords, in their own dtypes -> tensors [1, ...] by name
    :param takes: ``quantization`` (scale and zero point; scale 0 for none) and ``dtype`` of each input
    :param gives: the same of each output
    """
    import numpy as np

    def quantize(name: str, values: np.ndarray) -> np.ndarray:
        scale, zero_point = takes[name]["quantization"]
        dtype = takes[name]["dtype"]
        if not scale:
            return values.astype(dtype, copy=False)
        limits = np.iinfo(dtype)
        return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(dtype)

    def dequantize(name: str, values: np.ndarray) -> np.ndarray:
        scale, zero_point = gives[name]["quantization"]
        if not scale:
            return values
        return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        ready = {name: quantize(name, values) for name, values in inputs.items()}
        found = [
            runner(**{name: values[row : row + 1] for name, values in ready.items()})
            for row in range(len(next(iter(ready.values()))))
        ]
        return {name: dequantize(name, np.concatenate([row[name] for row in found])) for name in gives}

    return run
