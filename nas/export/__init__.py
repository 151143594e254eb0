"""Trained networks as files for the runtimes that ship them: checked, timed, self-describing."""
