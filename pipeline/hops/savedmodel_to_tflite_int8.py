"""savedmodel of the core -> tflite in full-integer int8, by TFLiteConverter with a representative dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors
from pipeline.hops import fixed_batch

if TYPE_CHECKING:
    import numpy as np


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``policy.tflite`` with int8 inputs and outputs.

    :param settings: ``calibration``, folder of the artifact with the agent's own rollouts
    :raises errors.ObservationsNotFinite: the calibration observations cannot give a range
    """
    import tensorflow as tf

    seen = contracts.read_inputs(contract, Path(settings["calibration"]) / "observations.npz")
    ready = contracts.prologue(contract["prologue"], seen)
    inputs = {entry["name"]: ready[entry["name"]] for entry in contract["inputs"]}
    _check_ranges(inputs)

    def representative_dataset() -> Iterator[dict[str, np.ndarray]]:
        for row in range(len(next(iter(inputs.values())))):
            yield {name: values[row : row + 1] for name, values in inputs.items()}

    converter = fixed_batch.converter(source, contract)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_dataset
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    content = fixed_batch.convert(converter)
    (target / fixed_batch.FILE).write_bytes(content)
    fixed_batch.describe(content, contract)


def _check_ranges(inputs: dict[str, np.ndarray]) -> None:
    import numpy as np

    spans = {}
    for name, values in inputs.items():
        if not np.isfinite(values).all():
            raise errors.ObservationsNotFinite(f"calibration observations of {name} hold NaN or infinity")
        spans[name] = float(values.max() - values.min())
    widest = max(spans, key=lambda name: spans[name])
    if not 0 < spans[widest] < 1e6:
        raise errors.ObservationsNotFinite(
            f"calibration observations of {widest} span {spans[widest]:.3g}, which gives int8 no useful scale",
            remedy="Calibrate on rollouts: name the agent's [environment] in the config",
        )
