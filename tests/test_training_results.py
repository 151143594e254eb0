"""The store of trainings: whole lines only, whatever is killed, however many write."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from training_data import SMALL, patterns

from nas import locks
from nas.errors import NasError
from nas.training.recipe import Recipe
from nas.training.results import FILE, TrainingName, TrainingResult, TrainingResults
from nas.training.spread import N_USUAL, USUAL_STD, seed_std

NAME = TrainingName(key=SMALL.key(), recipe="r" * 16, data="d" * 16, seed=0)


def result(
    seed: int = 0, *, state: str = "whole", top1: float = 50.0, n: int = 2
) -> TrainingResult:
    return TrainingResult.now(
        replace(NAME, seed=seed),
        SMALL,
        state=state,
        top1=top1,
        history=(1.5,) * (n - 1) + (top1,),
        seconds=0.25,
    )


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    store, stored = TrainingResults(tmp_path / "new" / "folder"), result()
    assert store.get(NAME) is None
    store.add(stored)
    for reader in (store, TrainingResults(store.folder)):
        assert reader.get(NAME) == stored
    assert stored.network() == SMALL
    assert store.get(replace(NAME, seed=1)) is None
    content = json.loads(store.path.read_text(encoding="utf-8"))
    assert content["name"]["key"] == SMALL.key() and content["history"] == [1.5, 50.0]


def test_the_result_that_says_most_counts(tmp_path: Path) -> None:
    store = TrainingResults(tmp_path)
    longer = result(state="stopped", n=3)
    for one, wanted in (
        (result(state="stopped", n=2), "stopped"),
        (longer, "stopped"),
        (result(state="stopped", n=1), "stopped"),
        (result(state="failed"), "failed"),
        (result(state="stopped", n=9), "failed"),
        (result(top1=77.0), "whole"),
        (result(state="failed"), "whole"),
    ):
        store.add(one)
        found = store.get(NAME)
        assert found is not None and found.state == wanted
        if wanted == "stopped":
            assert len(found.history) == (2 if one.history == (1.5, 50.0) else 3)
    assert [one.top1 for one in store.every()] == [77.0]


def test_wherever_a_line_is_torn_no_other_is_lost(tmp_path: Path) -> None:
    store = TrainingResults(tmp_path)
    for seed in range(3):
        store.add(result(seed))
    content = store.path.read_bytes()
    ends = [number for number, byte in enumerate(content, 1) if byte == ord("\n")]
    for cut in {*range(0, len(content), 97), *ends, *(end - 1 for end in ends)}:
        store.path.write_bytes(content[:cut])
        n_whole = sum(end <= cut for end in ends)
        torn = TrainingResults(tmp_path)
        assert [one.name.seed for one in torn.every()] == list(range(n_whole))
        torn.add(result(9))
        wanted = [*range(n_whole), 9]
        # A line that lacks its end alone becomes whole by the next.
        wanted.insert(n_whole, n_whole) if cut + 1 in ends else None
        for reader in (torn, TrainingResults(tmp_path)):
            assert [one.name.seed for one in reader.every()] == wanted


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[1]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        result().line().replace(b'"version": 1', b'"version": 2'),
        result().line().replace(b"50.0", b"NaN"),
        result().line().replace(b'"whole"', b'"half"'),
        result().line().replace(b'"seed"', b'"sead"'),
        result().line().replace(b'"reason"', b'"raisin"'),
    ],
)
def test_a_line_that_is_none_is_skipped(tmp_path: Path, line: bytes) -> None:
    (tmp_path / FILE).write_bytes(result(1).line() + line.strip() + b"\n" + result(2).line())
    assert [one.name.seed for one in TrainingResults(tmp_path).every()] == [1, 2]


def test_reading_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = list[bytes]()
    parse = TrainingResult.parse

    def counting(line: bytes) -> TrainingResult:
        parsed.append(line)
        return parse(line)

    monkeypatch.setattr(TrainingResult, "parse", counting)
    reader, writer = TrainingResults(tmp_path), TrainingResults(tmp_path)
    for seed in range(5):
        writer.add(result(seed))
        found = reader.get(replace(NAME, seed=seed))
        assert found is not None and found.name.seed == seed
    assert len(parsed) == 5
    reader.path.write_bytes(result(7).line())  # somebody began anew
    assert [one.name.seed for one in reader.every()] == [7]


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NasError, match=r"file/results cannot hold results: .* Choose another"):
        TrainingResults(tmp_path / "file" / "results")
    store = TrainingResults(tmp_path / "store")
    store.path.unlink()
    store.path.mkdir()
    with pytest.raises(NasError, match=r"results.jsonl cannot be written"):
        store.add(result())
    with pytest.raises(NasError, match=r"results.jsonl cannot be read"):
        store.get(NAME)


LIMITED = """
import resource, signal, sys
from nas.training.results import TrainingResult, TrainingResults
store = TrainingResults(sys.argv[1])
size = store.path.stat().st_size
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10))
store.add(TrainingResult.parse(sys.stdin.buffer.read()))
"""


def test_a_full_disk_is_named_and_costs_one_line(tmp_path: Path) -> None:
    store = TrainingResults(tmp_path)
    store.add(result(0))
    words = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(words, input=result(1).line(), capture_output=True)
    assert b"results.jsonl cannot be written: File too large. The results in it" in done.stderr
    store.add(result(2))
    assert [one.name.seed for one in store.every()] == [0, 2]


WRITER = """
import sys
from dataclasses import replace
from nas.training.results import TrainingResult, TrainingResults
store = TrainingResults(sys.argv[1])
model = TrainingResult.parse(sys.stdin.buffer.read())
for seed in range(int(sys.argv[2]), int(sys.argv[2]) + 50):
    store.add(replace(model, name=replace(model.name, seed=seed)))
"""


def test_several_processes_lose_no_line(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(first)], stdin=subprocess.PIPE
        )
        for first in (0, 100, 200)
    ]
    for writer in writers:
        assert writer.stdin is not None
        with writer.stdin as stdin:
            stdin.write(result().line())
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = {one.name.seed for one in TrainingResults(tmp_path).every()}
    assert found == {first + number for first in (0, 100, 200) for number in range(50)}
    assert len((tmp_path / FILE).read_bytes().splitlines()) == 150


HOLDER = """
import sys, time
from nas.training.results import TrainingName, TrainingResults
key, recipe, data, seed = sys.argv[2:]
name = TrainingName(key=key, recipe=recipe, data=data, seed=int(seed))
with TrainingResults(sys.argv[1]).training(name):
    print("inside", flush=True)
    time.sleep(60)
"""


def test_a_training_is_kept_from_others_until_its_process_ends(tmp_path: Path) -> None:
    store, inside = TrainingResults(tmp_path), threading.Event()
    words = [str(tmp_path), NAME.key, NAME.recipe, NAME.data, str(NAME.seed)]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *words], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder.stdout as stdout:
        assert stdout.readline() == "inside\n"

        def enter() -> None:
            with store.training(NAME):
                inside.set()

        waiting = threading.Thread(target=enter)
        waiting.start()
        with store.training(replace(NAME, seed=1)):  # another is free
            assert not inside.wait(0.2)
        os.kill(holder.pid, signal.SIGKILL)
        assert inside.wait(20)
        waiting.join()
    holder.wait()
    assert not list((tmp_path / "running").iterdir())


def test_the_lock_of_a_removed_file_is_none(tmp_path: Path) -> None:
    """Two threads take turns, although each removes the file that the other waits for."""
    store, n_inside, most = TrainingResults(tmp_path), 0, 0
    guard = threading.Lock()

    def enter() -> None:
        nonlocal n_inside, most
        for _ in range(50):
            with store.training(NAME):
                with guard:
                    n_inside += 1
                    most = max(most, n_inside)
                with guard:
                    n_inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_an_error_inside_gives_the_training_free(tmp_path: Path) -> None:
    store = TrainingResults(tmp_path)
    with pytest.raises(KeyError), store.training(NAME):
        raise KeyError
    with store.training(NAME):
        assert [path.name for path in (tmp_path / "running").iterdir()] == [str(NAME)]


def test_without_locks_of_files_it_still_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    store = TrainingResults(tmp_path)
    with store.training(NAME):
        store.add(result())
    assert store.get(NAME) is not None


def test_the_spread_between_seeds_is_pooled_over_networks() -> None:
    recipe, data = Recipe(), patterns()

    def one(key: str, seed: int, top1: float, state: str = "whole") -> TrainingResult:
        name = TrainingName(key=key, recipe=recipe.digest(), data=data.digest, seed=seed)
        return replace(result(top1=top1, state=state), name=name)

    assert seed_std([], recipe, data) == USUAL_STD
    alone = [one("a", 0, 50.0), one("b", 0, 70.0)]
    assert seed_std(alone, recipe, data) == USUAL_STD
    known = [*alone, one("a", 1, 54.0), one("b", 1, 71.0), one("b", 2, 72.0)]
    squares = 2 * 2.0**2 + 2 * 1.0  # about means of 52 and 71
    wanted = ((N_USUAL * USUAL_STD**2 + squares) / (N_USUAL + 1 + 2)) ** 0.5
    assert seed_std(known, recipe, data) == pytest.approx(wanted)
    others = [one("a", 2, 0.0, "stopped"), one("a", 3, 0.0, "failed")]
    assert seed_std([*known, *others], recipe, data) == pytest.approx(wanted)
    assert seed_std(known, replace(recipe, epochs=9), data) == USUAL_STD
    assert seed_std(known, recipe, replace(data, digest="other")) == USUAL_STD
