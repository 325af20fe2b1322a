"""Adversarial batches: the attack's own images, against the model of the moment, and nothing else touched."""

from collections.abc import Callable

import pytest
import torch
from attack_cases import Linear, small_network, stripes
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from robustaug.attacks import FGSM, PGD, Adversarial, AdversarialBatches, Attack, ThreatModel
from robustaug.errors import RobustAugError

SHAPE = (3, 5, 5)
EPS = 0.05


def linear_case(n: int = 8) -> tuple[Linear, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = Linear(torch.randn(SHAPE, generator=generator))
    return model, 0.4 + 0.2 * torch.rand((n, *SHAPE), generator=generator), torch.arange(n) % 2


def worst(model: Linear, images: Tensor, labels: Tensor) -> Tensor:
    """Against a linear model FGSM is exact: each value moves by eps against its label."""
    return images - EPS * (2 * labels - 1).view(-1, 1, 1, 1) * model.weight.detach().sign()


def changed(new: Tensor, old: Tensor) -> list[bool]:
    return (new != old).flatten(1).any(1).tolist()


@pytest.fixture(name="fgsm")
def _fgsm() -> Attack:
    return FGSM(ThreatModel("linf", EPS), loss="margin")


def test_the_whole_batch_is_attacked_and_the_rest_passes_through(fgsm: Attack) -> None:
    model, images, labels = linear_case()
    before, weights = images.clone(), torch.rand(8)
    new_images, new_labels, new_weights, names = Adversarial(model, fgsm)(images, labels, weights, ["a"] * 8)
    torch.testing.assert_close(new_images, worst(model, images, labels))
    assert new_labels is labels
    assert new_weights is weights
    assert names == ["a"] * 8
    assert torch.equal(images, before)


def test_a_batch_may_come_as_one_tuple_or_list_as_for_torchvision(fgsm: Attack) -> None:
    model, images, labels = linear_case()
    expected = Adversarial(model, fgsm)(images, labels)
    for batch in ((images, labels), [images, labels]):
        found = Adversarial(model, fgsm)(batch)
        assert isinstance(found, tuple)
        assert torch.equal(found[0], expected[0])
    composed = v2.Compose([Adversarial(model, fgsm), v2.MixUp(num_classes=2)])
    mixed, soft = composed(images, labels)
    assert mixed.shape == images.shape
    assert soft.shape == (8, 2)


@pytest.mark.parametrize(("share", "number"), [(0, 0), (0.25, 2), (0.5, 4), (1, 8)])
def test_the_share_is_exact_and_drawn_anew_for_each_batch(fgsm: Attack, share: float, number: int) -> None:
    model, images, labels = linear_case()
    transform = Adversarial(model, fgsm, share=share, seed=3)
    batches = [transform(images, labels)[0] for _ in range(12)]
    rows = [changed(batch, images) for batch in batches]
    assert [sum(row) for row in rows] == [number] * 12
    for batch, row in zip(batches, rows, strict=True):
        torch.testing.assert_close(batch[row], worst(model, images, labels)[row])
    assert len({tuple(row) for row in rows}) > 5 or share in (0, 1)
    assert [any(column) for column in zip(*rows, strict=True)] == [share > 0] * 8  # no sample is always left out
    again = Adversarial(model, fgsm, share=share, seed=3)
    assert all(torch.equal(again(images, labels)[0], batch) for batch in batches)
    other = Adversarial(model, fgsm, share=share, seed=4)
    assert [changed(other(images, labels)[0], images) for _ in range(12)] != rows or share in (0, 1)


def test_each_batch_is_attacked_with_the_weights_of_its_moment(fgsm: Attack) -> None:
    model, images, labels = linear_case()
    loader = [(images, labels), (images, labels)]
    batches = iter(AdversarialBatches(loader, model, fgsm))
    torch.testing.assert_close(next(batches)[0], worst(model, images, labels))
    with torch.no_grad():
        model.weight.neg_()
    torch.testing.assert_close(next(batches)[0], worst(model, images, labels))


def test_random_starts_differ_by_batch_and_epoch_and_repeat(network: nn.Module) -> None:
    images, labels = stripes(12, seed=3)
    images[6:], labels[6:] = images[:6], labels[:6]  # two batches of the same images
    attack = PGD(ThreatModel("linf", EPS), steps=1)

    def epochs(batches: AdversarialBatches, number: int) -> list[Tensor]:
        return [torch.cat([images for images, _ in batches]) for _ in range(number)]

    loader = DataLoader(TensorDataset(images, labels), batch_size=6)
    batches = AdversarialBatches(loader, network, attack, seed=5)
    assert len(batches) == 2
    first, second = epochs(batches, 2)
    assert batches.epoch == 2
    assert not torch.equal(first[:6], first[6:])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)
    again = epochs(AdversarialBatches(loader, network, attack, seed=5), 2)
    assert torch.equal(again[0], first)
    assert torch.equal(again[1], second)
    (resumed,) = epochs(AdversarialBatches(loader, network, attack, seed=5, epoch=1), 1)
    assert torch.equal(resumed, second)
    assert not torch.equal(epochs(AdversarialBatches(loader, network, attack, seed=6), 1)[0], first)


def test_the_model_is_attacked_in_eval_mode_and_left_as_it_was() -> None:
    model = small_network().train()
    model[1].eval()  # a batch norm that the user froze
    images, labels = stripes(6, seed=0)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    seen: list[bool] = []
    model[7].register_forward_hook(lambda module, *_: seen.append(module.training))
    random_state = torch.get_rng_state()
    loader = DataLoader(TensorDataset(images, labels), batch_size=3, num_workers=0)
    for _ in AdversarialBatches(loader, model, PGD(ThreatModel("linf", EPS), steps=2)):
        pass
    assert seen == [False] * 4
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    after_loader = torch.get_rng_state()
    torch.set_rng_state(random_state)
    list(loader)  # which draws a seed of its own
    assert torch.equal(torch.get_rng_state(), after_loader)


def test_refuses_to_work_in_a_worker_process(fgsm: Attack) -> None:
    model, images, labels = linear_case()
    transform = Adversarial(model, fgsm)

    def collate(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
        return transform(torch.utils.data.default_collate(items))

    here = DataLoader(TensorDataset(images, labels), batch_size=8, collate_fn=collate)
    torch.testing.assert_close(next(iter(here))[0], worst(model, images, labels))
    workers = DataLoader(TensorDataset(images, labels), batch_size=8, collate_fn=collate, num_workers=1)
    with pytest.raises(RobustAugError, match="cannot be made in a loader's worker process"):
        next(iter(workers))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda adversarial, x, y: adversarial(x), "a batch is a Tensor; it must be a tuple of images, labels"),
        (lambda adversarial, x, y: adversarial({"images": x}), "a batch is a dict; it must be a tuple"),
        (lambda adversarial, x, y: adversarial((x,)), "a batch has no labels"),
        (lambda adversarial, x, y: adversarial(x.numpy(), y), "images are a ndarray"),
        (lambda adversarial, x, y: adversarial((x * 255).byte(), y), "convert them to float32"),
        (lambda adversarial, x, y: adversarial(x * 2 - 1, y), "normalisation belongs inside the model"),
        (lambda adversarial, x, y: adversarial(x, nn.functional.one_hot(y).float()), "labels are torch.float32"),
        (lambda adversarial, x, y: Adversarial(adversarial.model, adversarial.attack, share=1.5), "share is 1.5"),
        (lambda adversarial, x, y: Adversarial(adversarial.model, adversarial.attack, share="all"), "share is 'all'"),
    ],
)
def test_bad_input_gets_one_clear_line(
    fgsm: Attack, call: Callable[[Adversarial, Tensor, Tensor], object], message: str
) -> None:
    model, images, labels = linear_case()
    with pytest.raises(RobustAugError, match=message) as caught:
        call(Adversarial(model, fgsm), images, labels)
    assert "\n" not in str(caught.value)
