"""Tiny agents, read into artifacts that hops start from."""

from agents.conftest import _one_thread, made, read  # noqa: F401
