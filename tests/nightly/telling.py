"""Records that tests of nights are told, with as much in them as matters."""

from __future__ import annotations

import copy
from typing import Any

Record = dict[str, Any]


def folder(name: str, toolchain: str, **inputs: Any) -> dict[str, Any]:
    """What a record says of a folder: files named like it, from an old lock and old code."""
    return {
        "files": {"policy": f"{name} 1"},
        "bytes": 1000,
        "status": "built",
        "reason": "",
        "inputs": inputs,
        "settings": {},
        "toolchain": toolchain,
        "lock": f"{toolchain} lock 1",
        "code": "code 1",
        "further": {},
        "versions": {},
    }


def verdict(**told: Any) -> dict[str, Any]:
    found = {"status": "passed", "reason": "", "figure": "64/64", "used": 0.01, "limits": {"absolute": 5e-5}}
    return {**found, **told}


def a_record() -> Record:
    """One agent through sb3 → onnx → savedmodel → tflite, each run, with a record's every field."""
    folders = {
        "sb3": folder("sb3", "torch", zip="zip 1", vecnormalize="none"),
        "observations": folder("observations", "torch", source="sb3 1"),
        "onnx": folder("onnx", "torch", source="sb3 1", golden="g 1"),
        "onnx/onnxruntime": folder("ran", "device", source="onnx 1", observations="o 1", needs={}),
        "savedmodel": folder("savedmodel", "tensorflow", source="onnx 1"),
        "tflite": folder("tflite", "tensorflow", source="savedmodel 1"),
        "tflite/litert": folder("ran", "device", source="tflite 1", observations="o 1", needs={}),
    }
    agent = {
        "archive": "zip 1",
        "settings": {"int8.return_kept": 0.98},
        "folders": folders,
        "verdicts": {"onnx/onnxruntime": verdict(), "tflite/litert": verdict()},
        "seconds": {},
        "cpu": 1.0,
        "latencies": {"tflite/litert": 10.0},
        "untimed": {},
    }
    locks = {
        name: {"digest": f"{name} lock 1", "pins": {"numpy": "2.0", name: "1.0"}}
        for name in ("torch", "tensorflow", "device", "node")
    }
    night = {"night": "2026-01-02", "began": 0.0, "seconds": 60.0, "attempts": 1, "finished": True, "of": {}}
    return {"agents": {"cartpole": agent}, "failed": {}, "locks": locks, "code": "code 1", "commit": "aaa",
            "machine": "one", **night}  # fmt: skip


def after(record: Record, **folders: dict[str, Any]) -> Record:
    """The record of a later night in which folders differ; ``_`` in a folder's name is written ``__``."""
    found = copy.deepcopy(record)
    for name, told in folders.items():
        found["agents"]["cartpole"]["folders"][name.replace("__", "/")].update(told)
    return found


def other(name: str, **told: Any) -> dict[str, Any]:
    """A folder whose bytes differ."""
    return {"files": {"policy": f"{name} 2"}, **told}
