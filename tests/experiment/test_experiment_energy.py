"""Energy is counted over overflows and pieces, of packages alone, and said to be unknown where it is."""

from pathlib import Path

import pytest
import torch

from robustaug.experiment import energy
from robustaug.experiment.energy import EnergyLedger, Meter, processors
from robustaug.files import read_json


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two packages, with what must not be counted beside them: a part of one, its other face, and the whole board."""
    folder = tmp_path / "powercap"
    names = {
        "intel-rapl": None, "intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys", "intel-rapl-mmio:0": "package-0",
    }  # fmt: skip
    for zone, name in names.items():
        (folder / zone).mkdir(parents=True)
        if name is not None:
            (folder / zone / "name").write_text(name + "\n")
            (folder / zone / "max_energy_range_uj").write_text("100000000\n")
            count(folder, zone, 10.0)
    return folder


def count(folder: Path, zone: str, joules: float) -> None:
    (folder / zone / "energy_uj").write_text(f"{round(joules * 1e6)}\n")


def test_packages_are_summed_and_nothing_is_counted_twice(powercap: Path, tmp_path: Path) -> None:
    with EnergyLedger(tmp_path / "energy.json", powercap) as ledger:
        assert ledger.total()["cpu_joules"] == 0
        count(powercap, "intel-rapl:0", 12.5)
        count(powercap, "intel-rapl:1", 11.25)
        for zone in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
            count(powercap, zone, 90)
        assert ledger.total()["cpu_joules"] == 3.75
        count(powercap, "intel-rapl:0", 13.5)
    assert read_json(tmp_path / "energy.json")["cpu_joules"] == 4.75


def test_a_counter_that_runs_over_begins_again(powercap: Path) -> None:
    with EnergyLedger(None, powercap) as ledger:
        for joules in (95.0, 5.0, 99.0, 1.0):
            count(powercap, "intel-rapl:0", joules)
            found = ledger.total()["cpu_joules"]
    assert found == pytest.approx(200 + 1 - 10)


def test_pieces_of_a_run_are_added(powercap: Path, tmp_path: Path) -> None:
    for joules in (30.0, 45.0):
        with EnergyLedger(tmp_path / "energy.json", powercap) as ledger:
            count(powercap, "intel-rapl:1", joules)
        assert ledger.total() == read_json(tmp_path / "energy.json")
    assert ledger.total()["cpu_joules"] == 35


def test_it_is_kept_while_the_work_goes_on(powercap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_LOOK_EVERY", 0.001)
    path = tmp_path / "energy.json"
    with EnergyLedger(path, powercap):
        count(powercap, "intel-rapl:0", 17.0)
        while not path.exists() or read_json(path)["cpu_joules"] != 7:
            pass


def test_what_cannot_be_read_is_none_with_the_reason(
    powercap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "default_device", lambda: torch.device("cpu"))
    with EnergyLedger(None, tmp_path / "nothing") as ledger:
        assert ledger.total() == {
            "cpu_joules": None,
            "gpu_joules": None,
            "not_readable": {"cpu": f"no processor package under {tmp_path / 'nothing'}", "gpu": "no GPU is used"},
        }
    count(powercap, "intel-rapl:0", 1.0)
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    assert "No such file" in str(processors(powercap))
    (powercap / "intel-rapl:1" / "energy_uj").write_text("many\n")
    assert str(processors(powercap)).endswith("holds no number")


def test_a_counter_that_goes_away_leaves_no_part_of_a_sum(powercap: Path, tmp_path: Path) -> None:
    path = tmp_path / "energy.json"
    with EnergyLedger(path, powercap) as ledger:
        count(powercap, "intel-rapl:0", 20.0)
        (powercap / "intel-rapl:1" / "energy_uj").unlink()
        assert ledger.total()["cpu_joules"] is None
    count(powercap, "intel-rapl:1", 20.0)
    with EnergyLedger(path, powercap) as again:
        assert again.total()["cpu_joules"] is None
    assert "earlier piece" in read_json(path)["not_readable"]["cpu"]


def test_a_meter_of_a_counter_that_never_runs_over() -> None:
    values = iter([5.0, 7.0, 7.0, 9.5])
    meter = Meter(lambda: next(values))
    for _ in range(3):
        meter.look()
    assert meter.joules == 4.5
