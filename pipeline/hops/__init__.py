"""The chain: every hop, in pipeline order. A new hop is its file, a line here, and a test."""

from __future__ import annotations

from pipeline.spec import Hop

_ONNX = {"integer": "int64", "part": "policy"}

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
        precision="int8", inputs=("calibration",)),
    Hop("tflite_int8", "edgetpu", "tflite_int8_to_edgetpu", "device", ("edgetpu",),
        "edgetpu_compiler, where it is installed",
        precision="int8", reads={"edgetpu": "edgetpu"}, program="edgetpu.command"),
    Hop("sb3", "torchscript", "sb3_to_torchscript", "torch", ("torchscript", "libtorch"),
        "torch.jit, traced and frozen, for C++"),
    Hop("sb3", "weights", "sb3_to_weights", "torch", ("weights",),
        "safetensors, the architecture as JSON, and a NumPy policy"),
)  # fmt: skip

KINDS = tuple(hop.kind for hop in HOPS)
BY_KIND = {hop.kind: hop for hop in HOPS}


def wanted(targets: list[str]) -> tuple[Hop, ...]:
    """The hops that make these targets ("all" is every kind), with all that they start from, in order."""
    kinds = set(KINDS if "all" in targets else targets)
    for hop in reversed(HOPS):
        if hop.kind in kinds:
            kinds.add(hop.source)
    return tuple(hop for hop in HOPS if hop.kind in kinds)
