"""The NumPy policy that lies in a weights artifact, run as a user would, from the folder."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.contract import Run


def load(artifact: Path, contract: Mapping[str, Any], needs: Mapping[str, str]) -> Run:
    defined = runpy.run_path(str(artifact / "numpy_policy.py"))
    run: Run = defined["NumpyPolicy"](artifact)
    return run
