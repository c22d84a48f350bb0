"""Places that users give or look for: a path, which any text may be, and the line of a config's key."""

from __future__ import annotations

import re
from pathlib import Path


def is_file(path: Path) -> bool:
    """As the system says; no system takes every path (too long, a loop of links)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def of_user(path: str) -> Path:
    """With ~ as the user's home; one that nobody has stands for itself."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def missing(path: Path) -> str:
    """What is to be said of a file that is not there."""
    if is_folder(path):
        return f"{path} is a folder"
    try:
        around = path.resolve().parent
    except (OSError, RuntimeError, ValueError):
        around = path.parent
    return f"{path} does not exist (looked in {around})"


def of_key(config: Path, key: str) -> str:
    """``path:line`` of a dotted key of a config, or of its table, as far as a look at the text tells."""
    table, _, leaf = key.partition("[")[0].rpartition(".")
    try:
        lines = config.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return str(config)
    first = _line(lines, table, 0) if table else 0
    found = _line(lines, leaf, first or 0) or first
    return f"{config}:{found}" if found else str(config)


def _line(lines: list[str], name: str, first: int) -> int:
    """Number of the line that sets a key or opens a table; 0 where none does."""
    opened = re.compile(rf"\s*\[?{re.escape(name)}\b")
    return next((number for number, line in enumerate(lines, 1) if number > first and opened.match(line)), 0)


def of_sentence(config: Path, what: str) -> str:
    """The same of the key that a sentence opens with."""
    found = re.match(r"\[?([a-z]\w*(?:\.\w+)*)", what)
    return of_key(config, found[1]) if found and config.suffix == ".toml" else str(config)
