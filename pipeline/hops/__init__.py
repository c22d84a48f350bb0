"""The chain: every hop, in pipeline order. A new hop is its file, a line here, and a test."""

from __future__ import annotations

from pipeline.spec import Hop

_ONNX = {"integer": "int64", "part": "policy"}
_INT8 = {"activations": "int8", "ranges": "extremes", "head": "int8"}

HOPS = (
    Hop("sb3", "onnx", "sb3_to_onnx", "torch", ("onnxruntime",),
        "torch.onnx, opset 14: the whole policy",
        settings=_ONNX, reads={"opset": "onnx.opset"}),
    Hop("sb3", "onnx_core", "sb3_to_onnx", "torch", ("onnxruntime",),
        "torch.onnx, opset 14: the network alone, inputs equalized, for integer targets",
        settings={**_ONNX, "part": "core"}, reads={"opset": "onnx.opset"}, inputs=("calibration",)),
    Hop("sb3", "onnx_web", "sb3_to_onnx", "torch", ("onnxruntime", "ortweb"),
        "torch.onnx, the newest opset that ONNX Runtime Web takes",
        settings={**_ONNX, "integer": "int32"}, reads={"opset": "onnx.web_opset"}),
    Hop("onnx", "savedmodel", "onnx_to_savedmodel", "tensorflow", ("tensorflow",),
        "onnx-tf",
        reads={"opset": "onnx.opset"}),
    Hop("onnx_core", "savedmodel_core", "onnx_to_savedmodel", "tensorflow", ("tensorflow",),
        "onnx-tf, the network alone",
        reads={"opset": "onnx.opset"}),
    Hop("savedmodel", "tfjs", "savedmodel_to_tfjs", "tensorflow", ("tfjs",),
        "tensorflowjs, graph model"),
    Hop("savedmodel", "tflite", "savedmodel_to_tflite", "tensorflow", ("litert",),
        "TFLiteConverter, float32",
        settings={"weights": "float32"}),
    Hop("savedmodel", "tflite_float16", "savedmodel_to_tflite", "tensorflow", ("litert",),
        "TFLiteConverter, float16 weights",
        precision="float16", settings={"weights": "float16"}),
    Hop("savedmodel_core", "tflite_int8", "savedmodel_to_tflite_int8", "tensorflow", ("litert",),
        "TFLiteConverter, full integer, calibrated on the agent's rollouts",
        precision="int8", settings=_INT8, inputs=("calibration",), rung="int8"),
    Hop("savedmodel_core", "tflite_int8_ranges", "savedmodel_to_tflite_int8", "tensorflow", ("litert",),
        "the same with more calibration, and ranges that leave outliers out",
        precision="int8", settings={**_INT8, "ranges": "least-error"}, inputs=("calibration_more",),
        rung="int8_ranges"),
    Hop("savedmodel_core", "tflite_int8_float_head", "savedmodel_to_tflite_int8", "tensorflow", ("litert",),
        "the same with the last layer in float",
        precision="int8", settings={**_INT8, "head": "float"}, inputs=("calibration_more",), rung="int8_float_head"),
    Hop("savedmodel_core", "tflite_int16x8", "savedmodel_to_tflite_int8", "tensorflow", ("litert",),
        "activations in int16, weights in int8; for CPUs only",
        precision="int8", settings={**_INT8, "activations": "int16"}, inputs=("calibration_more",), rung="int16x8"),
    Hop("savedmodel_core", "tflite_core_float16", "savedmodel_to_tflite", "tensorflow", ("litert",),
        "TFLiteConverter, float16 weights, the network alone; for CPUs only",
        precision="int8", settings={"weights": "float16"}, rung="float16"),
    Hop("savedmodel_core", "tflite_quantized", "savedmodel_to_tflite_int8", "tensorflow", ("litert", "tflite_micro"),
        "the first of the ladder that keeps the return",
        precision="int8",
        rungs=("tflite_int8", "tflite_int8_ranges", "tflite_int8_float_head", "tflite_int16x8", "tflite_core_float16")),
    Hop("tflite_quantized", "tflite_whole", "quantized_to_whole", "tensorflow", ("litert",),
        "prologue and epilogue in float around the quantized core: one file for CPUs",
        precision="int8", acts_as="tflite_quantized/litert"),
    Hop("tflite_quantized", "tflite_float_io", "quantized_io", "tensorflow", ("litert",),
        "float32 in and out",
        precision="int8", settings={"io": "float32"}, asked=True),
    Hop("tflite_quantized", "tflite_uint8_io", "quantized_io", "tensorflow", ("litert",),
        "uint8 in and out",
        precision="int8", settings={"io": "uint8"}, asked=True),
    Hop("savedmodel", "tflite_dynamic", "savedmodel_to_tflite", "tensorflow", ("litert",),
        "TFLiteConverter, weights in int8, activations in float",
        precision="int8", settings={"weights": "dynamic"}, asked=True),
    Hop("tflite_quantized", "edgetpu", "tflite_int8_to_edgetpu", "device", ("edgetpu",),
        "edgetpu_compiler, where it is installed",
        precision="int8", reads={"edgetpu": "edgetpu"}, program="edgetpu.command"),
    Hop("tflite_quantized", "micro", "tflite_int8_to_micro", "device", ("micro",),
        "C++ for microcontrollers, on TensorFlow Lite Micro",
        precision="int8", acts_as="tflite_quantized/tflite_micro"),
    Hop("sb3", "torchscript", "sb3_to_torchscript", "torch", ("torchscript", "libtorch"),
        "torch.jit, traced and frozen, for C++"),
    Hop("sb3", "weights", "sb3_to_weights", "torch", ("weights",),
        "safetensors, the architecture as JSON, and a NumPy policy"),
)  # fmt: skip

KINDS = tuple(hop.kind for hop in HOPS)
BY_KIND = {hop.kind: hop for hop in HOPS}


def wanted(targets: list[str]) -> tuple[Hop, ...]:
    """The hops that make these targets, with all that they start from, in order.

    "all" is every kind but those that are made only where they are asked for by name.
    """
    kinds = set(targets)
    if "all" in targets:
        kinds |= {hop.kind for hop in HOPS if not hop.asked}
    for hop in reversed(HOPS):
        if hop.kind in kinds:
            kinds |= {hop.source, *hop.rungs}
    return tuple(hop for hop in HOPS if hop.kind in kinds)
