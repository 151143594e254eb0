"""The latency of a layer on a phone, modelled from public timings of blocks.

A layer is split into its primitives, each is priced by monotone terms with non-negative
coefficients (`nas.latency.terms`), and the sum is held between the times of smaller and larger
timed blocks (`nas.latency.bounds`). A larger kernel, expansion, width, resolution or squeeze is
therefore never cheaper, for any layer, whatever the coefficients are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from nas.arch import Layer
from nas.errors import NasError
from nas.latency import cost_model_file
from nas.latency.bounds import Bounds, sizes_of
from nas.latency.features import hswish_elements, matrix, priced_ops
from nas.latency.terms import TERMS, Array
from nas.paths import find
