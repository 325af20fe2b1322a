"""A failed check stands in the entry of its arm, beside the numbers that it puts in doubt."""

from dataclasses import replace
from typing import Any

import torch
from jsonschema import Draft202012Validator
from torch import Tensor, nn

from robustaug.attacks import ThreatModel
from robustaug.data import ImageSet
from robustaug.evaluation import Check, Protocol, evaluate_arm
from robustaug.evaluation.report.schema import SCHEMA
from robustaug.evaluation.report.table import results_table, summary
from robustaug.experiment.outcome import Arm, describe_data, report_content


class Brightness(nn.Module):
    """Class 1 for bright images, as logits or as probabilities."""

    def __init__(self, *, softmax: bool) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, images: Tensor) -> Tensor:
        score = 5 * (images.mean((1, 2, 3)) - 0.5)
        logits = torch.stack([-score, score], 1)
        return logits.softmax(1) if self.softmax else logits


def test_failed_checks_stand_beside_the_arms_numbers() -> None:
    levels = torch.linspace(20, 235, 24).byte()
    images = levels.view(-1, 1, 1, 1).expand(24, 3, 4, 4).contiguous()
    keys = tuple(map(str, range(24)))
    test = ImageSet(images, (levels > 127).long(), keys, keys, ("dark", "bright"))
    threat = ThreatModel("linf", 0.1)
    protocol = Protocol(
        samples=24, pgd_steps=5, pgd_restarts=1, noise_draws=1, curve_samples=24, curve_steps=5, curve_multiples=(0, 6)
    )
    models = {"honest": Brightness(softmax=False), "faulty": Brightness(softmax=True)}
    arms = {n: Arm(m, evaluate_arm(m, test, threat=threat, protocol=protocol)) for n, m in models.items()}
    found = {}
    for data_passed in (True, False):
        content = report_content(
            name="doubts", seed=0, data=describe_data("levels", test, ()), threat=threat, protocol=protocol, test=test,
            arms=arms, style=None, checks=[Check("no leak", None, data_passed, "")], seconds={"evaluation": 1.0},
            config={},
        )  # fmt: skip
        Draft202012Validator(SCHEMA).validate(content)
        found[data_passed] = {name: entry.get("failed_checks") for name, entry in content["arms"].items()}
        cells = [str(cell) for column in results_table(content).columns for cell in column.cells]
        assert sum("†" in cell for cell in cells) == (1 if data_passed else 2)
        assert "†: a check failed" in summary(content)
    probabilities = "the model returns logits, not probabilities"
    assert found == {
        True: {"honest": None, "faulty": [probabilities]},
        False: {"honest": ["no leak"], "faulty": ["no leak", probabilities]},
    }


def test_the_mean_corruption_error_is_against_the_clean_arm() -> None:
    keys = tuple(map(str, range(8)))
    images = torch.randint(0, 256, (8, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    test = ImageSet(images, torch.arange(8) % 2, keys, keys, ("dark", "bright"))
    threat, protocol = ThreatModel("linf", 0.1), Protocol(
        samples=4, pgd_steps=1, pgd_restarts=1, noise_draws=1, curve_samples=2, curve_steps=1, curve_multiples=(0, 6),
        corruption_samples=8, corruption_severities=(1, 5),
    )  # fmt: skip
    model = Brightness(softmax=False)
    measured = evaluate_arm(model, test, threat=threat, protocol=protocol)
    half = measured.verdicts["corruptions"].clone()
    half[:] = False
    half[:4] = True
    none, all_wrong = torch.ones_like(half), torch.zeros_like(half)

    def entries(**verdicts: Tensor) -> dict[str, dict[str, Any]]:
        arms = {
            name: Arm(model, replace(measured, verdicts={**measured.verdicts, "corruptions": verdict}))
            for name, verdict in verdicts.items()
        }
        content = report_content(
            name="mCE", seed=0, data=describe_data("levels", test, ()), threat=threat, protocol=protocol, test=test,
            arms=arms, style=None, seconds={"evaluation": 1.0}, config={},
        )  # fmt: skip
        Draft202012Validator(SCHEMA).validate(content)
        return dict(content["arms"])

    found = entries(style=half, clean=all_wrong)
    assert found["style"]["corruption_error"] == {"value": 0.5, "baseline": "clean"}
    assert "corruption_error" not in found["clean"]
    without = entries(clean=none, style=half)["style"]  # a baseline that makes no error
    assert "corruption_error" not in without
    assert without["not_measured"]["corruption_error"].startswith("the baseline makes no")
