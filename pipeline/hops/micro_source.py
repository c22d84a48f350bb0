"""A contract's prologue and epilogue as C++ (C++11, no library but the standard one), and the array of its model.

What the header computes is what :func:`pipeline.contract.prologue`, the quantization of
:mod:`pipeline.runtimes.signatures` and :func:`pipeline.contract.epilogue` compute, in the same precisions: double up to
the cast to float, then integers. ``sqrt(variance + epsilon)`` alone is computed here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline import errors
from pipeline.hops.micro_template import HEADER, RESERVED

INTEGERS = {"int8": ("int8_t", "int8"), "int16": ("int16_t", "i16"), "uint8": ("uint8_t", "uint8")}
MEMBERS = {**INTEGERS, "float32": ("float", "f")}  # C++ type, and the member of TfLiteTensor's data
TYPES = {"float32": "float", "int32": "int32_t", "uint8": "uint8_t", "bool": "bool"}
ROLES = {
    "state": "state: 0 at first; act() leaves the new one here",
    "keep": "0 where an episode starts, else 1; act() sets it to 1",
    "mask": "true where a choice is allowed",
}


def identifier(name: str) -> str:
    """An input's name as a member in C++: keywords, and names that may be macros, take an underscore."""
    return f"{name}_" if name in RESERVED or name.upper() == name or "__" in name else name


def array(content: bytes, told: str) -> str:
    """``policy_data.cc``: the model's bytes, aligned as TFLM wants them."""
    rows = (content[start : start + 16] for start in range(0, len(content), 16))
    body = "\n".join("  " + " ".join(f"0x{byte:02x}," for byte in row) for row in rows)
    return (
        f'// {told}\n#include "policy_data.h"\n\n'
        f"alignas(16) const unsigned char policy_data[] = {{\n{body}\n}};\n"
        f"const unsigned int policy_data_size = {len(content)};\n"
    )


def header(contract: Mapping[str, Any], sizes: Mapping[str, int], told: str, action: Mapping[str, Any]) -> str:
    """``policy.h``: the steps around the network, and ``act``, which runs it between them.

    :param contract: of the core, its entries with ``place``: where in the model each tensor is
    :param sizes: ``bytes`` of the model, ``measured`` arena and ``arena`` to reserve
    :param action: ``type`` and ``count`` of what the epilogue gives
    :raises errors.NotRun: a step has no C++
    """
    steps = [_prepare(entry, contract) for entry in contract["inputs"]]
    steps += [_decide(contract, action), *(_feed(state, contract) for state in contract["states"]), _act(contract)]
    first = next(entry["name"] for entry in contract["takes"])
    return HEADER.format(
        told=told,
        first=identifier(first),
        inputs="\n".join(_field(entry) for entry in contract["takes"]),
        action=action["type"],
        count=action["count"],
        functions="\n".join(steps),
        **sizes,
    )


def taken(entry: Mapping[str, Any]) -> str:
    """The dtype in which an input is held: images in bytes, the rest as the contract says."""
    return "uint8" if entry["layout"].startswith("channel-") else str(entry["dtype"])


def count(entry: Mapping[str, Any]) -> int:
    """Numbers of one observation."""
    return math.prod(entry["shape"][1:])


def _field(entry: Mapping[str, Any]) -> str:
    told = ROLES.get(entry["role"], "")
    shape = f"{list(entry['shape'][1:])}, {entry['layout']}" if len(entry["shape"]) > 2 else ""
    key = f"key {json.dumps(entry['key'])}" if entry.get("key", entry["name"]) != entry["name"] else ""
    stack = f"{entry['frames']} frames, the oldest first" if "frames" in entry else ""
    range_ = "0 to 255" if taken(entry) == "uint8" else ""
    comment = "; ".join(part for part in (told, shape, range_, stack, key) if part)
    line = f"  {TYPES[taken(entry)]} {identifier(entry['name'])}[{count(entry)}];"
    return f"{line}  // {comment}" if comment else line


def _numbers(values: Iterable[float], single: bool = False) -> str:
    return ", ".join(_number(value, single) for value in values)


def _number(value: float, single: bool = False) -> str:
    """A literal that reads back as the same double, or as the nearest float."""
    import numpy as np

    held = float(np.float32(value)) if single else float(value)
    if math.isinf(held):
        return "INFINITY" if held > 0 else "-INFINITY"
    return f"{held!r}f" if single else repr(held)


def _table(name: str, values: Any, indent: str = "  ", single: bool = False) -> str:
    import numpy as np

    flat = np.ravel(np.array(values, np.float64)).tolist()
    kind = "float" if single else "double"
    return f"{indent}static const {kind} {name}[{len(flat)}] = {{{_numbers(flat, single)}}};\n"


def _prepare(entry: Mapping[str, Any], contract: Mapping[str, Any]) -> str:
    """The function that writes one input of the network."""
    import numpy as np

    name = entry["name"]
    steps = [step for step in contract["prologue"] if step["input"] == name]
    held = "double" if {"normalize", "equalize"} & {step["op"] for step in steps} else "float"
    tables, lines, start = "", "", f"in.{identifier(name)}[i]"
    for place, step in enumerate(steps):
        if step["op"] == "normalize":
            deviation = np.sqrt(np.array(step["variance"]) + step["epsilon"])
            tables += _table(f"mean{place}", step["mean"]) + _table(f"deviation{place}", deviation)
            lines += f"    x = (x - mean{place}[i]) / deviation{place}[i];  // normalize\n"
            if math.isfinite(float(step["clip"])):
                lines += f"    x = clip(x, -{_number(step['clip'])}, {_number(step['clip'])});\n"
        elif step["op"] == "equalize":
            tables += _table(f"middle{place}", step["middle"]) + _table(f"half{place}", step["half"])
            lines += f"    x = (x - middle{place}[i]) / half{place}[i];  // equalize\n"
        elif step["op"] == "one_hot" and not lines:
            tables += f"  static const int sizes[] = {{{', '.join(map(str, step['sizes']))}}};\n"
            start = f"one_hot(in.{identifier(name)}, sizes, i)"
        elif step["op"] == "reset":
            keep = f"static_cast<{held}>(in.{identifier(step['by'])}[0])"
            lines += f"    x *= {keep};  // forget the state where an episode starts\n"
        else:
            raise errors.NotRun(f"not supported: there is no C++ for the step {step['op']}")
    kind, _ = MEMBERS[entry["dtype"]]
    return (
        f"inline void prepare_{name}(const Inputs& in, {kind}* out) {{\n{tables}"
        f"  for (int i = 0; i < {count(entry)}; ++i) {{\n    {held} x = {start};\n{lines}"
        f"    out[i] = {_to_level('static_cast<float>(x)' if held == 'double' else 'x', entry, contract)};\n  }}\n}}\n"
    )


def _to_level(value: str, entry: Mapping[str, Any], contract: Mapping[str, Any]) -> str:
    told = contract["quantization"].get(entry["name"])
    kind, _ = MEMBERS[entry["dtype"]]
    return f"quantize<{kind}>({value}, {_number(told['scale'], True)}, {told['zero_point']})" if told else value


def _from_level(value: str, entry: Mapping[str, Any], contract: Mapping[str, Any]) -> str:
    told = contract["quantization"].get(entry["name"])
    return f"dequantize({value}, {_number(told['scale'], True)}, {told['zero_point']})" if told else value


def _output(name: str, contract: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in contract["outputs"] if entry["name"] == name)
    return found


def _decide(contract: Mapping[str, Any], action: Mapping[str, Any]) -> str:
    """The function that makes the action of the network's decision."""
    entry, steps = _output(contract["decision"], contract), contract["epilogue"]
    kind, _ = MEMBERS[entry["dtype"]]
    each = f"  for (int i = 0; i < {count(entry)}; ++i) "
    body = f"  float x[{count(entry)}];\n{each}x[i] = {_from_level('network[i]', entry, contract)};\n"
    body += "".join(_behind(step, f"{place}", each, count(entry)) for place, step in enumerate(steps))
    if action["type"] == "float":
        body += f"{each}action.values[i] = x[i];\n"
    unused = "" if any(step["op"] == "mask" for step in steps) else "  (void)in;\n"
    declared = f"inline Action decide(const {kind}* network, const Inputs& in) {{\n  Action action;\n"
    return f"// {', '.join(step['op'] for step in steps)}\n{declared}{unused}{body}  return action;\n}}\n"


def _behind(step: Mapping[str, Any], place: str, each: str, numbers: int) -> str:
    """A step of the epilogue, on ``x``, or from ``x`` to ``action``."""
    bounds = ""
    for key in ("low", "high") if step["op"] in ("clip", "unscale") else ():
        values = step[key] if isinstance(step[key], list) else [step[key]] * numbers
        bounds += _table(f"{key}{place}", values, single=True)
    if step["op"] == "argmax":
        sizes = step.get("sizes", [numbers])
        starts = [sum(sizes[:group]) for group in range(len(sizes))]
        groups = enumerate(zip(starts, sizes, strict=True))
        return "".join(f"  action.values[{i}] = argmax(x + {start}, {size});\n" for i, (start, size) in groups)
    low, high = f"low{place}[i]", f"high{place}[i]"
    written = {
        "mask": f"if (!in.{identifier(step.get('input', ''))}[i]) x[i] = {_number(step.get('value', 0), True)};",
        "positive": "action.values[i] = x[i] > 0 ? 1 : 0;",
        "tanh": "x[i] = std::tanh(x[i]);",
        "clip": f"x[i] = clip(x[i], {low}, {high});",
        "unscale": f"x[i] = {low} + 0.5f * (x[i] + 1.0f) * ({high} - {low});",
    }
    if step["op"] == "reshape":  # which changes nothing in memory
        return ""
    if step["op"] not in written:
        raise errors.NotRun(f"not supported: there is no C++ for the step {step['op']}")
    return f"{bounds}{each}{written[step['op']]}\n"


def _feed(state: Mapping[str, Any], contract: Mapping[str, Any]) -> str:
    """The function that keeps a new state for the next step."""
    entry = _output(state["output"], contract)
    kind, _ = MEMBERS[entry["dtype"]]
    return (
        f"inline void feed_{state['input']}(const {kind}* network, Inputs& in) {{\n"
        f"  for (int i = 0; i < {state['units']}; ++i) "
        f"in.{identifier(state['input'])}[i] = {_from_level('network[i]', entry, contract)};\n}}\n"
    )


def _act(contract: Mapping[str, Any]) -> str:
    def tensor(side: str, entry: Mapping[str, Any]) -> str:
        return f"interpreter.{side}({entry['place']})->data.{MEMBERS[entry['dtype']][1]}"

    body = "".join(f"  prepare_{e['name']}(inputs, {tensor('input', e)});\n" for e in contract["inputs"])
    body += "  if (interpreter.Invoke() != 0) return false;\n"
    body += f"  action = decide({tensor('output', _output(contract['decision'], contract))}, inputs);\n"
    for state in contract["states"]:
        body += f"  feed_{state['input']}({tensor('output', _output(state['output'], contract))}, inputs);\n"
    keep = [entry["name"] for entry in contract["takes"] if entry["role"] == "keep"]
    body += "".join(f"  inputs.{identifier(name)}[0] = 1;\n" for name in keep)
    return (
        "// One decision. Interpreter is tflite::MicroInterpreter with its tensors allocated; false where it fails.\n"
        "template <typename Interpreter>\nbool act(Interpreter& interpreter, Inputs& inputs, Action& action) {\n"
        f"{body}  return true;\n}}\n"
    )
