"""What stands in examples/ is right as it stands, once examples/certs.sh has made the certificates that it names."""
import pathlib
import shutil
import subprocess

import pytest

from kit.gateway import run

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy") / "examples"
    shutil.copytree(EXAMPLES, copy, ignore=shutil.ignore_patterns("certs"))
    subprocess.run([copy / "certs.sh"], check=True, capture_output=True, timeout=30)
    return copy


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_every_example_is_fine(examples, name):
    result = run("check", examples / name)
    assert result.returncode == 0, result.stderr
    assert "fine" in result.stdout
