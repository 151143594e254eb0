"""The division of work among devices: everything once, the slow and the lost at their own cost."""

from collections import Counter
from heapq import heapify, heappop, heappush
from itertools import product

import pytest

from nas.latency.devices.pieces import Pieces, Visit, others_of

NAMES = [f"layer {number}" for number in range(60)]
VISITS = set(product(NAMES, range(14)))


def _simulated(pieces: Pieces, speeds: list[float]) -> tuple[Counter[int], float]:
    """Return how many visits each device made, and when all were made: a visit takes `speed`.

    A clock that counts, in place of threads and real time.
    """
    made: Counter[int] = Counter()
    left = {number: list[Visit]() for number in range(len(speeds))}
    events = [(0.0, number) for number in left]
    heapify(events)
    now = 0.0
    while pieces.left:
        now, number = heappop(events)
        if not left[number]:
            # Round by round, as devices visit.
            left[number] = sorted(pieces.take(number), key=lambda visit: visit[1])
        elif pieces.is_made(left[number].pop(0)):
            made[number] += 1
        idle = 0.0 if left[number] else 0.1
        heappush(events, (now + max(idle, speeds[number] if left[number] else 0.0), number))
    return made, now


@pytest.mark.parametrize("n_devices", [1, 2, 3, 7])
def test_every_visit_is_in_one_piece(n_devices: int) -> None:
    pieces, taken = Pieces(VISITS, n_devices), list[frozenset[Visit]]()
    for turn in range(4 * n_devices):
        piece = pieces.take(turn % n_devices)
        for visit in piece:
            assert pieces.is_made(visit)
        taken.append(piece)
    assert set().union(*taken) == VISITS
    assert sum(map(len, taken)) == len(VISITS)
    assert not pieces.left and not pieces.take(0)
    assert not any(map(pieces.is_made, VISITS))


def test_halves_are_even_and_odd_rounds_divided_each_in_its_own_way() -> None:
    names = [f"layer {number}" for number in range(300)]
    pieces = Pieces(product(names, range(14)), 2)
    taken = [pieces.take(turn % 2) for turn in range(4)]
    assert all(len({number % 2 for _, number in piece}) == 1 for piece in taken)
    even = [piece for piece in taken if next(iter(piece))[1] % 2 == 0]
    odd = [piece for piece in taken if piece not in even]
    for one, other in product(even, odd):
        assert {name for name, _ in one} & {name for name, _ in other}
    for one, other in product(even, even):
        assert one is other or not {name for name, _ in one} & {name for name, _ in other}


def test_a_piece_finds_its_home_again_whatever_else_is_left() -> None:
    first = Pieces(VISITS, 3)
    piece = first.take(1)
    half = set(sorted(piece)[::2])
    again = Pieces(VISITS - piece | half, 3)
    assert again.take(1) == half


@pytest.mark.parametrize(
    ("speeds", "most"),
    [([1.0], 1.0), ([1.0] * 2, 1.1), ([1.0] * 4, 1.15), ([1.0, 1.0, 1.3], 1.15), ([1.0, 20], 1.1)],
)
def test_devices_share_the_work_by_their_speed(speeds: list[float], most: float) -> None:
    made, now = _simulated(Pieces(VISITS, len(speeds)), speeds)
    assert made.total() == len(VISITS)
    rate = sum(1 / speed for speed in speeds)
    # What one device alone would take, divided by what all together can do.
    assert now <= most * len(VISITS) / rate + 20
    for number, speed in enumerate(speeds):
        assert made[number] == pytest.approx(len(VISITS) / speed / rate, rel=0.25, abs=15)


def test_a_free_device_takes_the_later_rounds_of_the_one_that_is_behind() -> None:
    pieces = Pieces({("a", number) for number in range(0, 16, 2)}, 2)
    behind = pieces.take(0)
    assert len(behind) == 8, "a name's even rounds are one piece"
    pieces.is_made(("a", 0))
    assert pieces.take(1) == {("a", number) for number in (8, 10, 12, 14)}
    for number in (8, 10, 12, 14):
        assert pieces.is_made(("a", number))
    assert pieces.take(1) == {("a", 4), ("a", 6)}
    assert pieces.unmade(0) == {("a", 2), ("a", 4), ("a", 6)}, "it may still be the first"


def test_what_a_lost_device_had_goes_to_others() -> None:
    pieces = Pieces(VISITS, 2)
    lost, other = pieces.take(0), pieces.take(1)
    some = set(sorted(lost)[:10])
    for visit in some:
        pieces.is_made(visit)
    pieces.give_back(0)
    for visit in other:
        pieces.is_made(visit)
    found = set[Visit]()
    while piece := pieces.take(1):
        assert not piece & found
        found |= piece
        for visit in piece:
            pieces.is_made(visit)
    assert not pieces.left
    assert found == VISITS - other - some


def test_what_another_is_at_already_is_not_given_back() -> None:
    pieces = Pieces({("a", number) for number in (0, 2, 4, 6)}, 2)
    first = pieces.take(0)
    assert pieces.take(1) == {("a", 4), ("a", 6)}
    pieces.give_back(0)
    assert pieces.unmade(0) == frozenset()
    for visit in pieces.unmade(1):
        pieces.is_made(visit)
    assert pieces.take(1) == first - {("a", 4), ("a", 6)}


def test_what_two_have_and_neither_makes_is_made_by_a_third() -> None:
    pieces = Pieces({("a", number) for number in range(0, 16, 2)}, 3)
    assert len(pieces.take(0)) == 8
    assert len(pieces.take(1)) == 4
    # The third is at what the second left to the first, and then at what both have.
    for _ in range(8):
        for visit in pieces.take(2):
            assert pieces.is_made(visit)
    assert not pieces.left and not pieces.take(2)


def test_the_others_of_a_piece_are_the_other_rounds_of_its_names() -> None:
    assert others_of({("a", 0), ("b", 1)}, range(2)) == {("a", 1), ("b", 0)}
