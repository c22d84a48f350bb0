"""An artifact in one process decides for an environment in another: arrays by name over a Unix socket."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from io import BufferedRWPair
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import errors

if TYPE_CHECKING:
    import numpy as np

    Arrays = dict[str, np.ndarray]

PATIENCE = 120.0  # seconds until the other side is there: it may have to import its libraries first


@contextlib.contextmanager
def asking(path: str, dtypes: dict[str, str]) -> Iterator[Callable[[Arrays], Arrays]]:
    """Wait for :func:`serve` at a socket; what it gives takes inputs [batch, ...] by name and answers outputs by name.

    :param dtypes: in which the artifact takes its inputs
    :raises errors.ConverterFailed: nobody is there, or it ended in the middle of an episode
    """
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1)
        listening.settimeout(PATIENCE)
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            raise errors.ConverterFailed("the artifact's process did not begin") from None
    with connection, connection.makefile("rwb") as pipe:

        def answer(inputs: Arrays) -> Arrays:
            try:
                _send(pipe, {name: values.astype(dtypes[name]) for name, values in inputs.items()})
                return _receive(pipe)
            except (OSError, EOFError):
                raise errors.ConverterFailed("the artifact's process ended in the middle of an episode") from None

        yield answer


def serve(path: str, answer: Callable[[Arrays], Arrays]) -> None:
    """Answer :func:`asking` until it closes."""
    with contextlib.suppress(EOFError), _connected(path) as connection, connection.makefile("rwb") as pipe:
        while True:
            _send(pipe, answer(_receive(pipe)))


def hang_up(path: str) -> None:
    """Let :func:`asking` know that nobody will serve it."""
    with contextlib.suppress(OSError, EOFError):
        _connected(path).close()


def over(path: str) -> None:
    """Let :func:`serve` know that nobody asks any more, if anybody ever did."""
    Path(f"{path}.over").touch()


def _connected(path: str) -> socket.socket:
    """Connected to who asks, who may not listen yet."""
    until = time.monotonic() + PATIENCE
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            return connection
        except OSError:
            connection.close()
            if Path(f"{path}.over").exists():
                raise EOFError from None
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _send(pipe: BufferedRWPair, arrays: Arrays) -> None:
    """A line of JSON, the name, dtype and shape of each array, then their bytes."""
    import numpy as np

    told = [[name, values.dtype.str, values.shape] for name, values in arrays.items()]
    pipe.write(json.dumps(told).encode() + b"\n")
    for values in arrays.values():
        pipe.write(np.ascontiguousarray(values).tobytes())
    pipe.flush()


def _receive(pipe: BufferedRWPair) -> Arrays:
    import numpy as np

    line = pipe.readline()
    if not line:
        raise EOFError
    found = {}
    for name, dtype, shape in json.loads(line):
        content = pipe.read(np.dtype(dtype).itemsize * math.prod(shape))
        found[name] = np.frombuffer(content, dtype).reshape(shape)
    return found
