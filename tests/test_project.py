"""The house rules that tools hold: lint, format, types, import arrows, and what a wheel carries."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]],
    ids=["lint", "format", "types", "import arrows"],
)
def test_tools_are_content(command: list[str]) -> None:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_carries_everything_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    in_package = {name for name in names if name.startswith("robustaug/")}
    tracked = subprocess.run(["git", "ls-files", "robustaug"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert set(tracked.stdout.split()) - in_package == set()
    for asset in ("vgg16_oxford_conv1_1-conv4_1_fp16.safetensors", "paintings/manifest.json"):
        assert f"robustaug/style/assets/{asset}" in in_package
    assert sum(name.startswith("robustaug/style/assets/paintings/") and name.endswith(".jpg") for name in names) == 12
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert {name.split("/")[0] for name in names} == {"robustaug", wheel.name.split("-py3")[0] + ".dist-info"}


def test_the_links_at_the_root_lead_to_the_three_parts() -> None:
    for part in ("attacks", "style", "evaluation"):
        assert (ROOT / part).resolve() == ROOT / "robustaug" / part
