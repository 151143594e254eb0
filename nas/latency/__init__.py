"""Latency of layers: tables, the cost model behind modelled ones, and measuring."""
