"""The command that trains a network in full."""
