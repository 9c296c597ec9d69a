"""Quality on labelled pictures: which release is asked how, and what counts as a loss."""

from pathlib import Path

import pytest

from benchmarks.quality import measures
from benchmarks.quality.measures import LabelledSet, Measure
from tests.shadowed import SETTINGS
from trident.errors import SetupError
from trident.rollout.labelled import Side, compare_quality
from trident.rollout.limits import Limits
from trident.rollout.serving import ServingError
from trident_client import ServerUnavailable

OLD = Side("trident", {"classifier": 1}, 0.6)
NEW = Side("trident_candidate", {"classifier": 2}, 0.7)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "labels.csv").write_text("file,class_index\n")
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """The servers that were asked, and a set whose one figure depends on the version."""
    servers = []

    class Server:
        def __init__(self, url, *, model, versions, settings):
            self.asked = (url, model, dict(versions), settings.identity_threshold)
            self.open = True
            servers.append(self)

        def close(self):
            self.open = False

    def measure(server, path, limit, progress):
        progress(4)
        progress(6)
        value = {1: 0.9, 2: 0.8}[server.asked[2]["classifier"]]
        return [
            Measure("top-1", value, 10, 0.95),
            Measure("the same", 0.5, 10),
            Measure("gain", -40 * value, 10, unit="points"),
        ]

    def never(server, path, limit, progress):
        raise AssertionError("there is no such set in the folder")

    sets = [
        LabelledSet("imagenet", lambda *_: 10, measure),
        LabelledSet("coco", lambda *_: 100, never),
    ]
    monkeypatch.setattr(measures, "Server", Server)
    monkeypatch.setattr(measures, "SETS", sets)
    return servers


def compare(folder: Path, sides=(OLD, NEW), **options):
    return compare_quality("here:1", folder, sides, limits=Limits(), settings=SETTINGS, **options)


def test_each_release_is_asked_by_its_own_name_versions_and_threshold(folder, asked):
    compare(folder)
    assert [one.asked for one in asked] == [
        ("here:1", "trident", {"classifier": 1}, 0.6),
        ("here:1", "trident_candidate", {"classifier": 2}, 0.7),
    ]
    assert not any(one.open for one in asked)


def test_a_loss_beyond_the_limit_falls_short(folder, asked):
    top1, same = compare(folder)
    assert (top1.name, top1.old, top1.new, top1.pictures) == ("top-1", 0.9, 0.8, 10)
    assert top1.loss == pytest.approx(0.1)
    assert not top1.passed
    assert same.passed


def test_a_gain_is_no_loss(folder, asked):
    assert all(one.passed for one in compare(folder, (NEW, OLD)))


def test_progress_counts_the_pictures_of_both_releases(folder, asked):
    told = []
    compare(folder, progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 20), (10, 20), (14, 20), (20, 20)]


def test_a_folder_without_labels_is_refused(tmp_path):
    with pytest.raises(SetupError, match="expected one of imagenet, coco"):
        compare(tmp_path)


def test_a_picture_that_is_not_answered_is_the_servers_failure(folder, asked, monkeypatch):
    def unanswered(*_):
        raise ServerUnavailable("too busy")

    monkeypatch.setattr(measures, "SETS", [LabelledSet("imagenet", lambda *_: 1, unanswered)])
    with pytest.raises(ServingError, match="quality on labelled pictures: too busy"):
        compare(folder)
    assert not any(one.open for one in asked)
