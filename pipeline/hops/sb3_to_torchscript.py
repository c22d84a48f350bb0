"""sb3 -> TorchScript for C++, by torch.jit: traced, frozen."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

FILE = "policy.pt"


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``policy.pt``: the contract's inputs [batch, ...], in order -> a tuple of its outputs, in order."""
    import torch

    from pipeline.agents import exported, jobs

    outputs = [output["name"] for output in contract["outputs"]]
    parts = jobs.open_agent(source).parts
    module = exported.Exported(parts, contract["observation_space"], contract["part"], outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.freeze(torch.jit.trace(module, module.samples()))  # type: ignore[no-untyped-call]
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    (target / FILE).write_bytes(_without_paths(buffer.getvalue()))
    contract["files"] = [FILE]


def _without_paths(content: bytes) -> bytes:
    """The same archive without its debug records, which hold this machine's source paths."""
    import torch

    reader = torch._C.PyTorchFileReader(io.BytesIO(content))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name in sorted(reader.get_all_records()):
        if not name.endswith(".debug_pkl") and not name.startswith(".data/") and name not in ("version", "byteorder"):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return buffer.getvalue()
