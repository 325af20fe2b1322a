"""Free adversarial training against a loop written out by hand, and what it carries."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from objective_cases import learning, linear, task
from torch import Tensor, nn
from torch.nn import functional as F
from training_cases import THREAT, composite, network, run, settings

from robustaug.attacks import PGD, ThreatModel
from robustaug.data import Mix
from robustaug.training.objectives import Free

MIX = Mix(0.25, 0.25, 0.5)
OPTIONS: dict[str, Any] = {"objective": "free", "optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0.0}


def by_hand(model: nn.Module, replays: int, steps: int) -> Tensor:
    """Algorithm 1 of the paper with the loop's own optimiser: Nesterov momentum 0.9."""
    told, eps = settings(**OPTIONS, steps=steps), 0.1
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    delta = torch.zeros(4, 3, 8, 8)
    model.train()
    for step in range(steps):
        batch = composite(MIX).batch(step // replays, 8)
        x = batch.images.clone()
        x[4:] = (x[4:] + delta).clamp(0, 1)
        x.requires_grad_()
        gradients = torch.autograd.grad(F.cross_entropy(model(x), batch.labels), [x, *model.parameters()])
        with torch.no_grad():
            for parameter, gradient, v in zip(model.parameters(), gradients[1:], velocity, strict=True):
                v.mul_(0.9).add_(gradient)
                parameter.sub_(told.learning_rate_at(step) * (gradient + 0.9 * v))
            delta = (delta + eps * gradients[0][4:].sign()).clamp(-eps, eps)
    return delta


@pytest.mark.parametrize(("replays", "steps"), [(1, 4), (3, 8)])
def test_free_is_the_papers_loop(tmp_path: Path, replays: int, steps: int) -> None:
    reference = network(dropout=0.0)
    run(tmp_path, network(dropout=0.0), MIX, **OPTIONS, steps=steps, replays=replays, validate_every=steps)
    delta = by_hand(reference, replays, steps)
    state = safetensors.torch.load_file(tmp_path / "state.safetensors")
    for name, value in reference.state_dict().items():
        assert torch.allclose(state[f"model.{name}"], value, atol=1e-6), name
    assert delta.abs().max() == pytest.approx(0.1)
    assert torch.allclose(state["best.learner:rows.perturbation"], delta, atol=1e-7)


def test_each_replay_sees_the_same_augmented_batch(tmp_path: Path) -> None:
    """Only the perturbed rows differ between replays."""
    seen: list[Tensor] = []
    model = network()
    model.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()) if module.training else None)
    run(tmp_path, model, MIX, **OPTIONS, replays=2, steps=4, flip=True, shift=1)
    assert torch.equal(seen[0][:4], seen[1][:4])
    assert torch.equal(seen[2][:4], seen[3][:4])
    assert not torch.equal(seen[1][:4], seen[2][:4])
    assert not torch.equal(seen[0][4:], seen[1][4:])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_perturbation_stays_in_the_ball(norm: Any) -> None:
    learner = learning(linear())
    given = task(attack=PGD(ThreatModel(norm, 0.5)))
    lengths = {"linf": torch.inf, "l2": 2, "l1": 1}
    for number in range(3):
        shown = Free().perturbed(learner, given)
        assert shown.min() >= 0
        assert shown.max() <= 1
        Free().gradients(learner, given, shown)
        carried = learner.carried_rows["perturbation"]
        length = torch.linalg.vector_norm(carried.flatten(1), ord=lengths[norm], dim=1)
        assert (length <= 0.5 + 1e-5).all()
        assert (length > 0.45).all(), number


def test_a_smaller_eps_of_the_warm_up_cuts_what_was_carried() -> None:
    learner = learning(linear())
    for eps in (0.1, 0.02):
        given = task(attack=PGD(ThreatModel("linf", eps)))
        Free().gradients(learner, given, Free().perturbed(learner, given))
        assert learner.carried_rows["perturbation"].abs().max() <= eps


def test_free_around_the_threat_takes_no_attack_steps() -> None:
    learner = learning(linear())
    one = Free().perturbed(learner, task(attack=PGD(THREAT, steps=1)))
    assert torch.equal(one, task().images[5:])  # nothing is carried yet
