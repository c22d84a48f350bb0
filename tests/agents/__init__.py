"""Tests of pipeline/agents."""
