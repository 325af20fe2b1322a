"""AdvProp: which batch norms see which images, and which are kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from objective_cases import learning, linear, shifted, task
from torch import Tensor, nn
from training_cases import THREAT, Planted, composite, network, run

from robustaug.attacks.oracle import Oracle
from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.training.objectives import TRADES, AdversarialTraining, AuxiliaryNorms, Learner, Objective, Task

MIX = Mix(0.25, 0.25, 0.5)


def given_task() -> Task:
    return replace(task(), labels=torch.arange(8) % 2)


def moved_statistics(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Of a fresh batch norm (mean 0, variance 1, momentum 0.1) that has seen these images once."""
    with torch.no_grad():
        seen = model[0](images).transpose(0, 1).flatten(1)
    return 0.1 * seen.mean(1), 0.9 + 0.1 * seen.var(1)


def with_auxiliary(model: nn.Module) -> Learner:
    return learning(model, auxiliary=AuxiliaryNorms(model))


@pytest.mark.parametrize("objective", [AdversarialTraining(), TRADES()])
def test_main_statistics_see_clean_images_alone(objective: Objective) -> None:
    model: Any = network(dropout=0.0)
    learner, given = with_auxiliary(model), given_task()
    images = shifted(given)
    objective.gradients(learner, given, images)
    # With TRADES, the adversarial rows before the attack are clean images too.
    clean = given.images if isinstance(objective, TRADES) else given.images[:5]
    assert learner.auxiliary is not None
    for norm, shown in ((model[1], clean), (learner.auxiliary.copies[0], images)):
        mean, variance = moved_statistics(model, shown)
        assert torch.allclose(norm.running_mean, mean, atol=1e-6)
        assert torch.allclose(norm.running_var, variance, atol=1e-6)
        assert norm.num_batches_tracked == 1
        assert norm.weight.grad is not None


def test_rows_come_back_in_their_order() -> None:
    """Adversarial rows need not be the last."""
    model: Any = network(dropout=0.0)
    learner = learning(model, auxiliary=AuxiliaryNorms(model))
    rows, images = torch.tensor([1, 4, 6]), given_task().images
    others = torch.tensor([0, 2, 3, 5, 7])
    logits = learner.forward_mixed(images, rows)
    assert torch.allclose(logits[rows], learner.forward_adversarial(images[rows]), atol=1e-6)
    assert torch.allclose(logits[others], learner.forward(images[others]), atol=1e-6)


def test_adversarial_images_are_found_through_the_auxiliary_norms() -> None:
    met: list[nn.Module] = []
    attack = Planted(THREAT, look=lambda oracle: met.append(oracle.model[1]))  # type: ignore[index]
    model: Any = network()
    learner, main = with_auxiliary(model), model[1]
    AdversarialTraining().perturbed(learner, replace(given_task(), attack=attack))
    assert learner.auxiliary is not None
    assert met == [learner.auxiliary.copies[0]]
    assert model[1] is main
    assert learner.auxiliary.copies[0].training


def test_one_batch_norm_in_two_places_gets_one_copy() -> None:
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(norm, nn.Sequential(nn.ReLU(), norm), nn.Flatten(), nn.Linear(192, 2))
    auxiliary = AuxiliaryNorms(model)
    assert len(auxiliary.copies) == 1
    with auxiliary.in_place():
        assert model[0] is model[1][1] is auxiliary.copies[0]
    assert model[0] is model[1][1] is norm


def test_a_run_keeps_the_main_norms_and_moves_both(tmp_path: Path) -> None:
    """Validation and the checkpoint know the main batch norms alone; the state holds both."""
    model: Any = network()
    names = [*model.state_dict()]
    validated: list[bool] = []
    main = model[1]

    def look(oracle: Oracle) -> None:
        validated.append(oracle.model[1] is main)  # type: ignore[index]

    run(tmp_path, model, MIX, advprop=True, steps=2, attack=Planted(THREAT, look=look))
    assert [*model.state_dict()] == names
    assert model[1] is main
    assert validated == [False, False, True]  # two steps, then a look at the validation split
    state = safetensors.torch.load_file(tmp_path / "state.safetensors")
    auxiliary = {name.rpartition(".")[2]: value for name, value in state.items() if "learner:norms" in name}
    assert set(auxiliary) == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert not torch.equal(auxiliary["weight"], torch.ones(4))  # the optimiser moves it
    assert not torch.equal(auxiliary["running_mean"], state["model.1.running_mean"])
    assert auxiliary["num_batches_tracked"] == state["model.1.num_batches_tracked"] == 2


def test_shares_stay_exact_in_the_loss() -> None:
    """Without batch norms' own doing (eval mode), separate passes give the joint pass's loss."""
    model: Any = network()
    learner = learning(model, auxiliary=AuxiliaryNorms(model))
    model.eval()
    assert learner.auxiliary is not None
    learner.auxiliary.eval()
    given = given_task()
    images = shifted(given)
    apart = AdversarialTraining().terms(learner, given, images)
    joint = AdversarialTraining().terms(Learner(model), given, images)
    assert apart.loss.item() == pytest.approx(joint.loss.item(), rel=1e-6)
    assert torch.allclose(apart.logits, joint.logits, atol=1e-6)


def test_a_network_without_batch_norms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match="advprop gives adversarial images their own batch norms, but the network"):
        run(tmp_path, linear(classes=2), MIX, advprop=True)


def test_all_rows_adversarial_is_refused_where_the_main_norms_would_see_nothing(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match="keeps adversarial images from the main batch norms, but all rows are"):
        run(tmp_path, network(), Mix(0, 0, 1), advprop=True)
    run(tmp_path, network(), Mix(0, 0, 1), advprop=True, objective="trades", steps=1, data=composite(Mix(0, 0, 1)))
