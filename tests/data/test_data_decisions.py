"""Decisions about variants on disk: written at once, the last line counts, and never those of another manifest."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustaug.data.decisions import REVIEW, Decision, DecisionLog, Decisions, read_decisions
from robustaug.data.images import write_png
from robustaug.data.imageset import ImageSet
from robustaug.data.variants import load_variants
from robustaug.errors import RobustAugError
from robustaug.files import read_jsonl, sha256, write_jsonl

PATHS = ("cat/1_0.png", "cat/2_0.png", "dog/1_0.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "manifest.jsonl", [{"path": path} for path in PATHS])
    return tmp_path


def test_a_folder_nobody_reviewed(folder: Path) -> None:
    found = read_decisions(folder)
    assert (len(found), found.excluded, dict(found.relabelled), found.fingerprint) == (0, frozenset(), {}, "")
    assert found.decision(PATHS[0]) is None


def test_what_is_decided_reads_back(folder: Path) -> None:
    log = DecisionLog(folder)
    log.decide(PATHS[0], "accept", sha256="a" * 64)
    log.decide(PATHS[1], "relabel")
    log.decide(PATHS[2], "relabel", "cat")
    log.close()
    rows = read_jsonl(folder / REVIEW)
    assert rows[0] == {"manifest_sha256": sha256((folder / "manifest.jsonl").read_bytes()), "version": 1}
    assert [set(row) for row in rows[1:]] == [
        {"path", "decision", "sha256", "at"},
        {"path", "decision", "at"},
        {"path", "decision", "label", "at"},
    ]
    found = read_decisions(folder)
    accepted = found.decision(PATHS[0])
    assert accepted is not None
    assert (accepted.verdict, accepted.label, accepted.sha256) == ("accept", None, "a" * 64)
    assert accepted.at == rows[1]["at"]
    assert found.excluded == {PATHS[1]}
    assert found.relabelled == {PATHS[2]: "cat"}
    assert len(found) == 3


def test_the_last_line_counts_and_null_takes_back(folder: Path) -> None:
    log = DecisionLog(folder)
    for verdict in ("accept", "reject", None, "reject", "relabel"):
        log.decide(PATHS[0], verdict)
    log.decide(PATHS[1], "reject")
    log.decide(PATHS[1], None)
    log.close()
    assert len(read_jsonl(folder / REVIEW)) == 8  # nothing is ever taken out
    found = read_decisions(folder)
    assert len(found) == 1
    assert found.excluded == {PATHS[0]}
    assert found.decision(PATHS[1]) is None


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["accept", "reject", "relabel", None])), max_size=30))
def test_fingerprints_tell_what_training_uses(steps: list[tuple[int, Any]]) -> None:
    """Against a model: two histories have one fingerprint exactly if they leave out and relabel the same."""
    by_path = {f"{place}.png": Decision(verdict) for place, verdict in steps if verdict}
    found = Decisions(by_path)
    out = {path for path, made in by_path.items() if made.verdict != "accept"}
    assert found.excluded == out
    assert found.fingerprint == Decisions({path: Decision("reject") for path in out}).fingerprint
    assert bool(found.fingerprint) == bool(out)
    for path in out:
        named = Decisions({**by_path, path: Decision("relabel", "cat")})
        assert len({named.fingerprint, found.fingerprint, Decisions({}).fingerprint}) == 3
        assert path not in named.excluded


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_line_is_left_out_and_written_over(folder: Path, cut: int) -> None:
    log = DecisionLog(folder)
    log.decide(PATHS[0], "accept")
    log.decide(PATHS[1], "reject")
    log.close()
    content = (folder / REVIEW).read_bytes()
    (folder / REVIEW).write_bytes(content[:-cut])
    assert read_decisions(folder).decision(PATHS[1]) is None
    log = DecisionLog(folder)
    assert log.decision(PATHS[0]) is not None
    log.decide(PATHS[2], "reject")
    log.close()
    assert read_decisions(folder).excluded == {PATHS[2]}
    assert (folder / REVIEW).read_bytes().startswith(content[: content.rindex(b"\n", 0, -1) + 1])


def test_a_torn_first_line_is_written_anew(folder: Path) -> None:
    (folder / REVIEW).write_bytes(b'{"manifest_sha')
    assert len(read_decisions(folder)) == 0
    log = DecisionLog(folder)
    log.decide(PATHS[0], "reject")
    log.close()
    assert read_decisions(folder).excluded == {PATHS[0]}


def test_decisions_outlive_a_kill(folder: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from robustaug.data.decisions import DecisionLog
log = DecisionLog(Path({str(folder)!r}))
for path in {PATHS!r}:
    log.decide(path, "reject")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert read_decisions(folder).excluded == set(PATHS)


def test_each_decision_is_synced_before_it_returns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DecisionLog(folder)
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append((folder / REVIEW).read_bytes()))
    log.decide(PATHS[0], "accept")
    assert [content.count(b"\n") for content in synced] == [2]
    log.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cat/9.png", "accept"), "'cat/9.png' is not in manifest.jsonl"),
        ((PATHS[0], "accept", "dog"), "'dog' cannot be the label of the decision 'accept'"),
        ((PATHS[0], "maybe"), "'maybe' is no decision"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(folder: Path, arguments: Any, message: str) -> None:
    log = DecisionLog(folder)
    before = (folder / REVIEW).read_bytes()
    with pytest.raises(RobustAugError, match=message):
        log.decide(*arguments)
    assert (folder / REVIEW).read_bytes() == before
    log.close()


def test_a_full_disk_leaves_whole_lines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DecisionLog(folder)
    log.decide(PATHS[0], "accept")
    before, true = (folder / REVIEW).read_bytes(), os.write

    def half(file: int, content: bytes) -> int:
        if len(content) < 20:
            raise OSError(28, "No space left on device")
        return true(file, content[: len(content) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(RobustAugError, match=r"cannot write .*review.jsonl: No space left on device; free space"):
        log.decide(PATHS[1], "reject")
    monkeypatch.undo()
    assert (folder / REVIEW).read_bytes() == before
    assert log.decision(PATHS[1]) is None
    log.decide(PATHS[1], "accept")
    log.close()
    assert len(read_decisions(folder)) == 2


def test_one_folder_is_open_once(folder: Path) -> None:
    log = DecisionLog(folder)
    log.decide(PATHS[0], "reject")
    for _ in range(2):  # reading and a refused attempt do not loosen the hold
        assert read_decisions(folder).excluded == {PATHS[0]}
        with pytest.raises(RobustAugError, match="is under review in another process; use that page, or stop it"):
            DecisionLog(folder)
    log.close()
    DecisionLog(folder).close()


def test_decisions_about_another_manifest_are_refused(folder: Path) -> None:
    DecisionLog(folder).close()
    write_jsonl(folder / "manifest.jsonl", [{"path": path, "style": "sea"} for path in PATHS])
    for read in (read_decisions, DecisionLog):
        with pytest.raises(RobustAugError, match=r"decisions about another manifest.jsonl, of another run; restore"):
            read(folder)


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match=r"cannot read .*manifest.jsonl: No such file .*a finished job filled"):
        DecisionLog(tmp_path)
    assert not (tmp_path / REVIEW).exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"path": "../../etc/passwd", "decision": "accept"}', "line 2: '../../etc/passwd' is not in manifest.jsonl"),
        ('{"path": 3, "decision": "accept"}', "line 2: 3 is not in"),
        ('{"path": "cat/1_0.png"}', "None is no decision"),
        ('{"path": "cat/1_0.png", "decision": "maybe"}', "'maybe' is no decision; it is one of accept, reject, rel"),
        ('{"path": "cat/1_0.png", "decision": ["accept"]}', "is no decision"),
        ('{"path": "cat/1_0.png", "decision": "accept", "label": "dog"}', "'dog' cannot be the label of .* 'accept'"),
        ('{"path": "cat/1_0.png", "decision": "relabel", "label": ""}', "'' cannot be the label"),
        ('{"path": "cat/1_0.png", "decision": "relabel", "label": 7}', "7 cannot be the label"),
        ('{"path": "cat/1_0.png", "decision": "accept", "at": 7}', "time is not a text"),
        ("[1]", "line 2 is not an object"),
        ("{not json", "line 2 is not valid JSON"),
        ("\udcff\udcfe", "line 2 is not valid JSON"),
    ],
)
def test_bad_lines_are_refused(folder: Path, line: str, message: str) -> None:
    DecisionLog(folder).close()
    with (folder / REVIEW).open("a", errors="surrogateescape") as file:
        file.write(line + "\n" + json.dumps({"path": PATHS[0], "decision": None}) + "\n")
    for read in (read_decisions, DecisionLog):
        with pytest.raises(RobustAugError, match=message) as caught:
            read(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("header", ['{"path": "cat/1_0.png"}', '{"manifest_sha256": "0", "version": 2}'])
def test_a_file_that_does_not_say_whose_it_is(folder: Path, header: str) -> None:
    (folder / REVIEW).write_text(header + "\n")
    with pytest.raises(RobustAugError, match="its first line does not say of which manifest it is"):
        read_decisions(folder)


@pytest.fixture
def originals() -> ImageSet:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    return ImageSet(images, torch.tensor([0, 1]), ("cat/1.png", "dog/1.png"), ("h1", "h2"), ("cat", "dog"))


@pytest.fixture
def variants(tmp_path: Path) -> Path:
    rows = []
    for number, label in enumerate(("cat", "cat", "dog", "dog")):
        path, source_sha256 = f"{label}/{number}.png", "h1" if label == "cat" else "h2"
        write_png(tmp_path / path, torch.full((3, 8, 8), number, dtype=torch.uint8))
        row = {"path": path, "source": f"{label}/1.png", "source_sha256": source_sha256, "label": label}
        rows.append({**row, "kind": "stylised"})
    write_jsonl(tmp_path / "manifest.jsonl", rows)
    return tmp_path


def test_training_obeys(variants: Path, originals: ImageSet) -> None:
    everything = load_variants(variants, originals)
    assert (len(everything), everything.left_out, everything.review) == (4, 0, "")
    log = DecisionLog(variants)
    log.decide("cat/0.png", "accept")
    log.decide("cat/1.png", "reject")
    log.decide("dog/2.png", "relabel", "cat")  # a variant in training has its source's label
    found = load_variants(variants, originals)
    assert found.images[:, 0, 0, 0].tolist() == [0, 3]
    assert found.left_out == 2
    assert found.review == log.decisions().fingerprint != ""
    log.decide("cat/0.png", "relabel")
    assert load_variants(variants, originals).left_out == 3
    log.decide("dog/3.png", "reject")
    with pytest.raises(RobustAugError, match=r"none of the 4 variants in .* is left after review; accept some with"):
        load_variants(variants, originals)
    for path in ("cat/0.png", "cat/1.png", "dog/2.png", "dog/3.png"):
        log.decide(path, None)
    again = load_variants(variants, originals)
    assert (len(again), again.left_out, again.review) == (4, 0, "")
    log.close()


def verdicts(log: DecisionLog) -> list[str | None]:
    return [made and made.verdict for made in map(log.decision, PATHS)]


STEPS = st.lists(st.one_of(st.just("undo"), st.tuples(st.integers(0, 2), st.sampled_from(["accept", "reject"]))))


@given(STEPS, st.integers(0, 10))
def test_undo_goes_back_step_by_step_also_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], restart: int
) -> None:
    """Against a model: a stack of what counted."""
    folder = tmp_path_factory.mktemp("undo")
    write_jsonl(folder / "manifest.jsonl", [{"path": path} for path in PATHS])
    log, states = DecisionLog(folder), [[None] * 3]
    for number, step in enumerate(steps):
        if number == restart:
            log.close()
            log = DecisionLog(folder)
        if step == "undo":
            assert (log.undo() is None) == (len(states) == 1)
            states = states[:-1] or states
        else:
            place, verdict = step
            log.decide(PATHS[place], verdict)
            states.append([verdict if i == place else old for i, old in enumerate(states[-1])])  # type: ignore[misc]
        assert verdicts(log) == states[-1]
    log.close()
    assert len(read_decisions(folder)) == sum(verdict is not None for verdict in states[-1])


def test_undo_brings_a_label_back(folder: Path) -> None:
    log = DecisionLog(folder)
    log.decide(PATHS[0], "relabel", "dog", sha256="b" * 64)
    log.decide(PATHS[0], "accept")
    assert log.undo() == PATHS[0]
    log.close()
    made = read_decisions(folder).decision(PATHS[0])
    assert made is not None
    assert (made.verdict, made.label, made.sha256) == ("relabel", "dog", "b" * 64)
