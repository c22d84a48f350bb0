"""A SavedModel's signature at batch 1, as TFLite and Coral want it. Runs in the tensorflow toolchain."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipeline import errors

FILE = "policy.tflite"


def converter(source: Path, contract: dict[str, Any]) -> Any:
    """A ``tf.lite.TFLiteConverter`` for the signature of a savedmodel artifact at batch 1."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(source / contract["files"][0]))
    signature = loaded.signatures[contract["signature"]]
    specs = {
        entry["name"]: tf.TensorSpec([1, *entry["shape"][1:]], entry["dtype"], name=entry["name"])
        for entry in contract["inputs"]
    }
    decide = tf.function(lambda **inputs: signature(**inputs), autograph=False).get_concrete_function(**specs)
    # The trackable object is kept by the converter: it owns the variables.
    return tf.lite.TFLiteConverter.from_concrete_functions([decide], loaded)


def convert(converter: Any) -> bytes:
    """The TFLite file.

    :raises errors.NotRun: TensorFlow Lite lacks one of the operators
    """
    try:
        content: bytes = converter.convert()
    except Exception as error:
        absent = re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", str(error))
        if absent:
            raise errors.lacking("TensorFlow Lite", absent) from None
        raise
    return content


def describe(content: bytes, contract: dict[str, Any]) -> None:
    """Write the TFLite file's shapes, dtypes and quantization into its contract."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=content)
    runner = interpreter.get_signature_runner()
    quantization = {}
    for side, details in (("inputs", runner.get_input_details()), ("outputs", runner.get_output_details())):
        for entry in contract[side]:
            tensor = details[entry["name"]]
            entry["shape"] = [int(n) for n in tensor["shape"]]
            entry["dtype"] = tensor["dtype"].__name__
            scale, zero_point = tensor["quantization"]
            if scale:
                quantization[entry["name"]] = {"scale": float(scale), "zero_point": int(zero_point)}
    contract["quantization"] = quantization
    contract["files"] = [FILE]
