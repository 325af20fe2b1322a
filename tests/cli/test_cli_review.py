"""``robustaug review`` as a process: killed, started again, interrupted; and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_cases import CommandLine

from robustaug.data.decisions import DecisionLog, read_decisions
from robustaug.data.images import encode_png
from robustaug.files import sha256, write_jsonl


@pytest.fixture
def variants(tmp_path: Path) -> Path:
    import torch  # noqa: PLC0415

    rows = []
    for number in range(3):
        content = encode_png(torch.full((3, 8, 8), number, dtype=torch.uint8))
        path = tmp_path / "variants" / "cat" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        row = {"path": f"cat/{number}.png", "source": "cat/1.jpg", "source_sha256": sha256(b""), "label": "cat"}
        rows.append({**row, "kind": "stylised", "style": "waves"})
    write_jsonl(tmp_path / "variants" / "manifest.jsonl", rows)
    return tmp_path / "variants"


Start = Callable[[], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(variants: Path) -> Iterator[Start]:
    """Start the command; the process, and the address that it prints."""
    running: list[subprocess.Popen[str]] = []

    def begin() -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "robustaug", "review", str(variants), "--no-browser"]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        assert running[-1].stdout is not None
        line = running[-1].stdout.readline()
        before = re.escape(f"Review of 3 variants in {variants}: ")
        found = re.fullmatch(before + r"(http://127\.0\.0\.1:\d+/\?token=\S+)\n", line)
        assert found is not None, line
        return running[-1], found[1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def decide(address: str, *decisions: dict[str, Any]) -> None:
    page, token = address.split("/?token=")
    headers = {"X-Review-Token": token}
    with urllib.request.urlopen(urllib.request.Request(f"{page}/variants.json", headers=headers), timeout=30) as answer:
        manifest = json.load(answer)["manifest"]
    body = json.dumps({"manifest": manifest, "decisions": decisions}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{page}/decide", body, headers), timeout=30) as answer:
        assert answer.status == 200


def test_a_killed_review_goes_on_and_ends_with_a_count(start: Start, variants: Path, cli: CommandLine) -> None:
    process, address = start()
    decide(address, {"path": "cat/0.png", "decision": "reject"}, {"path": "cat/1.png", "decision": "accept"})
    refused = cli("review", variants, "--no-browser")
    assert refused.code == 2
    assert f"{variants} is under review in another process; use that page, or stop it" in refused.line()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    assert read_decisions(variants).excluded == {"cat/0.png"}
    again, second = start()
    assert second.partition("token=")[2] != address.partition("token=")[2]
    decide(second, {"path": "cat/2.png", "decision": "relabel"})
    again.send_signal(signal.SIGINT)
    out, err = again.communicate(timeout=30)
    assert (again.returncode, err) == (0, "")
    assert out.splitlines()[-1] == (
        f"3 of 3 variants are decided: 2 left out, 0 relabelled; see {variants / 'review.jsonl'}"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sample", "4"), "--sample 4 is not possible with 3 variants; take 1 to 3"),
        (("--data", "gone"), "there is no image folder gone; name the one that the variants were made from"),
        (("--port", "99999"), "--port 99999 is no port; take 1024 to 65535"),
    ],
)
def test_bad_options(cli: CommandLine, variants: Path, arguments: tuple[str, ...], message: str) -> None:
    answer = cli("review", variants, "--no-browser", *arguments)
    assert answer.code == 2
    assert message in answer.line()


def test_bad_folders(cli: CommandLine, variants: Path, tmp_path: Path) -> None:
    assert "none does not exist; name a folder that a finished job" in cli("review", tmp_path / "none").line()
    assert "holds neither manifest.jsonl nor" in cli("review", tmp_path).line()
    DecisionLog(variants).close()
    rows = (variants / "manifest.jsonl").read_text()
    (variants / "manifest.jsonl").write_text(rows.replace("waves", "sea"))
    assert "holds decisions about another manifest.jsonl, of another run; restore" in cli("review", variants).line()
    (variants / "manifest.jsonl").write_text(rows.replace("cat/0.png", "../outside.png"))
    assert "../outside.png lies outside the folder or goes there" in cli("review", variants).line()


def test_without_the_extra(cli: CommandLine, variants: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "robustaug.review.server", None)
    monkeypatch.delitem(sys.modules, "robustaug.review.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    answer = cli("review", variants)
    assert answer.line() == 'review needs the package uvicorn; install it: pip install "robustaug[serve]"'
