"""Torch modules of the networks."""
