"""The options of `nas.fidelity`, typed and checked."""

from dataclasses import dataclass, field
from typing import Any

from nas.errors import NasError
from nas.text import integer

MIN_NETWORKS = 10
"""Below, the order of networks says nothing."""
MAX_NETWORKS = 5000
"""Above, the pairs of a thousand resamples take minutes."""
N_TRAINED, SPACE = 60, "tiny"
"""What is trained where nothing else is chosen."""


@dataclass(kw_only=True)
class FidelitySettings:
    """The options of conf/fidelity.yaml, typed."""

    proxy: dict[str, Any]
    truth: dict[str, Any]
    workers: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] | None = None
    hardware: dict[str, Any] | None = None
    accuracies: str | None = None
    space: str | None = None
    table: str | None = None
    n: int | None = None
    n_band: int = 0
    band: float = 0.1
    repeats: int = 1
    n_splits: int = 5
    n_bootstrap: int = 1000
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            NasError: an option out of its bounds, or two that exclude each other.
        """
        if self.accuracies is None and self.data is None:
            raise NasError(
                "the networks' accuracies must come from a table or from training. Add "
                "accuracies=<csv>, or data=digits (or another of conf/data)."
            )
        if self.n is not None:
            integer(self.n, "n", MIN_NETWORKS, MAX_NETWORKS)
        integer(self.n_band, "n_band", 0, MAX_NETWORKS)
        integer(self.repeats, "repeats", 1, 100)
        integer(self.n_splits, "n_splits", 1, 1000)
        integer(self.n_bootstrap, "n_bootstrap", 0, 100_000)
        integer(self.seed, "seed", 0, 2**31 - 1)
        if not 0 < self.band < 1:
            raise NasError(f"band must be a share between 0 and 1, but is {self.band:g}.")
        if self.accuracies is not None and self.repeats > 1:
            raise NasError(
                "repeats trains networks, but accuracies= gives what they reached. Leave out one."
            )
