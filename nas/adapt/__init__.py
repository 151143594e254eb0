"""Layer-wise adaptation: a network's widths are cut, one at a time, until it meets its latency."""
