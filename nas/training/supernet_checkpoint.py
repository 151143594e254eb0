"""The state of a supernet's training on disk: safetensors, whole or not at all."""

from dataclasses import dataclass
from pathlib import Path

from torch.optim import Optimizer

from nas.errors import NasError, shown
from nas.network.checkpoint import prefixed, under, write_tensors
from nas.network.supernet.supernet import Supernet
from nas.network.tensor_file import read_tensors
from nas.text import integer
from nas.training.optimizer_state import optimizer_tensors, restore_optimizer

VERSION = "1"
_WEIGHTS = "weights."
_OPTIMIZER = "optimizer."


class AnotherError(NasError):
    """Report a file that is whole, but of another training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetCheckpoint:
    """A file with weights, optimizer state and the number of steps done.

    `identity` names what the training follows from; a file of another one is refused.
    """

    path: Path
    identity: str

    def save(self, supernet: Supernet, optimizer: Optimizer, n_done: int) -> None:
        """Replace the file; an interrupted write leaves the old one.

        Raises:
            NasError: the folder is not writable, or the disk is full.
        """
        tensors = prefixed(_WEIGHTS, supernet.state_dict())
        tensors |= prefixed(_OPTIMIZER, optimizer_tensors(optimizer))
        content = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
        facts = {"version": VERSION, "identity": self.identity, "n_done": str(n_done)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NasError(
                f"{self.path.parent} cannot be written: {error.strerror}. Choose another folder."
            ) from error
        write_tensors(self.path, content, facts)

    def load(self, supernet: Supernet, optimizer: Optimizer | None = None) -> int:
        """Fill in what the file holds and return the steps done: 0 where there is no file.

        Raises:
            NasError: the file is damaged, or of another training.
        """
        if not self.path.exists():
            return 0
        try:
            tensors, facts = read_tensors(self.path)
            self._check(facts)
            n_done = integer(int(facts["n_done"][:20]), "n_done", 0, 2**31)
            supernet.load_state_dict(under(_WEIGHTS, tensors))
            if optimizer is not None:
                restore_optimizer(optimizer, under(_OPTIMIZER, tensors))
            return n_done
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, AnotherError):
                raise
            reason = " ".join(str(error).split())[:200]
            raise NasError(
                f"{self.path} must be the checkpoint of a supernet, but is not: {reason} Delete it "
                "to train the supernet anew."
            ) from error

    def _check(self, facts: dict[str, str]) -> None:
        expected = {"version": VERSION, "identity": self.identity}
        for name, value in expected.items():
            if facts.get(name) != value:
                raise AnotherError(
                    f"{self.path} must have {name} {value}, but has {shown(facts.get(name))}. "
                    "Move it away to train the supernet anew."
                )
