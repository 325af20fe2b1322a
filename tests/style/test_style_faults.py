"""The job when it is killed, when files are damaged and when the disk is full: nothing lost, nothing half-written."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from job_cases import tree
from PIL import Image
from style_cases import TINY, photos

from robustaug.data import jobs, rows
from robustaug.data.images import write_png
from robustaug.errors import RobustAugError
from robustaug.files import read_jsonl
from robustaug.style import Gatys, StyleBank, folder_items
from robustaug.style.job import JobSettings, stylize

KILLS = int(os.environ.get("ROBUSTAUG_KILLS", "6"))
TWO = JobSettings(per_image=2, strength=(0.4, 1.0))


KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from robustaug.style import Gatys, StyleBank, StyleSettings, folder_items
from robustaug.style.job import JobSettings, stylize

content, paintings, out = map(Path, sys.argv[1:4])
kills, settings = int(sys.argv[4]), StyleSettings(**eval(sys.argv[5]))
style = Gatys(settings=settings, precision="float32", batch_size=4)
bank = StyleBank.from_folder(paintings)

def run(folder, delay):
    "A job in a process of its own, killed after a while; whether it was."
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # torch renews its pool after a fork, which two threads must not ask for at once
        try:
            stylize(folder_items(content)[0], folder, bank, style, JobSettings(per_image=2, strength=(0.4, 1.0)))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code == -signal.SIGKILL

began = time.monotonic()
assert not run(out / "whole", None)
seconds, seen, rounds, chance = time.monotonic() - began, 0, 0, random.Random(3)
while seen < kills:
    folder = out / f"killed-{rounds}"
    for _ in range(2):
        seen += run(folder, chance.uniform(0, seconds))
    assert not run(folder, None)
    rounds += 1
    assert rounds < 20 * kills
print(json.dumps({"kills": seen, "rounds": rounds, "seconds": seconds}))
"""


def test_killed_at_random_moments_and_resumed_the_tree_is_the_same(tmp_path: Path, bank: StyleBank) -> None:
    for number in range(12):
        write_png(tmp_path / "content" / f"class{number % 3}" / f"{number}.png", photos(1, 16, 20, seed=number)[0])
    for painting in bank.paintings:
        write_png(tmp_path / "paintings" / f"{painting.name}.png", painting.image)
    command = [sys.executable, "-c", KILLER, tmp_path / "content", tmp_path / "paintings", tmp_path / "out"]
    arguments = [str(KILLS), repr(dataclasses.asdict(TINY))]
    done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    assert counted["kills"] >= KILLS
    whole = tree(tmp_path / "out" / "whole")
    assert len(whole) == 24 + 3
    for number in range(counted["rounds"]):
        assert tree(tmp_path / "out" / f"killed-{number}") == whole


class Killed(BaseException):
    """Stands for the end of the process."""


def test_stopped_before_any_of_its_file_operations_it_resumes_to_the_same_tree(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys
) -> None:
    """Every rename, deletion and line of the manifest in turn is the one that does not happen any more."""
    items = folder_items(content)[0][:3]
    stylize(items, tmp_path / "whole", bank, tiny, TWO)
    whole, stopped = tree(tmp_path / "whole"), 0
    for number in range(100):
        out, count, lock = tmp_path / f"out{number}", [0], threading.Lock()

        def counted(true: Callable[..., object], number: int = number) -> Callable[..., object]:
            def operation(*args: object, **options: object) -> object:
                with lock:  # noqa: B023
                    count[0] += 1  # noqa: B023
                    if count[0] > number:  # noqa: B023
                        raise Killed
                return true(*args, **options)

            return operation

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "replace", counted(Path.replace))
            patch.setattr(jobs, "_delete", counted(jobs._delete))
            patch.setattr(rows, "append_jsonl", counted(rows.append_jsonl))
            try:
                stylize(items, out, bank, tiny, TWO)
                break
            except Killed:
                stopped += 1
        stylize(items, out, bank, tiny, TWO)
        assert tree(out) == whole, number
    assert stopped > 15


def test_stopped_while_a_changed_image_is_made_again(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file must not pass for the new one, whose line is there already."""
    out = tmp_path / "out"
    stylize(folder_items(content)[0], out, bank, tiny)
    write_png(content / "class0" / "0.png", photos(1, 16, 16, seed=99)[0])

    def stopped(image: object) -> bytes:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "encode_png", stopped)
        with pytest.raises(Killed):
            stylize(folder_items(content)[0], out, bank, tiny)
    assert stylize(folder_items(content)[0], out, bank, tiny).written == 1
    stylize(folder_items(content)[0], tmp_path / "whole", bank, tiny)
    assert tree(out) == tree(tmp_path / "whole")


def test_two_interruptions_after_a_torn_line(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, _ = folder_items(content)
    out, part = tmp_path / "out", tmp_path / "out" / "manifest.part.jsonl"
    append, lock = rows.append_jsonl, threading.Lock()
    for is_torn in (True, False, False):
        here = [0]

        def append_once(path: Path, row: dict[str, object], here: list[int] = here) -> None:
            with lock:
                here[0] += 1
                if here[0] > 1:
                    raise KeyboardInterrupt
            append(path, row)

        monkeypatch.setattr(rows, "append_jsonl", append_once)
        with pytest.raises(KeyboardInterrupt):
            stylize(items, out, bank, tiny)
        if is_torn:
            part.write_bytes(part.read_bytes()[:-30])
    assert len(read_jsonl(part)) == 2
    monkeypatch.undo()
    assert stylize(items, out, bank, tiny).already_done == 2
    stylize(items, tmp_path / "whole", bank, tiny)
    assert tree(out) == tree(tmp_path / "whole")


def test_a_damaged_manifest_is_named(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, manifest = folder_items(content)[0], tmp_path / "out" / "manifest.jsonl"
    stylize(items, tmp_path / "out", bank, tiny)
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join([*lines[:2], b"damaged\n", *lines[2:]]))
    with pytest.raises(
        RobustAugError, match=r"manifest\.jsonl, line 3 is not valid JSON; restore the file or delete it"
    ):
        stylize(items, tmp_path / "out", bank, tiny)


def test_twenty_damaged_files_among_a_hundred(tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    content, damaged = tmp_path / "content", dict[str, bytes]()
    whole = dict[str, bytes]()
    for suffix in ("PNG", "JPEG"):
        kept = io.BytesIO()
        Image.effect_noise((40, 40), 60).convert("RGB").save(kept, format=suffix)
        whole[suffix] = kept.getvalue()
    ways = [b"", b"\0" * 500, b"no image", whole["PNG"][:700], whole["JPEG"][:400], whole["PNG"][:8], whole["PNG"][20:]]
    for number in range(100):
        write_png(content / f"class{number % 7}" / f"good{number}.png", photos(1, 16, 16, seed=number)[0])
    for number in range(20):
        key = f"class{number % 7}/bad{number}.{'png' if number % 2 else 'jpg'}"
        damaged[key] = ways[number % len(ways)]
        (content / key).write_bytes(damaged[key])
    items, not_images = folder_items(content)
    assert not_images == []
    result = stylize(items, tmp_path / "out", bank, tiny)
    assert result.written == 100
    assert {item.path for item in result.skipped} == set(damaged)
    assert len(result.skipped) == 20
    for item in result.skipped:
        assert item.reason.startswith(("the file is empty", "not an image", "the image is damaged (")), item
        assert "\n" not in item.reason
    done = {row["source"] for row in read_jsonl(tmp_path / "out" / "manifest.jsonl")}
    assert done == {item.key for item in items} - set(damaged)
    again = stylize(items, tmp_path / "out", bank, tiny)
    assert (again.written, again.already_done, again.skipped) == (0, 100, result.skipped)  # listed every time


@pytest.mark.parametrize("what", ["image", "line"])
def test_a_full_disk_leaves_nothing_half_written(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    items, _ = folder_items(content)
    out, written = tmp_path / "out", list[object]()
    write, append, lock = Path.write_bytes, Path.open, threading.Lock()

    def is_full() -> bool:
        with lock:
            written.append(None)
            return len(written) > 3

    def write_until_full(self: Path, data: bytes) -> int:
        if self.suffix == ".png" and is_full():
            write(self, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return write(self, data)

    def open_until_full(self: Path, mode: str = "r", **options: object) -> object:
        file = append(self, mode, **options)  # type: ignore[call-overload]
        if mode == "a" and is_full():
            file.write('{"path": "ha')
            file.close()
            raise OSError(28, "No space left on device")
        return file

    if what == "image":
        monkeypatch.setattr(Path, "write_bytes", write_until_full)
    else:
        monkeypatch.setattr(Path, "open", open_until_full)
    with pytest.raises(RobustAugError, match=r"cannot write .*: No space left on device; free space"):
        stylize(items, out, bank, tiny)
    monkeypatch.undo()
    images = sorted(out.rglob("*.png"))
    assert 1 <= len(images) <= 3
    for path in images:
        Image.open(path).load()
    assert not list(out.rglob(".tmp-*"))
    assert stylize(items, out, bank, tiny).already_done == len(images)
    stylize(items, tmp_path / "whole", bank, tiny)
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.parametrize(("theirs", "ours", "is_free"), [((0, 1), (0, 1), False), ((1, 2), (1, 2), False),
                                                          ((0, 1), (1, 2), False), ((0, 2), (1, 2), True)])  # fmt: skip
def test_two_processes_at_one_shard(
    content: Path,
    tmp_path: Path,
    bank: StyleBank,
    tiny: Gatys,
    theirs: tuple[int, int],
    ours: tuple[int, int],
    is_free: bool,
) -> None:
    items, out = folder_items(content)[0], tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        stylize([dataclasses.replace(item, read=interrupt) for item in items], out, bank, tiny)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        held = jobs.JobFolder(out, json.loads((out / "job.json").read_text()), theirs)
        os.write(tell, b"x")
        time.sleep(60)
        os._exit(int(held.shard != theirs))
    try:
        os.read(ready, 1)
        if is_free:
            assert stylize(items, out, bank, tiny, shard=ours).written == 3
        else:
            with pytest.raises(RobustAugError, match=r"another process is at work in .*out; wait for it or stop it"):
                stylize(items, out, bank, tiny, shard=ours)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert stylize(items, out, bank, tiny, shard=ours).skipped == ()  # what a killed process held is free


def interrupt() -> bytes:
    raise KeyboardInterrupt
