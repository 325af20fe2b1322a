"""Choosing an objective: which names give what, and every mistake in one line."""

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from training_cases import network, run, squares

from robustaug.attacks import FGSM, PGD, ThreatModel
from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.experiment import arms
from robustaug.experiment.config import ExperimentConfig, parse_config
from robustaug.training import TrainingSettings
from robustaug.training.objectives import (
    MART,
    OBJECTIVES,
    TRADES,
    AdversarialTraining,
    Free,
    NoiseFGSM,
    Objective,
    RandomStartFGSM,
    WeightPerturbation,
)

MIX = Mix(0.5, 0, 0.5)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, AdversarialTraining()),
        ({"objective": "rs_fgsm"}, RandomStartFGSM()),
        ({"objective": "n_fgsm"}, NoiseFGSM(noise=2.0)),
        ({"objective": "n_fgsm", "noise": 1.0}, NoiseFGSM(noise=1.0)),
        ({"objective": "free"}, Free(replays=8)),
        ({"objective": "free", "replays": 4}, Free(replays=4)),
        ({"objective": "trades"}, TRADES(beta=6.0)),
        ({"objective": "mart"}, MART(beta=5.0)),
        ({"objective": "mart", "beta": 0.0, "label_smoothing": 0.1}, MART(beta=0.0, label_smoothing=0.1)),
        ({"objective": "trades", "awp": 0.005}, WeightPerturbation(TRADES(), 0.005)),
    ],
)
def test_what_the_settings_build(chosen: dict[str, Any], expected: Objective) -> None:
    assert TrainingSettings(**chosen).build_objective() == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "pdg"}, "training.objective is 'pdg'; use one of pgd, rs_fgsm, n_fgsm, free, trades, mart"),
        ({"beta": 6.0}, "training.beta belongs to the objective trades or mart, not to pgd; remove it"),
        ({"objective": "free", "beta": 6.0}, "training.beta belongs to the objective trades or mart, not to free"),
        ({"objective": "trades", "noise": 2.0}, "training.noise belongs to the objective n_fgsm, not to trades"),
        ({"objective": "mart", "replays": 2}, "training.replays belongs to the objective free, not to mart"),
        ({"objective": "trades", "beta": -1.0}, "training.beta is -1; it is the weight of the divergence, 0 or larger"),
        ({"objective": "mart", "beta": float("nan")}, "training.beta is nan"),
        ({"objective": "n_fgsm", "noise": 0.0}, "training.noise is 0; it is a multiple of eps, larger than 0"),
        ({"objective": "n_fgsm", "noise": float("inf")}, "training.noise is inf"),
        ({"objective": "free", "replays": 0}, "training.replays is 0; it must be a whole number, at least 1"),
        ({"awp": -0.1}, "training.awp is -0.1; it is a share of the weights' size, 0 to below 1"),
        ({"awp": 1.0}, "training.awp is 1;"),
        ({"awp": float("nan")}, "training.awp is nan"),
        ({"attack_mode": "test"}, "training.attack_mode is 'test'; use eval or train"),
        ({"label_smoothing": 1.0}, "training.label_smoothing is 1.0; it is a share, 0 to below 1"),
        ({"label_smoothing": float("nan")}, "training.label_smoothing is nan"),
        ({"ema": 1.0}, "training.ema is 1.0; it is a share, 0 to below 1"),
        ({"ema": -0.5}, "training.ema is -0.5"),
        ({"gradient_clip": 0.0}, "training.gradient_clip is 0.0; it must be larger than 0, or not set"),
        ({"gradient_clip": float("nan")}, "training.gradient_clip is nan"),
    ],
)
def test_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustAugError, match=message) as caught:
        TrainingSettings(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name != "pgd"])
def test_an_objective_without_an_adversarial_share(tmp_path: Path, objective: Any) -> None:
    message = f"the objective {objective} needs adversarial rows, but there is no adversarial share; give the mix one"
    with pytest.raises(RobustAugError, match=message):
        run(tmp_path, network(), Mix(), objective=objective)
    with pytest.raises(RobustAugError, match=r"adversarial share of 0\.5 but there is no attack"):
        run(tmp_path, network(), MIX, objective=objective, attack=None)
    assert not list(tmp_path.iterdir())


def test_advprop_without_an_adversarial_share(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match="advprop needs adversarial rows"):
        run(tmp_path, network(), Mix(), advprop=True)


def test_trades_with_another_attack(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match="the objective trades climbs its own loss with the steps of PGD"):
        run(tmp_path, network(), MIX, objective="trades", awp=0.01, attack=FGSM(ThreatModel("linf", 0.1)))
    assert not list(tmp_path.iterdir())


def config(training: dict[str, Any], **arms: dict[str, float]) -> ExperimentConfig:
    content: dict[str, Any] = {"data": {"source": "x"}, "training": training}
    return parse_config(content | ({"arms": arms} if arms else {}), "job.toml")


@pytest.mark.parametrize(
    ("training", "arms", "message"),
    [
        ({"objective": "madry"}, {}, "job.toml: 'training.objective' = 'madry': .*'pgd', 'rs_fgsm', 'n_fgsm', 'free'"),
        ({"bta": 6.0}, {}, "job.toml: unknown key 'training.bta'; the nearest known one is 'training.beta'"),
        ({"replays": 2.5}, {}, "job.toml: 'training.replays' = 2.5: "),
        ({"objective": "trades", "beta": float("nan")}, {}, "job.toml: 'training.beta' = nan: .*finite"),
        ({"beta": 6.0}, {}, "job.toml: training.beta belongs to the objective trades or mart, not to pgd"),
        (
            {"objective": "trades"},
            {"a": {}, "b": {"stylised": 0.5}},
            "job.toml: the objective trades needs adversarial",
        ),
        ({"advprop": True}, {"all": {"adversarial": 1.0}}, "job.toml: arms.all: training.advprop keeps adversarial"),
    ],
)
def test_mistakes_in_a_configuration(training: dict[str, Any], arms: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustAugError, match=message) as caught:
        config(training, **arms)
    assert "\n" not in str(caught.value)
    assert "more)" not in str(caught.value)


def test_a_configuration_round_trips() -> None:
    given = config({"objective": "trades", "beta": 4, "awp": 0.01, "attack_mode": "train", "gradient_clip": 1})
    assert given.training.build_objective() == WeightPerturbation(TRADES(beta=4.0), 0.01)
    assert parse_config(tomllib.loads(given.to_toml()), "again") == given
    assert isinstance(given.training.attack(given.threat.model()), PGD)


def test_an_arm_without_adversarial_rows_is_trained_as_ever() -> None:
    training = config({"objective": "free", "replays": 4, "awp": 0.01, "advprop": False, "steps": 7}).training
    assert training.standard().build_objective() == AdversarialTraining()
    assert training.standard() == config({"steps": 7}).training
    assert config({"label_smoothing": 0.1}).training.standard().label_smoothing == 0.1


@pytest.mark.parametrize(("name", "share"), [("plain", 0.0), ("attacked", 0.5)])
def test_the_pipeline_gives_each_arm_its_objective(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, share: float
) -> None:
    chosen = config({"objective": "trades", "awp": 0.01}, plain={}, attacked={"adversarial": 0.5})
    told: list[TrainingSettings] = []

    def training(*_: Any, settings: TrainingSettings, **__: Any) -> None:
        told.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(arms, "train", training)
    prepared: Any = SimpleNamespace(
        run=SimpleNamespace(arm=lambda arm: tmp_path / arm, called=lambda arm: arm, say=lambda text: None),
        config=chosen,
        data=SimpleNamespace(train=squares(24), validation=squares(10, seed=1)),
        untrained=network(),
        balance_of=lambda arm: None,
    )
    with pytest.raises(KeyboardInterrupt):
        arms.trained(prepared, None, name)
    assert told == [chosen.training if share else chosen.training.standard()]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_attack_mode_reaches_the_attack(tmp_path: Path, mode: Any) -> None:
    met: list[bool] = []
    model = network()
    model.register_forward_hook(lambda module, _, out: met.append(module.training) if len(out) == 16 else None)
    # An attack pads a few rows to 16; validation attacks, in eval mode, follow the step.
    run(tmp_path, model, MIX, steps=1, attack_mode=mode)
    assert met[:2] == [mode == "train"] * 2
    assert not any(met[2:])


def test_weight_perturbation_passes_on_what_its_objective_needs() -> None:
    for inner in (Free(replays=3), TRADES(), AdversarialTraining()):
        around = WeightPerturbation(inner, 0.01)
        assert (around.replays, around.needs_others) == (inner.replays, inner.needs_others)
    assert (Free(replays=3).replays, TRADES().needs_others, Free().needs_others) == (3, False, True)


def test_gradients_are_clipped_to_their_norm(tmp_path: Path) -> None:
    """One step of SGD, rate 1: its length is 1.9 times the gradient's norm (Nesterov's first step), or the clip."""
    sgd: dict[str, Any] = {"optimizer": "sgd", "warmup": 1.0, "learning_rate": 1.0, "weight_decay": 0.0, "steps": 1}
    lengths: list[Tensor] = []
    ways: list[Tensor] = []
    for clip in (None, 0.01):
        model = network(dropout=0.0)
        before = [value.detach().clone() for value in model.parameters()]
        run(tmp_path / str(clip), model, Mix(), **sgd, gradient_clip=clip)
        moves = [(a.detach() - b).flatten() for a, b in zip(model.parameters(), before, strict=True)]
        lengths.append(torch.cat(moves).norm())
        ways.append(torch.cat(moves) / lengths[-1])
    assert lengths[0] > 0.1
    assert float(lengths[1]) == pytest.approx(1.9 * 0.01, rel=1e-3)
    assert torch.allclose(*ways, atol=1e-3)
