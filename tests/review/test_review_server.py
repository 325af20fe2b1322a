"""The server: nobody without the token, from elsewhere or under another name gets anything; nothing but the manifest's
files is served; what is decided is on disk when the answer comes."""

import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from review_cases import TOKEN, Serve, Served

from robustaug.data.decisions import read_decisions
from robustaug.data.images import decode_image
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.review.desk import Desk

ADDRESSES = ("/", "/main.js", "/page.css", "/variants.json", "/variants/0", "/sources/0", "/share.json", "/nothing")


@pytest.fixture
def served(serve: Serve, variants: Path) -> Served:
    return serve(variants, variants.parent / "data")


@pytest.mark.parametrize("address", ADDRESSES)
def test_who_may_not_ask(served: Served, address: str) -> None:
    here = served.origin.removeprefix("http://")
    for refused in (
        served.ask(address, token=None),
        served.ask(address, token="another"),
        served.ask(address, token=""),
        served.ask(address, token=None, Cookie=f"robustaug-review-{served.port}=another"),
        served.ask(address, token=None, Cookie=f"robustaug-review={TOKEN}"),
        served.ask(address, Host="evil.example"),
        served.ask(address, Host=f"evil.example:{served.port}"),
        served.ask(address, Host="127.0.0.1"),
        served.ask(address, Host=f"{here}.evil.example"),
        served.ask(address, Origin="http://evil.example"),
        served.ask(address, Origin="null"),
        served.ask(address, Origin="http://127.0.0.1:1"),
        served.ask(address, Origin=f"https://{here}"),
    ):
        assert refused.status == 403
        assert "Set-Cookie" not in refused.headers
        assert refused.headers["Content-Type"].startswith("text/plain")


def test_who_may_ask(served: Served) -> None:
    cookie = f"robustaug-review-{served.port}={TOKEN}"
    for allowed in (
        served.ask("/"),
        served.ask("/", Origin=served.origin),
        served.ask("/", token=None, Cookie=cookie),
        served.ask("/", Host=f"localhost:{served.port}"),
        served.ask(f"/?token={TOKEN}", token=None),
    ):
        assert allowed.status == 200
    assert served.ask(f"/variants.json?token={TOKEN}", token=None).status == 403  # in the page's address alone


def test_the_token_becomes_a_cookie(served: Served) -> None:
    first = served.ask(f"/?token={TOKEN}", token=None)
    assert first.headers["Set-Cookie"] == (f"robustaug-review-{served.port}={TOKEN}; Path=/; HttpOnly; SameSite=Strict")
    assert "Set-Cookie" not in served.ask("/").headers
    assert TOKEN not in first.text


def test_a_cookie_alone_changes_nothing(served: Served) -> None:
    """A form on another page would send the cookie of a lax browser, but never this origin."""
    cookie = f"robustaug-review-{served.port}={TOKEN}"
    body = served.body({"path": "cat/0000_0.png", "decision": "reject"})
    for address in ("/decide", "/undo"):
        assert served.ask(address, body, token=None, Cookie=cookie).status == 403
        assert served.ask(address, body, token=None, Cookie=cookie, Origin="http://evil.example").status == 403
        assert served.ask(f"{address}?token={TOKEN}", body, token=None).status == 403
    assert served.written() == []
    assert served.ask("/decide", body, token=None, Cookie=cookie, Origin=served.origin).status == 200
    assert len(served.written()) == 1


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_answer_is_kept_in_bounds(served: Served, address: str) -> None:
    for answer in (served.ask(address), served.ask(address, token=None)):
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] in ("no-store", "private, no-cache")
        assert "Server" not in answer.headers
        assert not any(name.lower().startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    "address",
    [
        "/variants/12",
        "/variants/-1",
        "/variants/99999999999999999999",
        "/variants/" + "9" * 5000,
        "/variants/cat/0000_0.png",
        "/variants/../manifest.jsonl",
        "/variants/%2e%2e/%2e%2e/etc/passwd",
        "/variants/..%2f..%2f..%2fetc%2fpasswd",
        "/sources/12",
        "/sources/%2fetc%2fpasswd",
        "/manifest.jsonl",
        "/review.jsonl",
        "/../pyproject.toml",
        "/__init__.py",
        "//etc/passwd",
    ],
)
def test_nothing_but_the_manifests_files(served: Served, address: str) -> None:
    found = served.ask(address)
    assert found.status == 404
    assert len(found.content) < 100


def test_pictures(served: Served, variants: Path) -> None:
    listed = served.ask("/variants.json").json()["variants"]
    for number in (0, 5, 11):
        path = variants / listed[number]["path"]
        found = served.ask(f"/variants/{number}")
        assert (found.status, found.headers["Content-Type"]) == (200, "image/png")
        assert found.content == path.read_bytes()
        source = decode_image(served.ask(f"/sources/{number}").content)
        assert (255 - source).unique().tolist() == decode_image(found.content).unique().tolist()
    tag = served.ask("/variants/0").headers["ETag"]
    assert served.ask("/variants/0", If_None_Match=tag).status == 304
    first = variants / listed[0]["path"]
    first.write_bytes((variants / listed[1]["path"]).read_bytes())
    assert served.ask("/variants/0", If_None_Match=tag).status == 200  # another picture now: it is sent
    first.unlink()
    assert served.ask("/variants/0").status == 404
    first.write_bytes(b"<script>alert(1)</script>")
    assert served.ask("/variants/0").status == 404


def test_decisions_are_on_disk_when_the_answer_comes(served: Served, variants: Path) -> None:
    assert served.decide("cat/0000_0.png", "reject").status == 200
    assert served.decide("dog/0001_0.png", "relabel", "fish").status == 200
    assert served.decide("dog/0004_0.png", "relabel").status == 200
    assert served.decide("fish/0002_0.png", "accept").status == 200
    rows = served.written()
    assert [(row["path"], row["decision"], row.get("label")) for row in rows] == [
        ("cat/0000_0.png", "reject", None),
        ("dog/0001_0.png", "relabel", "fish"),
        ("dog/0004_0.png", "relabel", None),
        ("fish/0002_0.png", "accept", None),
    ]
    for row in rows:
        assert row["sha256"] == sha256((variants / row["path"]).read_bytes())
    found = read_decisions(variants)
    assert found.excluded == {"cat/0000_0.png", "dog/0004_0.png"}
    assert found.relabelled == {"dog/0001_0.png": "fish"}
    listed = {row["path"]: row["decision"] for row in served.ask("/variants.json").json()["variants"]}
    assert listed["dog/0001_0.png"] == {"verdict": "relabel", "label": "fish"}
    assert listed["cat/0003_0.png"] is None


def test_a_variant_may_show_a_class_that_no_variant_has(
    serve: Serve, make_variants: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_variants(tmp_path, 4, classes=("cat",))  # those that bring up one class are all of it
    (tmp_path / "data" / "train" / "dog").mkdir(parents=True)
    (tmp_path / "data" / "cat").rename(tmp_path / "data" / "train" / "cat")
    served = serve(folder, tmp_path / "data")
    assert served.ask("/variants.json").json()["classes"] == ["cat", "dog"]
    assert served.decide("cat/0000_0.png", "relabel", "dog").status == 200
    assert served.decide("cat/0000_0.png", "relabel", "cow").status == 400
    assert read_decisions(folder).relabelled == {"cat/0000_0.png": "dog"}


def test_undo_of_many_steps(served: Served) -> None:
    manifest = {"manifest": served.desk.gallery.manifest_sha256}
    for verdict in ("accept", "reject"):
        served.decide("cat/0000_0.png", verdict)
    served.decide("dog/0001_0.png", "accept")
    undone = [served.ask("/undo", manifest).json() for _ in range(4)]
    assert undone == [
        {"path": "dog/0001_0.png", "decision": None},
        {"path": "cat/0000_0.png", "decision": {"verdict": "accept", "label": None}},
        {"path": "cat/0000_0.png", "decision": None},
        None,
    ]
    assert len(served.desk.decisions()) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../data/cat/0000.png"},
        {"path": "cat/9999_0.png"},
        {"path": "\ud800"},
        {"path": None},
        {"path": ["cat/0000_0.png"]},
        {"decision": "maybe"},
        {"decision": ["accept"]},
        {"decision": "relabel", "label": "bird"},
        {"decision": "relabel", "label": "cat"},
        {"decision": "accept", "label": "dog"},
        {"decision": "relabel", "label": 7},
    ],
)
def test_what_cannot_be_decided(served: Served, changes: dict[str, Any]) -> None:
    made = {"path": "cat/0000_0.png", "decision": "accept"}
    assert served.ask("/decide", served.body({**made, **changes})).status == 400
    assert served.written() == []
    assert served.ask("/decide", served.body(made, {**made, **changes})).status == 400
    assert len(served.written()) == 1  # what comes before a mistake counts


def test_bodies_that_are_none(served: Served) -> None:
    assert served.ask("/decide", b"{").status == 400
    assert served.ask("/decide", b"[" * 60_000).status == 400
    assert served.ask("/decide", b"[]").status == 409
    for manifest in ("0" * 64, None):  # of a page that was opened on another folder
        body = served.body({"path": "cat/0000_0.png", "decision": "accept"})
        assert served.ask("/decide", {**body, "manifest": manifest}).status == 409
        assert served.ask("/undo", {"manifest": manifest}).status == 409
    for decisions in (None, {}, "cat/0000_0.png", [None], ["cat/0000_0.png"], [{}]):
        assert served.ask("/decide", {**served.body(), "decisions": decisions}).status == 400
    assert served.ask("/decide", b" " * 70_000).status == 413
    assert served.ask("/decide").status == 405
    assert served.written() == []


def test_a_full_disk_is_no_refusal(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page then waits and tries again."""

    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robustaug.data.decisions.os.write", full)
    answer = served.decide("cat/0000_0.png", "reject")
    assert (answer.status, served.written()) == (500, [])
    assert "No space left on device; free space" in answer.text
    monkeypatch.undo()
    assert served.decide("cat/0000_0.png", "reject").status == 200


def test_the_share_of_bad_ones(served: Served) -> None:
    listed = sorted(served.ask("/variants.json").json()["variants"], key=lambda row: row["place"])
    for row in listed[6:]:
        served.decide(row["path"], "reject")  # outside the sample: they do not count
    assert served.ask("/share.json?size=6").json()["statement"].startswith("0 of 6 decided, 0 bad so far.")
    for row in listed[:6]:
        served.decide(row["path"], "accept")
    statement = served.ask("/share.json?size=6").json()["statement"]
    assert statement == "None of 6 is bad: fewer than 39.3% of all 12 are (95% confidence, exact bound)."
    assert served.ask("/share.json").json() == {"size": 12, "statement": "All 12 were looked at: 6 are bad, 50.0%."}
    for odd in ("x", "-1", "1e3", "", "99999999999999999999", "%D9%A3"):
        assert served.ask(f"/share.json?size={odd}").json()["size"] == 12


def test_one_folder_has_one_page(served: Served, variants: Path) -> None:
    with pytest.raises(RobustAugError, match="is under review in another process; use that page, or stop it"):
        Desk(variants)


def test_it_listens_on_this_machine_alone(served: Served) -> None:
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.2:{served.port}/", timeout=2)
