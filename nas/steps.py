"""How long work tells what it is doing and how much of it is done."""

from collections.abc import Callable

OnStep = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and how much there is in all."""
