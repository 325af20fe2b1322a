"""Files that are never half-written, and lines torn by a kill."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from robustaug import files
from robustaug.errors import RobustAugError


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    expected = RobustAugError if isinstance(error, OSError) else type(error)

    def fail() -> None:
        with files.writing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(expected):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.txt"
    for content in ("one", "two"):
        files.write_text(path, content)
        assert path.read_text() == content
    assert list(path.parent.iterdir()) == [path]


def test_the_temporary_name_keeps_the_suffix_and_hides(tmp_path: Path) -> None:
    with files.writing(tmp_path / "a.png") as temporary:
        assert temporary.name.startswith(".tmp-")
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path


def test_rights_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


WRITERS: dict[str, Callable[[Path], None]] = {
    "bytes": lambda path: files.write_bytes(path, b"x"),
    "text": lambda path: files.write_text(path, "x"),
    "json": lambda path: files.write_json(path, {}),
    "jsonl": lambda path: files.write_jsonl(path, [{}]),
    "append": lambda path: files.append_jsonl(path, {}),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_an_unwritable_path_is_one_line(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "below.txt", Path("/proc/robustaug-cannot-write-here")):
        with pytest.raises(
            RobustAugError, match=r"cannot write .*; free space or choose another output folder"
        ) as caught:
            WRITERS[kind](path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is a file of Linux")
    with pytest.raises(RobustAugError, match="cannot write /dev/full: No space left on device; free space"):
        files.append_jsonl(Path("/dev/full"), {"a": 1})


def test_json_has_no_nan(tmp_path: Path) -> None:
    for write in (files.write_json, lambda path, value: files.write_jsonl(path, [value])):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write(tmp_path / "a.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_json_round_trip(tmp_path: Path) -> None:
    content = {"name": "Fälle \u2028 ☃", "values": [1, 0.1, None, True]}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json") == content
    assert "Fälle" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_unreadable_json(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"a": ')
    (tmp_path / "latin.json").write_bytes(b'"\xff"')
    for name in ("bad.json", "latin.json"):
        with pytest.raises(RobustAugError, match=f"{name} is not valid JSON .*; restore it or delete it"):
            files.read_json(tmp_path / name)
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(RobustAugError, match=f"cannot read {path}"):
            files.read_json(path)


ROWS = [{"a": 1}, {"b": "\u2028 two"}, {"c": 3}]


def test_lines_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    files.write_jsonl(path, ROWS[:2])
    files.append_jsonl(path, ROWS[2])
    assert files.read_jsonl(path) == ROWS
    assert files.read_jsonl(tmp_path / "none.jsonl") == []
    files.write_jsonl(path, [])
    assert files.read_jsonl(path) == []


def test_a_torn_last_line_is_left_out_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    files.write_jsonl(path, ROWS)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(last, len(whole) - 2):  # the last two bytes are the brace and the line's end
        path.write_bytes(whole[:end])
        assert files.read_jsonl(path) == ROWS[:2]


@pytest.mark.parametrize("content", ["torn\n{}\n", "torn\n{}", "{}\ntorn\n{}\n", "torn\n\n{}\n"])
def test_a_damaged_line_before_the_last_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    number = content.split("\n").index("torn") + 1
    with pytest.raises(
        RobustAugError, match=f"a.jsonl, line {number} is not valid JSON; restore the file or delete it"
    ):
        files.read_jsonl(tmp_path / "a.jsonl")


def test_unreadable_lines(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match=f"cannot read {tmp_path}: Is a directory"):
        files.read_jsonl(tmp_path)


def test_output_folder(tmp_path: Path) -> None:
    made = files.output_folder(tmp_path / "a" / "b")
    assert made.is_dir()
    assert list(made.iterdir()) == []
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/robustaug")):
        with pytest.raises(RobustAugError, match=f"cannot write to {path}: .*; choose another output folder"):
            files.output_folder(path)


def test_output_inside_its_own_input_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "images"
    source.mkdir()
    (tmp_path / "link").symlink_to(source)
    for out in (source, source / "out", tmp_path / "link" / "out", source / ".." / "images" / "out"):
        with pytest.raises(RobustAugError, match=f"lies inside the image folder {source}; choose one outside"):
            files.refuse_inside(out, source)
    for out in (tmp_path / "out", tmp_path, tmp_path / "images2"):
        files.refuse_inside(out, source)
    files.refuse_inside(Path("mnist5k/out"), Path("mnist5k"))  # a named set is no folder


def test_sha256() -> None:
    assert files.sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
