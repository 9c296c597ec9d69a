"""What the export knows, and how a command line names it."""

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from export.__main__ import main
from export.registry import known_assets, select, versions_of
from trident.contract import NETWORKS
from trident.errors import SetupError


def numbers(networks):
    return [(network.component, network.version) for network in networks]


def test_the_first_version_of_each_component_by_default():
    assert numbers(select()) == [(component, 1) for component in NETWORKS]


def test_all_versions_on_request():
    every = numbers(select(every=True))
    assert set(numbers(select())) < set(every)
    for component in ("classifier", "detector", "plate_reader"):
        assert (component, 2) in every


def test_targets_are_taken_once_and_in_the_contracts_order():
    assert numbers(select(["face_embedder", "detector=2", "detector", "detector=2"])) == [
        ("detector", 1),
        ("detector", 2),
        ("face_embedder", 1),
    ]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("dog_finder", r"component: expected one of classifier, detector, .*, got 'dog_finder'"),
        ("detector=9", r"version of detector: expected one of 1, 2, got '9'"),
        ("detector=", r"version of detector: expected one of 1, 2, got ''"),
    ],
)
def test_unknown_targets_are_named(target, sentence):
    with pytest.raises(SetupError, match=sentence):
        select([target])
    outcome = CliRunner().invoke(main, [target])
    assert outcome.exit_code == 1
    assert "Traceback" not in outcome.output


@pytest.mark.parametrize("component", NETWORKS)
def test_every_version_says_where_it_comes_from(component):
    versions = versions_of(component)
    assert [network.version for network in versions] == list(range(1, len(versions) + 1))
    for network in versions:
        assert network.component == component
        assert network.name
        assert network.licence
        assert network.preprocessing
        assert network.repository.startswith("https://")
        names = [asset.name for asset in (*network.assets, *network.reference_assets)]
        assert len(set(names)) == len(names)


def test_every_file_is_pinned():
    for asset in known_assets():
        assert re.fullmatch(r"[0-9a-f]{64}", asset.sha256)
        assert re.fullmatch(r"\d+(\.\d+)+", asset.package_version)
        assert asset.licence


def test_the_list_names_every_version():
    outcome = CliRunner().invoke(main, ["--list"])
    assert outcome.exit_code == 0
    assert [line.split()[0] for line in outcome.output.splitlines() if not line.startswith(" ")] == [
        f"{component}={version}" for component, version in numbers(select(every=True))
    ]


def test_the_list_names_every_file_under_its_network():
    lines = iter(CliRunner().invoke(main, ["--list"]).output.splitlines())
    for network in select(every=True):
        assert network.repository in next(lines)
        for asset in (*network.assets, *network.reference_assets):
            line = next(lines)
            assert line.startswith("    ")
            for part in (asset.package, asset.package_version, asset.file, asset.sha256[:12], asset.repository):
                assert part in line
            assert asset.licence in line
            assert ("only to compare" in line) == (asset in network.reference_assets)
    assert next(lines, None) is None


def test_torch_is_imported_only_to_build():
    # Else a run that finds all up to date would wait seconds for it.
    code = "import sys, export.__main__, export.registry as r; r.select(every=True); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
