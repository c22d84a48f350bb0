"""savedmodel of the core -> tflite in integers, by TFLiteConverter with a representative dataset.

Weights are rounded anew, together (:mod:`pipeline.hops.rounding`), and what each layer's rounding costs is written
beside (:mod:`pipeline.hops.tflite_blame`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors
from pipeline.hops import fixed_batch, for_users, tflite_blame, tflite_ranges, tflite_rounding

if TYPE_CHECKING:
    import numpy as np

    Inputs = dict[str, np.ndarray]


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``policy.tflite`` with integer inputs and outputs, ``layers.json``, and a program for users.

    :param settings: ``activations``, "int8" or "int16"; ``ranges``, "extremes" or "least-error"; ``head``, "int8" or
        "float"; and the folder of a calibration with the agent's own rollouts
    :raises errors.ObservationsNotFinite: the calibration observations cannot give a range
    """
    calibration = settings.get("calibration") or settings["calibration_more"]
    seen = contracts.read_inputs(contract, Path(calibration) / "observations.npz")
    ready = contracts.prologue(contract["prologue"], seen)
    inputs = {entry["name"]: ready[entry["name"]] for entry in contract["inputs"]}
    _check_ranges(inputs)
    converter = _converter(source, contract, inputs)
    converter._experimental_calibrate_only = True
    calibrated = fixed_batch.convert(converter)
    if settings["activations"] == "int16":
        rounded = _with_int16(_converter(source, contract, inputs))
    else:
        rounded = _with_int8(calibrated, inputs, settings)
    content = tflite_rounding.round_together(rounded, calibrated, inputs)
    (target / fixed_batch.FILE).write_bytes(content)
    fixed_batch.describe(content, contract)
    layers = tflite_blame.layers(content, calibrated, inputs)
    (target / tflite_blame.FILE).write_text(json.dumps(layers, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for_users.run_policy_copy(target, contract)
    contract["files"] += [tflite_blame.FILE]


def _converter(source: Path, contract: dict[str, Any], inputs: Inputs) -> Any:
    import tensorflow as tf

    def representative_dataset() -> Iterator[Inputs]:
        for row in range(len(next(iter(inputs.values())))):
            yield {name: values[row : row + 1] for name, values in inputs.items()}

    converter = fixed_batch.converter(source, contract)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_dataset
    return converter


def _with_int8(calibrated: bytes, inputs: Inputs, settings: dict[str, Any]) -> bytes:
    """As the converter itself would go on, but with other ranges, or with nodes that stay in float."""
    import tensorflow as tf
    from tensorflow.lite.python import convert as steps

    if settings["ranges"] == "least-error":
        calibrated = tflite_ranges.with_least_error(calibrated, inputs)
    head = tflite_ranges.outputs_of_last_layers(calibrated) if settings["head"] == "float" else None
    content: bytes = steps.mlir_quantize(
        calibrated,
        input_data_type=tf.int8,
        output_data_type=tf.int8 if head is None else tf.float32,
        denylisted_nodes=head,
    )
    return content


def _with_int16(converter: Any) -> bytes:
    import tensorflow as tf

    only = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.target_spec.supported_ops = [only]
    converter.inference_input_type = converter.inference_output_type = tf.int16
    return fixed_batch.convert(converter)


def _check_ranges(inputs: Inputs) -> None:
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
