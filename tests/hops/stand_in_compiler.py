"""A test fixture in the place of edgetpu_compiler: it compiles nothing and is no part of Slipway.

    stand_in_compiler.py WAY --version
    stand_in_compiler.py WAY -s -o FOLDER MODEL

It takes the options, prints the report and writes the files that Google's compiler does, versions 14 to 16, as far as
anything here reads them; inside its custom operator is no program. WAY says how it ends:

    full, partial, streaming   a file with all, or all but the last two, operators inside one custom operator
    unversioned, quiet         the same as full, without a version; without a log and a table
    copy, rescaled, strange    a file in which nothing is mapped; with another output scale; with a foreign operator
    two, garbage, empty        with two custom operators; a file that is no TFLite; an empty one
    nothing, unquantized, dynamic, abort, crash, late, hang, hang-version
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

VERSION = "Edge TPU Compiler version 16.0.384591198"
MAPPED = "Mapped to Edge TPU"
SAYS = {
    "nothing": (0, "Compilation child process completed within timeout period.\n"),
    "unquantized": (1, "Invalid model: policy.tflite\nModel not quantized\n"),
    "dynamic": (
        1,
        "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has "
        "dynamic-sized tensors.\nCompilation failed: Model failed in Tflite interpreter. Please ensure model can be "
        "loaded/run in Tflite interpreter.\nCompilation child process completed within timeout period.\n"
        "Compilation failed! \n",
    ),
    "abort": (1, "\nInternal compiler error. Aborting! \n"),
    "late": (1, "Compilation timeout. This is usually caused by large activations.\nCompilation failed! \n"),
}


def wrap(content: bytes, kept: int, way: str) -> tuple[bytes, list[tuple[str, str]]]:
    """The operators but the last ``kept`` inside one custom operator.

    :return: the file, and (operator, status) of each operator
    """
    from ai_edge_litert import schema_py_generated as schema
    from forging_tflite import packed

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    count = len(graph.operators) - kept
    inside, left = graph.operators[:count], graph.operators[count:]
    told = [names[model.operatorCodes[operator.opcodeIndex].builtinCode] for operator in graph.operators]
    statuses = [(name, MAPPED if n < count else "Operation not supported") for n, name in enumerate(told)]
    written = [int(n) for operator in inside for n in operator.outputs]
    read = {int(n) for operator in left for n in operator.inputs} | {int(n) for n in graph.outputs}
    customs = [_custom(model, list(map(int, graph.inputs)), [n for n in written if n in read])]
    if way == "two":
        customs.append(_custom(model, list(map(int, graph.inputs)), []))
    graph.operators = [*customs, *left]
    if way == "rescaled":
        graph.tensors[graph.outputs[0]].quantization.scale = [3.0]
    if way == "strange":
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CEIL
        model.operatorCodes.append(code)
        strange = schema.OperatorT()
        strange.opcodeIndex, strange.inputs, strange.outputs = len(model.operatorCodes) - 1, graph.outputs, []
        graph.operators.append(strange)
    return packed(model), statuses


def _custom(model: Any, inputs: list[int], outputs: list[int]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"edgetpu-custom-op"
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes) - 1, inputs, outputs
    return operator


def report(way: str, folder: Path, model: Path, statuses: list[tuple[str, str]]) -> None:
    """Print, and write into the log, what the compiler reports of a success."""
    stem = f"{model.stem}_edgetpu"
    cached, remaining, streamed = (
        ("6.91MiB", "1.75KiB", "1.22MiB") if way == "streaming" else ("2.50KiB", "7.72MiB", "0.00B")
    )
    counted = Counter(statuses)
    rows = [f"{name:31}{count:<11}{status}" for (name, status), count in counted.items()]
    table = "\n".join([f"{'Operator':31}{'Count':11}Status", "", *rows]) + "\n"
    print(f"\nModel compiled successfully in 42 ms.\n\nInput model: {model}\nInput size: 9.12KiB")
    print(f"Output model: {folder / stem}.tflite\nOutput size: 31.02KiB")
    print(f"On-chip memory used for caching model parameters: {cached}")
    print(f"On-chip memory remaining for caching model parameters: {remaining}")
    print(f"Off-chip memory used for streaming uncached model parameters: {streamed}")
    print(f"Number of Edge TPU subgraphs: {int(way != 'copy')}\nTotal number of operations: {len(statuses)}")
    print(f"Operation log: {folder / stem}.log")
    if way != "quiet":
        print(f"\n{table}Compilation child process completed within timeout period.\nCompilation succeeded! ")
        head = "" if way == "unversioned" else f"{VERSION}\n"
        (folder / f"{stem}.log").write_text(f"{head}Input: {Path.cwd() / model}\nOutput: {stem}.tflite\n\n{table}")


def main(way: str, arguments: list[str]) -> int:
    if way != "unversioned":
        print(VERSION, flush=True)
    if arguments == ["--version"]:
        if way == "hang-version":
            time.sleep(300)
        return 0
    show, out, folder, model = arguments
    assert (show, out) == ("-s", "-o"), arguments
    content = Path(model).read_bytes()
    print("Started a compilation timeout timer of 180 seconds.", flush=True)
    if way == "hang":
        child = subprocess.Popen(["sleep", "300"])
        Path(os.environ["STAND_IN_CHILD"]).write_text(str(child.pid))
        child.wait()
    if way == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if way in SAYS:
        code, said = SAYS[way]
        print(said, end="")
        return code
    written, statuses = wrap(content, 2 if way == "partial" else 0, way)
    other = {"copy": content, "garbage": b"\x7fELF" * 40, "empty": b""}
    if way == "copy":
        statuses = [(name, "Operation is working on an unsupported data type") for name, _ in statuses]
    (Path(folder) / f"{Path(model).stem}_edgetpu.tflite").write_bytes(other.get(way, written))
    report(way, Path(folder), Path(model), statuses)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
