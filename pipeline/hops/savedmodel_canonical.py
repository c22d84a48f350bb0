"""A SavedModel's bytes, but for what the process did before it was written.

TensorFlow numbers functions (``__inference___call___76``) and calls (``PartitionedCall-3``) by counters of the whole
process, and orders functions by name. Here both are numbered from 0 in the order of their creation, and the fingerprint
is computed anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_COUNTED = re.compile(r"(__inference_.*_|[A-Za-z]+PartitionedCall-|PartitionedCall-)(\d+)")


def rewrite(folder: Path) -> None:
    """Write ``saved_model.pb`` and ``fingerprint.pb`` of a SavedModel anew."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    found = {match for text in _texts(model) if (match := _COUNTED.fullmatch(text))}
    counted = sorted({match.group(): match for match in found}.values(), key=lambda match: (int(match[2]), match[1]))
    names = {match.group(): f"{match[1]}{number}" for number, match in enumerate(counted)}
    _rename(model, names)
    for graph in model.meta_graphs:
        for function in graph.graph_def.library.function:
            _unname(function)
        functions = sorted(graph.graph_def.library.function, key=lambda function: function.signature.name)
        del graph.graph_def.library.function[:]
        graph.graph_def.library.function.extend(functions)
    path.write_bytes(model.SerializeToString(deterministic=True))
    (folder / "fingerprint.pb").write_bytes(fingerprinting.CreateFingerprintDef(str(folder)))


def _unname(function: Any) -> None:
    """Captured constants are named by a counter of tensors; nobody specified these names."""
    for held in function.arg_attr.values():
        if "_user_specified_name" in held.attr and held.attr["_user_specified_name"].s.isdigit():
            del held.attr["_user_specified_name"]


def _texts(message: Any) -> Iterator[str]:
    """Every text in a message, those of its maps' keys and of attributes in bytes among them."""
    for field, value in message.ListFields():
        for one in _values(field, value):
            if isinstance(one, str):
                yield one
            elif isinstance(one, bytes):
                yield one.decode("latin-1")
            elif hasattr(one, "ListFields"):
                yield from _texts(one)


def _values(field: Any, value: Any) -> list[Any]:
    if _is_map(field):
        return [*value.keys(), *value.values()]
    return list(value) if field.label == field.LABEL_REPEATED else [value]


def _is_map(field: Any) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _rename(message: Any, names: dict[str, str]) -> None:
    """Put other texts in the place of some, everywhere in a message."""

    def other(one: Any) -> Any:
        if isinstance(one, str):
            return names.get(one, one)
        return (
            names.get(one.decode("latin-1"), one.decode("latin-1")).encode("latin-1") if isinstance(one, bytes) else one
        )

    for field, value in message.ListFields():
        if _is_map(field):
            _rename_keys(value, names)
            for one in value.values():
                if hasattr(one, "ListFields"):
                    _rename(one, names)
        elif field.message_type:
            for one in _values(field, value):
                _rename(one, names)
        elif field.label == field.LABEL_REPEATED:
            value[:] = [other(one) for one in value]
        else:
            setattr(message, field.name, other(value))


def _rename_keys(held: Any, names: dict[str, str]) -> None:
    for key in [key for key in held if key in names]:
        if hasattr(held[key], "CopyFrom"):
            held[names[key]].CopyFrom(held[key])
        else:
            held[names[key]] = held[key]
        del held[key]
