"""What is left to be timed, in pieces that identical devices take whenever they are free.

Each thing is timed in two pieces, its even rounds in one and its odd rounds in another, and the two
divisions are independent of each other: so every even piece shares names with every odd one. That
ties all devices, and all hours, to one scale (see `nas.latency.readings`), and lets the two halves
of a measurement come from two devices, as often as there are others.
"""

from collections.abc import Collection, Iterable
from hashlib import sha256

Visit = tuple[str, int]
"""The name and the round."""
# Of either half, for each device. Two share the work of unlike devices no better, for a free one
# takes of another's anyway, and that of equal ones worse: each costs seconds to start
# (benchmarks/shared_devices.py).
N_PIECES_EACH = 1


class Pieces:
    """The visits that are left, which of them wait, and which of them a device has taken.

    Devices are known by their numbers in the list. A piece has a home, the device that takes it
    first: so a command that was killed finds there what the device measured meanwhile.
    """

    def __init__(self, visits: Iterable[Visit], n_devices: int) -> None:
        self.left = set(visits)
        self._taken: dict[int, frozenset[Visit]] = {}
        self._n_devices = n_devices
        pieces: dict[tuple[int, int], set[Visit]] = {}
        for visit in self.left:
            pieces.setdefault(_piece(visit, N_PIECES_EACH * n_devices), set()).add(visit)
        self._waiting = [(key[1], frozenset(pieces[key])) for key in sorted(pieces)]

    def take(self, device: int) -> frozenset[Visit]:
        """Return the next piece of a device that is free; nothing where all is made.

        When none waits, it is the later half of the rounds that another device has before it, for
        that one may be slow, or lost: what no third is at, as far as there is such. Who is first at
        a visit makes it.
        """
        self._taken.pop(device, None)
        at_home = [one for one in self._waiting if one[0] % self._n_devices == device]
        for one in at_home or self._waiting:
            self._waiting.remove(one)
            self._taken[device] = one[1]
            return one[1]
        found = max(map(self._own, self._taken), key=len, default=frozenset())
        found = found or max(map(self.unmade, self._taken), key=len, default=frozenset())
        self._taken[device] = _later_half(found)
        return self._taken[device]

    def is_made(self, visit: Visit) -> bool:
        """Strike a visit off, and tell whether it was left: a second one is not wanted."""
        was_left = visit in self.left
        self.left.discard(visit)
        return was_left

    def unmade(self, device: int) -> frozenset[Visit]:
        """Return what a device has taken and nobody made."""
        return self._taken.get(device, frozenset()) & self.left

    def give_back(self, device: int) -> None:
        """Have others make what a device has taken, where none is at it already."""
        piece = self._own(device)
        self._taken.pop(device, None)
        if piece:
            self._waiting.insert(0, (device, piece))

    def _own(self, device: int) -> frozenset[Visit]:
        """Return what a device has before it that no other has."""
        others = (piece for number, piece in self._taken.items() if number != device)
        return self.unmade(device).difference(*others)


def others_of(piece: Collection[Visit], rounds: range) -> set[Visit]:
    """Return the visits to the names of a piece that are not in it."""
    names = {name for name, _ in piece}
    return {(name, number) for name in names for number in rounds} - set(piece)


def _piece(visit: Visit, n_pieces: int) -> tuple[int, int]:
    """Return the half, and the number of the piece in it, the same whatever else is left."""
    name, number = visit
    half = number % 2
    digest = sha256(f"{half} {name}".encode()).digest()
    return half, int.from_bytes(digest[:4], "big") % n_pieces


def _later_half(visits: frozenset[Visit]) -> frozenset[Visit]:
    rounds = sorted({number for _, number in visits})
    later = set(rounds[len(rounds) // 2 :])
    return frozenset(visit for visit in visits if visit[1] in later)
