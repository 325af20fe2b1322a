"""What ``import robustaug`` gives."""

import subprocess
import sys

import pytest

import robustaug
from robustaug.attacks import PGD
from robustaug.style import transfer


def test_every_public_name_is_there_and_is_the_parts_own() -> None:
    for name in robustaug.__all__:
        assert getattr(robustaug, name).__module__.startswith("robustaug."), name
    assert robustaug.PGD is PGD
    assert robustaug.transfer is transfer


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'PGDD'"):
        _ = robustaug.PGDD


def test_importing_the_package_does_not_load_torch() -> None:
    code = "import sys, robustaug; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
