"""AutoAttack is its stages one after the other on what stands, counts what it spends, and resumes to the same bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyautoattack
import pytest
import safetensors
import torch
from attack_cases import Linear, small_network, stripes
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import Attack, ThreatModel, autoattack_state
from robustaug.attacks.apgd import APGD
from robustaug.attacks.autoattack import AutoAttack, AutoAttackResult, Progress
from robustaug.attacks.ball import Ball
from robustaug.attacks.fab import FAB
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.attacks.square import Square
from robustaug.errors import RobustAugError

norms = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
REFERENCE_NORM = {"linf": "Linf", "l2": "L2", "l1": "L1"}
EPS = {"linf": 0.037, "l2": 0.7, "l1": 6.0}


@dataclass(frozen=True)
class Short(AutoAttack):
    """The same stages with smaller budgets."""

    steps: int = 6
    queries: int = 20

    def stages(self) -> dict[str, Attack]:
        return {name: self._shortened(stage) for name, stage in super().stages().items()}

    def _shortened(self, stage: Attack) -> Attack:
        if isinstance(stage, Square):
            return replace(stage, queries=self.queries)
        if isinstance(stage, FAB):
            return replace(stage, steps=self.steps, targets_tried=2)
        assert isinstance(stage, APGD)
        return replace(stage, steps=self.steps, targets_tried=stage.targets_tried and 2, restarts=1)


def assert_equal(one: AutoAttackResult, other: AutoAttackResult) -> None:
    for name in ("images", "success", "predictions", "distance", "broken_by"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert one.stages == other.stages
    assert (one.forward_passes, one.backward_passes) == (other.forward_passes, other.backward_passes)


# ---- the stages ----


@norms
def test_budgets_are_those_of_the_reference(norm: str) -> None:
    reference = pyautoattack.AutoAttack(nn.Identity(), norm=REFERENCE_NORM[norm], eps=0.1)
    stages = AutoAttack(ThreatModel(norm, 0.1)).stages()
    assert list(stages) == reference.attacks_to_run
    ce, targeted, fab, square = stages.values()
    assert isinstance(ce, APGD)
    assert (ce.loss, ce.steps, ce.restarts, ce.rho) == ("cross_entropy", 100, reference.apgd.n_restarts, 0.75)
    assert ce.steps == reference.apgd.n_iter
    assert isinstance(targeted, APGD)
    assert (targeted.loss, targeted.steps, targeted.restarts) == ("dlr", reference.apgd_targeted.n_iter, 1)
    assert targeted.targets_tried == reference.apgd_targeted.n_target_classes
    assert isinstance(fab, FAB)
    assert (fab.steps, fab.restarts, fab.targets_tried) == (
        reference.fab.n_iter,
        reference.fab.n_restarts,
        reference.fab.n_target_classes,
    )
    assert isinstance(square, Square)
    assert (square.queries, square.p_init) == (reference.square.n_queries, reference.square.p_init)
    reference = pyautoattack.AutoAttack(nn.Identity(), norm=REFERENCE_NORM[norm], eps=0.1, version="rand")
    stages = AutoAttack(ThreatModel(norm, 0.1), version="rand").stages()
    assert list(stages) == reference.attacks_to_run
    for stage, loss in zip(stages.values(), ("cross_entropy", "dlr"), strict=True):
        assert isinstance(stage, APGD)
        assert (stage.loss, stage.steps, stage.restarts) == (loss, 100, 1)
        assert stage.eot_samples == reference.apgd.eot_iter


@norms
def test_equals_its_stages_run_by_hand(norm: str, network: nn.Module) -> None:
    images, labels = stripes(60, seed=5)
    labels[:4] = (labels[:4] + 1) % 5  # wrong from the start
    attack = Short(ThreatModel(norm, EPS[norm]))
    seeds = torch.arange(60) * 7 + 1
    result = attack(network, images, labels, seeds=seeds, batch_size=17)

    standing = torch.ones(60, dtype=torch.bool)
    accuracies: dict[str, float] = {}
    with torch.no_grad():
        standing &= network(images).argmax(1) == labels
    accuracies["clean"] = float(standing.float().mean())
    broken_by = torch.where(standing, -1, 0)
    expected = images.clone()
    margin = Goal(labels).margin(Oracle(network).logits(images))
    for number, (name, stage) in enumerate(attack.stages().items(), start=1):
        rows = standing.nonzero().squeeze(1)
        alone = stage(network, images[rows], labels[rows], seeds=randomness.fold(seeds[rows], number))
        new_margin = Goal(labels[rows]).margin(Oracle(network).logits(alone.images))
        worse = alone.success | (new_margin > margin[rows])
        expected[rows[worse]], margin[rows[worse]] = alone.images[worse], new_margin[worse]
        standing[rows[alone.success]] = False
        broken_by[rows[alone.success]] = number
        accuracies[name] = float(standing.float().mean())

    assert result.robust_accuracy == accuracies
    assert list(result.robust_accuracy) == ["clean", "apgd-ce", "apgd-t", "fab-t", "square"]
    assert torch.equal(result.broken_by, broken_by)
    assert torch.equal(result.success, broken_by >= 0)
    assert torch.equal(result.images, expected)
    assert torch.equal(result.images[broken_by == 0], images[broken_by == 0])
    assert len(set(broken_by.tolist())) >= 4  # stages that break nothing would show nothing


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.029), ("l2", 0.55)])
def test_robust_accuracy_within_half_a_point_of_the_reference(norm: str, eps: float, network: nn.Module) -> None:
    """Both with smaller budgets; 200 samples, so that half a point is one of them."""
    images, labels = stripes(200, seed=6)
    ours = Short(ThreatModel(norm, eps), steps=15, queries=30)(network, images, labels)
    reference = pyautoattack.AutoAttack(network, norm=REFERENCE_NORM[norm], eps=eps, seed=0)
    common = {"n_iter": 15, "norm": REFERENCE_NORM[norm], "eps": eps, "device": "cpu"}
    reference.apgd = APGDAttack(network, **common)
    reference.apgd_targeted = APGDAttack_targeted(network, n_target_classes=2, **common)
    reference.fab = FABAttack_PT(network, n_target_classes=2, **common)
    reference.square.n_queries = 30
    adversarial, _ = reference.run_standard_evaluation(images, labels, batch_size=200)
    with torch.no_grad():
        theirs = (network(adversarial).argmax(1) == labels).float().mean()
    accuracy = 1 - ours.success.float().mean()
    assert 0.5 < accuracy < 0.95
    assert abs(accuracy - theirs) <= 0.005 + 1e-6


# ---- what each stage sees ----


@dataclass(frozen=True)
class Breaks(Attack):
    """A stage that takes down the samples whose seed says so, by showing the model the number of another class."""

    share: float = 0.5
    calls: list[tuple[int, int]] = field(default_factory=list)

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        self.calls.append((len(seeds), int(oracle.logits(ball.center).argmax(1).ne(goal.labels).sum())))
        breaks = randomness.uniform(seeds, (1, 1, 1)) < self.share
        return torch.where(breaks, ball.project(torch.zeros_like(ball.center)), ball.center)


class Brightness(nn.Module):
    """Class 1 above 0.5, else 0."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1)
        return torch.stack([torch.full_like(mean, 0.5), mean], 1)


@dataclass(frozen=True)
class Planted(AutoAttack):
    plan: tuple[Breaks, ...] = ()

    def stages(self) -> dict[str, Attack]:
        return {f"stage {i}": stage for i, stage in enumerate(self.plan, start=1)}


def planted(*shares: float) -> Planted:
    threat = ThreatModel("linf", 1.0)
    return Planted(threat, plan=tuple(Breaks(threat, share=share) for share in shares))


def bright(n: int) -> tuple[Tensor, Tensor]:
    return torch.full((n, 1, 2, 2), 0.75), torch.ones(n, dtype=torch.int64)


def test_a_stage_sees_only_what_stands_in_full_batches() -> None:
    attack = planted(0.4, 0.4, 0.4)
    result = attack(Brightness(), *bright(100), batch_size=16)
    left = 100
    for number, stage in enumerate(attack.plan, start=1):
        assert [size for size, _ in stage.calls] == [16] * (left // 16) + [left % 16] * (left % 16 > 0)
        assert sum(wrong for _, wrong in stage.calls) == 0
        left -= int((result.broken_by == number).sum())
    assert 0 < left < 40
    assert left == int((~result.success).sum())


def test_when_all_are_broken_early_later_stages_see_nothing_and_are_still_reported() -> None:
    attack = planted(1.0, 0.5)
    lines: list[Progress] = []
    result = attack(Brightness(), *bright(20), progress=lines.append)
    assert attack.plan[1].calls == []
    assert result.robust_accuracy == {"clean": 1.0, "stage 1": 0.0, "stage 2": 0.0}
    assert lines == [
        Progress("clean", 20, 20, 1.0),
        Progress("stage 1", 20, 20, 0.0),
        Progress("stage 2", 0, 0, 0.0),
    ]


def test_progress_is_told_after_each_batch_and_stage() -> None:
    attack = planted(0.5)
    lines: list[Progress] = []
    result = attack(Brightness(), *bright(50), batch_size=20, progress=lines.append)
    assert [line[:3] for line in lines] == [
        (stage, done, 50) for stage in ("clean", "stage 1") for done in (20, 40, 50)
    ]
    ends = {line.stage: line.robust_accuracy for line in lines if line.attacked == line.of}
    assert ends == result.robust_accuracy


def test_memory_that_runs_out_halves_the_batch_and_loses_nothing(network: nn.Module) -> None:
    class Small(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 20:
                raise torch.OutOfMemoryError("planted")
            return network(images)

    images, labels = stripes(33, seed=4)
    attack = Short(ThreatModel("linf", EPS["linf"]))
    whole = attack(network, images, labels)
    halved = attack(Small(), images, labels, batch_size="auto")
    assert torch.equal(halved.images, whole.images)
    assert torch.equal(halved.broken_by, whole.broken_by)


@norms
def test_a_sample_gets_the_same_bytes_in_any_batch(norm: str, network: nn.Module) -> None:
    images, labels = stripes(24, seed=4)
    seeds = randomness.sample_seeds(7, map(str, range(24)), "attack")
    attack = Short(ThreatModel(norm, EPS[norm]), steps=4, queries=10)
    whole = attack(network, images, labels, seeds=seeds)
    for rows, size in ((slice(3, 4), None), (slice(0, 24), 7)):
        part = attack(network, images[rows], labels[rows], seeds=seeds[rows], batch_size=size)
        assert torch.equal(part.images, whole.images[rows])
        assert torch.equal(part.broken_by, whole.broken_by[rows])


# ---- the saved state ----


class Killed(BaseException):
    """Not an Exception: nobody catches it on the way."""


class KilledAt(nn.Module):
    """The network, until its n-th call."""

    def __init__(self, inner: nn.Module, calls: int) -> None:
        super().__init__()
        self.inner, self.calls = inner, calls

    def forward(self, images: Tensor) -> Tensor:
        self.calls -= 1
        if self.calls < 0:
            raise Killed
        return self.inner(images)


def test_resumes_to_the_same_bytes_after_a_kill_at_every_batch(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoattack_state, "_SECONDS_BETWEEN_SAVES", 0)
    images, labels = stripes(40, seed=5)
    attack = Short(ThreatModel("linf", EPS["linf"]), steps=2, queries=4)
    seeds = torch.arange(40) + 3
    lines: list[Progress] = []
    whole = attack(network, images, labels, seeds=seeds, batch_size=16, progress=lines.append)
    assert len({line.stage for line in lines if line.attacked < line.of}) == 5

    for kill in range(1, len(lines) + 1):
        path, told = tmp_path / f"{kill}.safetensors", []

        def killing(line: Progress, told: list[Progress] = told, kill: int = kill) -> None:
            told.append(line)
            if len(told) == kill:
                raise Killed

        with pytest.raises(Killed):
            attack(network, images, labels, seeds=seeds, batch_size=16, state=path, progress=killing)
        told.clear()
        again = attack(network, images, labels, seeds=seeds, batch_size=16, state=path, progress=told.append)
        assert_equal(again, whole)
        done = [line for line in lines[:kill] if line.attacked == line.of]
        assert told == done + lines[kill:]  # nothing is done twice, and what is done is told again


@pytest.mark.parametrize("seconds", [0, 60])
def test_resumes_to_the_same_bytes_after_a_kill_anywhere(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """In the middle of batches too, several times in one run; with seldom saves, batches are done again."""
    monkeypatch.setattr(autoattack_state, "_SECONDS_BETWEEN_SAVES", seconds)
    images, labels = stripes(40, seed=5)
    attack = Short(ThreatModel("l2", EPS["l2"]), steps=3, queries=6)
    model = KilledAt(network, 10**6)
    whole = attack(model, images, labels, batch_size=16)
    path, kills = tmp_path / "state.safetensors", 0
    for life in range(11, 10**6, 3):  # each life is a little longer
        model.calls = life
        try:
            again = attack(model, images, labels, batch_size=16, state=path)
        except Killed:
            kills += 1
            continue
        break
    assert kills >= 5
    assert_equal(again, whole)
    # A finished state costs nothing but a look at the model, and holds the images.
    model.calls = 2
    assert_equal(attack(model, images, labels, batch_size=16, state=path), whole)
    with safetensors.safe_open(path, framework="pt") as file:
        assert torch.equal(file.get_tensor("images"), whole.images)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.safetensors"]  # nothing half-written lies about


class Noisy(nn.Module):
    """A randomised model: its random numbers come from the global state."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images) + 0.05 * torch.randn(len(images), 5)


def test_a_randomised_models_run_resumes_to_the_same_bytes(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoattack_state, "_SECONDS_BETWEEN_SAVES", 0)
    images, labels = stripes(40, seed=5)
    attack = Short(ThreatModel("linf", 0.03), version="rand", steps=2)
    model = KilledAt(Noisy(network), 10**6)
    whole = attack(model, images, labels, batch_size=20)
    used = 10**6 - model.calls
    path = tmp_path / "state"
    model.calls = int(used * 0.8)
    with pytest.raises(Killed):
        attack(model, images, labels, batch_size=20, state=path)
    model.calls = 10**6
    assert_equal(attack(model, images, labels, batch_size=20, state=path), whole)
    assert 10**6 - model.calls < used / 2


@pytest.fixture
def saved(network: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "state.safetensors"
    Short(ThreatModel("linf", 0.03), steps=1, queries=2)(network, *stripes(8, seed=5), state=path)
    return path


@pytest.mark.parametrize(
    ("other", "part"),
    [
        ("model", "the model"),
        ("kind", "the model"),
        ("images", "the images"),
        ("labels", "the labels"),
        ("targets", "the targets"),
        ("seeds", "the seeds"),
        ("eps", "the settings"),
        ("version", "the settings"),
        ("precision", "the settings"),
        ("norm", "the settings"),
    ],
)
def test_the_state_of_another_call_is_refused(network: nn.Module, saved: Path, other: str, part: str) -> None:
    before = saved.read_bytes()
    images, labels = stripes(8, seed=5)
    attack, model, keywords = Short(ThreatModel("linf", 0.03), steps=1, queries=2), network, {}
    if other == "model":
        model = small_network(seed=1)
    elif other == "kind":
        model = nn.Sequential(*list(network)[:-2], nn.Tanh(), network[-1])
    elif other == "images":
        images = images.clone()
        images[3, 0, 0, 0] += 1e-6
    elif other == "labels":
        labels = labels.roll(1)
    elif other == "targets":
        keywords = {"targets": (labels + 1) % 5}
    elif other == "seeds":
        keywords = {"seeds": torch.arange(8) + 1}
    else:
        changed = {
            "eps": {"threat": ThreatModel("linf", 0.031)},
            "norm": {"threat": ThreatModel("l2", 0.03)},
            "version": {"version": "rand"},
            "precision": {"precision": "bfloat16"},
        }[other]
        attack = replace(attack, **changed)
    with pytest.raises(RobustAugError, match=f"state of another AutoAttack: it differs in {part}") as caught:
        attack(model, images, labels, state=saved, **keywords)
    assert "\n" not in str(caught.value)
    assert saved.read_bytes() == before


@pytest.mark.parametrize("damage", ["torn", "text", "foreign", "old", "empty", "folder"])
def test_a_damaged_state_gets_one_clear_line(network: nn.Module, saved: Path, damage: str) -> None:
    content = saved.read_bytes()
    if damage == "torn":
        saved.write_bytes(content[: len(content) // 2])
    elif damage == "text":
        saved.write_text("not a state")
    elif damage == "foreign":
        safetensors.torch.save_file({"x": torch.zeros(1)}, saved)
    elif damage == "old":
        saved.write_bytes(content.replace(b'\\"format\\": 1', b'\\"format\\": 0'))
    elif damage == "empty":
        saved.write_bytes(b"")
    else:
        saved.unlink()
        saved.mkdir()
    attack = Short(ThreatModel("linf", 0.03), steps=1, queries=2)
    with pytest.raises(RobustAugError, match="delete it") as caught:
        attack(network, *stripes(8, seed=5), state=saved)
    assert "\n" not in str(caught.value)


def test_a_path_that_cannot_be_written_is_known_before_the_work(network: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model = KilledAt(network, 2)  # two looks at the model, and no more
    with pytest.raises(RobustAugError, match="cannot write"):
        Short(ThreatModel("linf", 0.03))(model, *stripes(8, seed=5), state=tmp_path / "file" / "state")


# ---- what breaks others ----


@norms
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_classes(norm: str, precision: str) -> None:
    """The worst case of a linear model is known."""
    generator = torch.Generator().manual_seed(0)
    model = Linear(torch.randn(3, 6, 6, generator=generator))
    images = 0.4 + 0.2 * torch.rand(40, 3, 6, 6, generator=generator)
    labels = torch.arange(40) % 2
    eps = {"linf": 0.004, "l2": 0.04, "l1": 0.15}[norm]
    dual = {"linf": model.weight.abs().sum(), "l2": model.weight.norm(), "l1": model.weight.abs().max()}[norm]
    with torch.no_grad():
        lead = torch.where(labels == 0, 1, -1) * model(images)[:, 1]
    result = Short(ThreatModel(norm, eps), precision=precision, steps=30)(model, images, labels)
    decided = (lead + eps * dual).abs() > 0.02
    assert torch.equal(result.success[decided], (lead + eps * dual > 0)[decided])
    assert torch.equal(result.broken_by == 0, lead > 0)
    assert 0.05 < result.success[lead <= 0].float().mean() < 0.95
    assert result.stages[-1] == ("square" if precision == "float32" else "float32")


@norms
def test_three_classes(norm: str) -> None:
    class Three(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :3]

    images = torch.full((6, 1, 4, 4), 0.5)
    images[:, 0, 0, 0] = torch.tensor([0.52, 0.55, 0.58, 0.62, 0.65, 0.7])  # leads by 0.02 to 0.2
    eps = {"linf": 0.05, "l2": 0.1 / 2**0.5, "l1": 0.1}[norm]  # a lead of 0.1 is the most that can be lost
    result = Short(ThreatModel(norm, eps), steps=30, queries=100)(Three(), images, torch.zeros(6).long())
    assert torch.equal(result.success, torch.tensor([1, 1, 1, 0, 0, 0]).bool())


def test_gradients_of_zero_leave_it_to_the_square_attack() -> None:
    class Masked(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            mean = images.flatten(1).mean(1)
            return torch.stack([(mean > 0.5).float(), (mean <= 0.5).float()], 1) + 0 * mean[:, None]

    images = torch.linspace(0.52, 0.9, 20)[:, None, None, None].expand(-1, 3, 8, 8).clone()
    result = Short(ThreatModel("linf", 0.2), queries=150)(Masked(), images, torch.zeros(20).long())
    by_square = result.broken_by == result.stages.index("square")
    assert by_square.any()
    assert not result.success[images[:, 0, 0, 0] > 0.71].any()


def test_logits_so_large_that_the_cross_entropy_is_flat_are_left_to_apgd_t(network: nn.Module) -> None:
    class Loud(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return network(images) * 1e4

    images, labels = stripes(40, seed=7)
    plain = Short(ThreatModel("linf", EPS["linf"]), steps=20)(network, images, labels)
    loud = Short(ThreatModel("linf", EPS["linf"]), steps=20)(Loud(), images, labels)
    assert loud.robust_accuracy["apgd-ce"] > plain.robust_accuracy["apgd-ce"]
    assert abs(loud.robust_accuracy["square"] - plain.robust_accuracy["square"]) <= 0.051


def test_a_randomised_model_is_told_to_use_rand(network: nn.Module) -> None:
    with pytest.raises(RobustAugError, match='use version="rand"'):
        AutoAttack(ThreatModel("linf", 0.03))(Noisy(network), *stripes(8, seed=5))


def test_the_rand_version_averages_20_evaluations_and_drops_none_within_a_stage(network: nn.Module) -> None:
    images, labels = stripes(30, seed=5)
    attack = Short(ThreatModel("linf", 0.03), version="rand", steps=4)
    result = attack(Noisy(network), images, labels)
    given = [int(((result.broken_by < 0) | (result.broken_by >= stage)).sum()) for stage in (1, 2)]
    assert result.backward_passes == sum(given) * 5 * 20
    assert list(result.robust_accuracy) == ["clean", "apgd-ce", "apgd-dlr"]
    plain = APGD(ThreatModel("linf", 0.03), steps=4, loss="dlr")(network, images, labels)
    assert abs((~result.success).float().mean() - (~plain.success).float().mean()) < 0.2


def test_targets_of_the_caller(network: nn.Module) -> None:
    images, labels = stripes(40, seed=5)
    targets = (labels + 1) % 5
    result = Short(ThreatModel("linf", 0.03), steps=20)(network, images, labels, targets=targets)
    assert torch.equal(result.success, result.predictions == targets)
    assert 0 < result.success.float().mean() < 1


def test_each_sample_has_its_own_radius(network: nn.Module) -> None:
    images, labels = stripes(30, seed=5)
    eps = torch.linspace(0, 0.06, 30)
    result = Short(ThreatModel("linf", eps))(network, images, labels, batch_size=7)
    assert (result.distance <= eps + 1e-6).all()
    each = [
        Short(ThreatModel("linf", float(eps[i])))(
            network, images[i : i + 1], labels[i : i + 1], seeds=torch.tensor([i])
        )
        for i in (0, 10, 29)
    ]
    for i, alone in zip((0, 10, 29), each, strict=True):
        assert torch.equal(alone.images[0], result.images[i])
        assert int(alone.broken_by) == int(result.broken_by[i])


def test_no_samples(network: nn.Module, tmp_path: Path) -> None:
    attack = AutoAttack(ThreatModel("linf", 0.1))
    result = attack(network, torch.zeros(0, 3, 16, 16), torch.zeros(0).long(), state=tmp_path / "state")
    assert result.images.shape == (0, 3, 16, 16)
    assert result.success.dtype == torch.bool
    assert result.broken_by.shape == (0,)
    assert result.stages == ("clean", "apgd-ce", "apgd-t", "fab-t", "square")
    assert not (tmp_path / "state").exists()


def test_an_unknown_version() -> None:
    with pytest.raises(RobustAugError, match="version 'plus' is unknown; use one of standard, rand"):
        AutoAttack(ThreatModel("linf", 0.1), version="plus")  # type: ignore[arg-type]


def test_perturb_gives_the_same_images_and_moves_no_random_state(network: nn.Module) -> None:
    images, labels = stripes(12, seed=5)
    attack = Short(ThreatModel("linf", EPS["linf"]))
    state = torch.get_rng_state()
    called = attack(network, images, labels).images
    assert torch.equal(attack.perturb(network, images, labels), called)
    assert torch.equal(torch.get_rng_state(), state)
    network.train()
    try:
        assert torch.equal(attack.perturb(network, images, labels), called)
        assert network.training
    finally:
        network.eval()


# ---- bfloat16, and the budget ----


@norms
def test_a_search_in_bfloat16_has_float32_verdicts_and_ends_where_float32_does(norm: str, network: nn.Module) -> None:
    images, labels = stripes(60, seed=6)
    threat = ThreatModel(norm, {"linf": 0.033, "l2": 0.62, "l1": 5.0}[norm])
    low = Short(threat, "bfloat16", steps=12)(network, images, labels, batch_size=40)
    full = Short(threat, steps=12)(network, images, labels)
    with torch.no_grad():
        assert torch.equal(low.predictions, network(low.images).argmax(1))
    assert torch.equal(low.success, low.predictions != labels)
    assert low.stages == (*full.stages, "float32")
    assert low.success.sum() >= full.success.sum() - 1
    assert (low.broken_by == len(low.stages) - 1).sum() <= 8


class Plateau(nn.Module):
    """Of class 0 around the even grey image, by a hair and without a gradient; of class 1 a little further out."""

    def forward(self, images: Tensor) -> Tensor:
        beyond = ((images - 0.5).abs().flatten(1).mean(1) - 0.01).clamp_min(0)
        return torch.stack([torch.full_like(beyond, 0.001), beyond, torch.full_like(beyond, -1)], dim=1)


def test_the_finish_also_starts_afresh() -> None:
    """From a point without a gradient nothing leads on, and a random start is beyond the plateau."""
    images, labels = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64)
    threat = ThreatModel("linf", 0.1)
    model = Plateau()
    found = AutoAttack(threat, "bfloat16")._finish(
        Oracle(model, torch.bfloat16), Ball.around(images, threat), Goal(labels, None), torch.arange(2), images.clone()
    )
    assert (model(found).argmax(1) == 1).all()


def rounds(attack: AutoAttack, network: nn.Module) -> Iterator[tuple[AutoAttackResult, int]]:
    images, labels = stripes(40, seed=5)
    yield attack(network, images, labels), 40
    yield attack(network, images[:1], labels[:1]), 1


@norms
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_sample_costs_more_than_the_budget(norm: str, precision: str, network: nn.Module) -> None:
    attack = Short(ThreatModel(norm, 1e-4), precision)  # nothing breaks
    budget = attack.budget(classes=5)
    for result, n in rounds(attack, network):
        assert result.broken_by.amax() <= 0
        looks = 2 * min(n, 4)
        assert result.forward_passes <= n * budget.forward + looks
        assert result.backward_passes <= n * budget.backward
        if precision == "float32":
            assert result.forward_passes > 0.7 * n * budget.forward  # not any bound


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_image_that_the_model_sees_is_counted(precision: str, network: nn.Module) -> None:
    class Counter(nn.Module):
        count = 0

        def forward(self, images: Tensor) -> Tensor:
            self.count += len(images)
            return network(images)

    model = Counter()
    result = Short(ThreatModel("linf", 1e-4), precision)(model, *stripes(40, seed=5))  # nothing breaks: full batches
    assert result.forward_passes == model.count


def test_the_budget_of_the_standard_version() -> None:
    """With ten classes: 101 + 909 + 909 gradients, 5000 queries, and the verdicts."""
    forward, backward = AutoAttack(ThreatModel("linf", 0.1)).budget(classes=10)
    assert backward == 101 + 9 * 101 + 9 * 101
    assert backward + 5000 < forward < 1.05 * (backward + 5000)
    assert AutoAttack(ThreatModel("linf", 0.1)).budget(classes=2).backward == 3 * 101
    assert AutoAttack(ThreatModel("l1", 0.1)).budget(classes=10).backward == 5 * 103 + 5 * 103 + 9 * 101
    assert AutoAttack(ThreatModel("linf", 0.1), version="rand").budget(classes=10).backward == 2 * 20 * 101
