"""A TorchScript file in torch, one thread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from pipeline.contract import Run


def load(artifact: Path, contract: Mapping[str, Any], needs: Mapping[str, str]) -> Run:
    import torch

    torch.set_num_threads(1)
    module = torch.jit.load(str(artifact / contract["files"][0]), map_location="cpu")  # type: ignore[no-untyped-call]
    names = [output["name"] for output in contract["outputs"]]

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            answers = module(*(torch.from_numpy(inputs[entry["name"]]) for entry in contract["inputs"]))
        return {name: value.numpy() for name, value in zip(names, answers, strict=True)}

    return run
