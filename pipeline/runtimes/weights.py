"""The NumPy policy that lies in a weights artifact, run as a user would: imported from the folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.contract import Run


def load(artifact: Path, contract: Mapping[str, Any], needs: Mapping[str, str]) -> Run:
    spec = importlib.util.spec_from_file_location("numpy_policy", artifact / "numpy_policy.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run: Run = module.NumpyPolicy(artifact)
    return run
