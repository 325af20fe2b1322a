"""``assess``: the report of one classifier, twice the same, resumed, with surrogates; and what it refuses."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from experiment_cases import coloured_squares, numbers
from jsonschema import Draft202012Validator

from robustaug.attacks import ThreatModel
from robustaug.data import load_images
from robustaug.data.attributes import read_attributes
from robustaug.data.splits import fingerprint
from robustaug.errors import RobustAugError
from robustaug.evaluation import Protocol, ProtocolAttack
from robustaug.evaluation.report.schema import SCHEMA
from robustaug.experiment.assess import assess
from robustaug.experiment.subject import load_subject
from robustaug.files import read_json
from robustaug.models import Checkpoint, build_model, load_checkpoint
from robustaug.style.bank import StyleBank

PROTOCOL = Protocol(
    samples=4,
    pgd_steps=2,
    pgd_restarts=1,
    noise_draws=1,
    attacks=(ProtocolAttack("square", options={"queries": 5}), ProtocolAttack("apgd-ce", norm="other")),
    transfer_samples=3,
    minimal_samples=2,
    curve_samples=2,
    curve_steps=2,
    curve_multiples=(0, 1, 4),
    unseen_style_samples=1,
)


def assessed(checkpoint: Checkpoint, squares: Path, out: Path, **changes: Any) -> dict[str, Any]:
    test, skipped = load_images(str(squares), split="test", seed=3)
    arguments: dict[str, Any] = {
        "name": "squares",
        "split": "test",
        "skipped": skipped,
        "threat": ThreatModel("linf", 0.1),
        "protocol": PROTOCOL,
        "bank": StyleBank.embedded(),
        "out": out,
        "seed": 3,
    }
    return assess(checkpoint, test, **(arguments | changes))


@pytest.fixture
def without_pictures(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is drawn in other tests."""
    monkeypatch.setattr("robustaug.experiment.assess.build_report", lambda path: path)


def test_two_assessments_are_equal_but_for_their_times(
    checkpoint: Checkpoint, finished: Path, squares: Path, tmp_path: Path, without_pictures: None
) -> None:
    other = load_checkpoint(finished / "arms" / "adversarial" / "model.safetensors").model
    for name in ("one", "two"):
        content = assessed(checkpoint, squares, tmp_path / name, surrogates={"adversarial": other})
    assert numbers(tmp_path / "one") == numbers(tmp_path / "two")
    Draft202012Validator(SCHEMA).validate(read_json(tmp_path / "one" / "report.json"))
    assert content["protocol"]["hash"] == PROTOCOL.hash
    assert content["protocol"]["attacks"][1]["norm"] == "other"
    (arm,) = content["arms"].values()
    assert {"square", "apgd-ce_l2", "transfer"} <= set(arm["metrics"])
    assert set(arm["transfer"]) == {"adversarial"}
    assert content["attacks"]["transfer"]["surrogates"] == ["adversarial"]
    assert not (tmp_path / "one" / "arms" / "clean" / "parts").exists()


class Killed(BaseException):
    pass


def test_a_killed_assessment_goes_on(
    checkpoint: Checkpoint, squares: Path, tmp_path: Path, without_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assessed(checkpoint, squares, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("robustaug.evaluation.bench.Bench.noise", lambda *args: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            assessed(checkpoint, squares, tmp_path / "killed")
    kept = {path.stem for path in (tmp_path / "killed" / "arms" / "clean" / "parts").glob("*/*.safetensors")}
    assert kept == {"clean", "fgsm", "pgd", "square", "apgd-ce_l2"}
    monkeypatch.setattr("robustaug.evaluation.bench.Bench.attack", stop_at("pgd"))
    assessed(checkpoint, squares, tmp_path / "killed")
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")
    assert not (tmp_path / "killed" / "arms" / "clean" / "parts").exists()


def test_other_images_or_paintings_are_never_answered_with_old_numbers(
    checkpoint: Checkpoint, squares: Path, tmp_path: Path, without_pictures: None
) -> None:
    told = assessed(checkpoint, squares, tmp_path / "out")
    test, _ = load_images(str(squares), split="test", seed=3)
    assert told["data"]["fingerprint"] == fingerprint(test.identities, test.sha256)
    other = coloured_squares(tmp_path / "others", seed=9)
    again, _ = load_images(str(other), split="test", seed=3)
    assert (again.keys, again.images.shape) == (test.keys, test.images.shape)
    assert again.sha256 != test.sha256
    with pytest.raises(RobustAugError, match=r"holds another job \(its fingerprint differ"):
        assessed(checkpoint, other, tmp_path / "out")
    unseen = told["style"]["held_out_paintings"][0]
    fewer = StyleBank(tuple(each for each in StyleBank.embedded().paintings if each.name != unseen))
    with pytest.raises(RobustAugError, match=r"holds another job \(its paintings differ"):
        assessed(checkpoint, squares, tmp_path / "out", bank=fewer)


def stop_at(purpose: str) -> Any:
    from robustaug.evaluation.bench import Bench  # noqa: PLC0415 - the method as it is now

    original = Bench.attack

    def attack(self: Any, attack: Any, samples: Any, standing: Any, what: str, *rest: Any) -> Any:
        assert what != purpose
        return original(self, attack, samples, standing, what, *rest)

    return attack


def test_data_without_some_class_and_a_model_of_another_class_count(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = coloured_squares(tmp_path / "squares", per_class=3)
    for image in (folder / "red").iterdir():
        image.unlink()
    (folder / "red").rmdir()
    with pytest.raises(RobustAugError, match="knows 3 classes, the data has 2; give it the data set it was") as caught:
        load_subject(checkpoint, str(folder))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_whose_network_has_another_class_count(
    checkpoint: Checkpoint, squares: Path, tmp_path: Path, without_pictures: None
) -> None:
    wrong = dataclasses.replace(checkpoint, model=build_model("small_cnn", 5, (16, 16)))
    with pytest.raises(RobustAugError, match="returns 5 logits but the data has 3 classes"):
        assessed(wrong, squares, tmp_path / "out")
    assert not (tmp_path / "out" / "report.json").exists()
    with pytest.raises(RobustAugError, match="returns 5 logits but the data has 3 classes"):
        assessed(checkpoint, squares, tmp_path / "other", surrogates={"wrong": wrong.model})


def test_groups_of_attributes(checkpoint: Checkpoint, squares: Path, tmp_path: Path, without_pictures: None) -> None:
    test, _ = load_images(str(squares), split="test", seed=3)
    table = tmp_path / "who.csv"
    rows = [f"{key},{'ann' if number % 2 else 'bob'}" for number, key in enumerate(test.keys)]
    table.write_text("\n".join(["path,who", *rows]))
    protocol = dataclasses.replace(PROTOCOL, attacks=(), transfer_samples=0)
    told = assessed(checkpoint, squares, tmp_path / "out", attributes=read_attributes(table), protocol=protocol)
    Draft202012Validator(SCHEMA).validate(told)
    classes, who = told["groups"]
    assert (classes["attribute"], who["attribute"], who["against"]) == ("class", "who", None)
    (arms,) = who["arms"].values()
    assert {name: found["n"] for name, found in arms["clean"]["values"].items()} == {"ann": 3, "bob": 3}
    assert sum(found["n"] for found in arms["pgd"]["values"].values()) == 4
    table.write_text(table.read_text().replace("ann", "cid"))
    with pytest.raises(RobustAugError, match=r"holds another job \(its attributes differ\)"):
        assessed(checkpoint, squares, tmp_path / "out", attributes=read_attributes(table), protocol=protocol)
    table.write_text("path,who\nred/00.png,ann\n")
    with pytest.raises(RobustAugError, match=r"who\.csv has no row for \d of 6 images"):
        assessed(checkpoint, squares, tmp_path / "new", attributes=read_attributes(table))
    assert not (tmp_path / "new").exists()
