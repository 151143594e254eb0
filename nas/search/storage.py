"""Where the finished trials of a search are kept: one contract for a file and for a database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from nas.objective import Direction

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Storage(Protocol):
    """Keeps finished trials whole; one that is added is neither lost nor counted twice."""

    def trials(self, study: str, directions: Sequence[Direction]) -> list[FrozenTrial]:
        """Return the finished trials of a study, which is made when it does not exist yet.

        Raises:
            NasError: the study exists with other directions, or cannot be read.
        """

    def add(
        self, study: str, trial: FrozenTrial, user_attrs: Mapping[str, Any], started: datetime
    ) -> int:
        """Keep a trial that has ended, and return its number in the study.

        Raises:
            NasError: it cannot be written.
        """

    def news(self, study: str) -> list[FrozenTrial]:
        """Return the trials that others have finished since the last call, by number."""

    def close(self) -> None:
        """Let go of what is open."""
