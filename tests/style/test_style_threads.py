"""Reading ahead and writing behind: no order of threads shows in the files, and the transfer waits for neither."""

import dataclasses
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from job_cases import tree

from robustaug.data import jobs
from robustaug.data.threads import WriteBehind, read_ahead
from robustaug.errors import RobustAugError
from robustaug.style import Gatys, StyleBank, folder_items
from robustaug.style import worker as worker_module
from robustaug.style.job import JobSettings, stylize

TWO = JobSettings(per_image=2, strength=(0.4, 1.0))


def slowly(function: Callable[..., object]) -> Callable[..., object]:
    """A function that takes a random while."""

    def slow(*args: object, **options: object) -> object:
        time.sleep(random.uniform(0, 0.02))
        return function(*args, **options)

    return slow


def test_no_timing_of_threads_changes_a_byte(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, _ = folder_items(content)
    stylize(items, tmp_path / "whole", bank, tiny, TWO)
    slow = [dataclasses.replace(item, read=slowly(item.read)) for item in items]
    monkeypatch.setattr(jobs, "encode_png", slowly(jobs.encode_png))
    for number in range(3):
        stylize(slow, tmp_path / f"slow{number}", bank, tiny, TWO)
        assert tree(tmp_path / f"slow{number}") == tree(tmp_path / "whole")


def test_the_transfer_neither_reads_nor_writes(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, hashes and codecs are the business of other threads."""
    seen: dict[str, set[int]] = {"read": set(), "decode": set(), "encode": set(), "transfer": set()}

    def noted(what: str, true: Callable[..., object]) -> Callable[..., object]:
        def function(*args: object, **options: object) -> object:
            seen[what].add(threading.get_ident())
            return true(*args, **options)

        return function

    monkeypatch.setattr(jobs, "encode_png", noted("encode", jobs.encode_png))
    monkeypatch.setattr(worker_module, "pixels", noted("decode", worker_module.pixels))
    monkeypatch.setattr(Gatys, "run", noted("transfer", Gatys.run))
    items = [dataclasses.replace(item, read=noted("read", item.read)) for item in folder_items(content)[0]]
    monkeypatch.setattr("robustaug.style.job.write_sheet", lambda folder, plan: None)
    stylize(items, tmp_path / "out", bank, tiny)
    here = threading.get_ident()
    assert seen["transfer"] == {here}
    assert here not in seen["read"] | seen["decode"] | seen["encode"]


def test_what_is_read_ahead_keeps_its_order_and_its_bound() -> None:
    lock, begun, most, taken = threading.Lock(), [0], [0], [0]

    def read(number: int) -> int:
        with lock:
            begun[0] += 1
            most[0] = max(most[0], begun[0] - taken[0])
        time.sleep(random.uniform(0, 0.003))
        return number

    for number, found in enumerate(read_ahead(read, range(50), 5)):
        assert found == number
        taken[0] += 1
    assert most[0] <= 7  # five ahead, the one that is asked for, and the one just taken

    def broken(number: int) -> int:
        if number == 3:
            raise RobustAugError("three")
        return number

    found = list[int]()
    with pytest.raises(RobustAugError, match="three"):
        found.extend(read_ahead(broken, range(50), 5))
    stopped = read_ahead(read, iter(range(10**9)), 5)
    assert next(stopped) == 0
    stopped.close()  # and does not read the rest


def test_what_is_written_behind_raises_its_errors_and_is_always_finished() -> None:
    done = list[int]()

    def write(number: int) -> None:
        time.sleep(0.002)
        if number == 5:
            raise RobustAugError("five")
        done.append(number)

    def write_all(numbers: Iterable[int], behind: int) -> None:
        with WriteBehind(behind) as writing:
            for number in numbers:
                writing.call(write, number)

    def interrupted() -> Iterator[int]:
        yield from range(6, 20)
        raise KeyboardInterrupt

    with pytest.raises(RobustAugError, match="five"):
        write_all(range(1000), 3)
    assert 5 <= len(done) < 30
    done.clear()
    with pytest.raises(KeyboardInterrupt):
        write_all(interrupted(), 100)
    assert sorted(done) == list(range(6, 20))
    with pytest.raises(RobustAugError, match="five"):
        write_all([5], 100)


def test_an_interruption_loses_nothing_that_was_made(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C strikes in the second batch: the first is written to its end."""
    items, _ = folder_items(content)
    make, calls = worker_module.Worker.make, [0]

    def interrupted(self: worker_module.Worker, batch: object) -> object:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return make(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(worker_module.Worker, "make", interrupted)
    monkeypatch.setattr(jobs, "encode_png", slowly(jobs.encode_png))
    with pytest.raises(KeyboardInterrupt):
        stylize(items, tmp_path / "out", bank, dataclasses.replace(tiny, batch_size=2))
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2
    monkeypatch.undo()
    assert stylize(items, tmp_path / "out", bank, tiny).already_done == 2
