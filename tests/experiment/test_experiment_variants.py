"""The stylised variants of a run are made by the method that the configuration names."""

from pathlib import Path

import pytest
import torch
from experiment_cases import coloured_squares, quick_style

from robustaug.data import load_data
from robustaug.experiment.config import StyleSection
from robustaug.experiment.variants import make_variants, paintings_of


@pytest.mark.parametrize("method", ["gatys", "adain"])
def test_the_method_is_the_one_asked_for(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_style(monkeypatch)
    originals = load_data(str(coloured_squares(tmp_path / "squares", 4)), seed=0).train
    settings = StyleSection.model_validate({"method": method})
    bank, _ = paintings_of(settings, 0)
    variants = make_variants(tmp_path / "variants", originals, 3, bank, settings, 0)
    assert {parameters["method"] for parameters in variants.parameters} == {method}
    of_source = {key: row for row, key in enumerate(originals.keys)}
    rows = [of_source[source] for source in variants.sources]
    assert torch.equal(variants.labels, originals.labels[rows])
    assert not torch.equal(variants.images, originals.images[rows])
