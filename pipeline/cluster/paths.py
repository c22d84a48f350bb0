"""A job's paths, numbered while it travels, so that each machine puts its own in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARK = "path number"


def numbered(value: Any) -> tuple[Any, list[Path]]:
    """A value in which each :class:`Path` is ``{MARK: number}``, and the paths by number."""
    paths: list[Path] = []

    def number(path: object) -> dict[str, int]:
        assert isinstance(path, Path)
        if path not in paths:
            paths.append(path)
        return {MARK: paths.index(path)}

    return json.loads(json.dumps(value, default=number)), paths


def placed(value: Any, places: Sequence[Path]) -> Any:
    """The value with this machine's paths, as text."""
    if isinstance(value, dict):
        if set(value) == {MARK}:
            return str(places[value[MARK]])
        return {key: placed(inner, places) for key, inner in value.items()}
    return [placed(inner, places) for inner in value] if isinstance(value, list) else value


def renamed(text: str, places: Sequence[str], paths: Sequence[str]) -> str:
    """A text that names another machine's places, with this machine's paths instead."""
    for place, path in sorted(zip(places, paths, strict=True), key=lambda pair: -len(pair[0])):
        text = text.replace(place, path)
    return text


def replace(made: Path, target: Path) -> None:
    """Let a folder take the place of another."""
    shutil.rmtree(target)
    made.rename(target)
