"""What a TFLite file holds, read from its flatbuffer: no interpreter, so compiled models open too."""

from __future__ import annotations

from typing import Any

from pipeline import errors

EDGETPU_OPERATOR = "edgetpu-custom-op"


def structure(content: bytes) -> dict[str, Any]:
    """Operators in order, and name, shape, dtype, scales and zero points of inputs and outputs.

    :param content: a ``.tflite`` file of one subgraph (schema version 3)
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}

    def operator(index: int) -> str:
        code = model.operatorCodes[index]
        if code.customCode:
            return bytes(code.customCode).decode()
        return names[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def tensor(index: int) -> dict[str, Any]:
        entry = graph.tensors[index]
        quantization = entry.quantization
        scales = [] if quantization is None or quantization.scale is None else list(map(float, quantization.scale))
        zeros = [] if quantization is None or quantization.zeroPoint is None else list(map(int, quantization.zeroPoint))
        return {
            "name": entry.name.decode(),
            "shape": [int(n) for n in entry.shape],
            "dtype": types[entry.type],
            "scale": scales,
            "zero_point": zeros,
        }

    return {
        "operators": [operator(entry.opcodeIndex) for entry in graph.operators],
        "inputs": [tensor(index) for index in graph.inputs],
        "outputs": [tensor(index) for index in graph.outputs],
    }


def hold_compiled_to_source(source: bytes, compiled: bytes) -> dict[str, Any]:
    """Hold what the Edge TPU compiler wrote to what it was given.

    :return: ``mapped``, operators inside the custom operator, and ``left``, those that stay on the CPU
    :raises errors.OutputsUnfit: it is not mapped at all, or an input or output is another than the source's
    """
    before, after = structure(source), structure(compiled)
    customs = after["operators"].count(EDGETPU_OPERATOR)
    if customs != 1:
        raise errors.OutputsUnfit(
            "the compiled model is not mapped to the Edge TPU", expected=f"one {EDGETPU_OPERATOR}", found=customs
        )
    for side in ("inputs", "outputs"):
        for wanted, found in zip(before[side], after[side], strict=True):
            for key, value in wanted.items():
                if found[key] != value:
                    raise errors.OutputsUnfit(
                        f"the compiled model's {side[:-1]} {wanted['name']} has another {key}",
                        expected=value,
                        found=found[key],
                    )
    left = [operator for operator in after["operators"] if operator != EDGETPU_OPERATOR]
    return {"mapped": len(before["operators"]) - len(left), "left": left}
