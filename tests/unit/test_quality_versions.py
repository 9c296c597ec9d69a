"""Other versions beside those that serve, on a server that is only its bookkeeping."""

import doctest
import shutil

import pytest

from benchmarks.quality import run, versions
from benchmarks.quality.measures import Measure, Subject
from benchmarks.quality.run import Asked
from benchmarks.quality.versions import COMPARED, Side, beside
from tests.fake_triton import FakeTriton
from trident.contract import COMPONENTS, ENSEMBLE, NETWORKS
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY
from trident.rollout.disk import Repository
from trident.rollout.findings import Finding, Verdict
from trident.rollout.serving import ServerLost

OLD = dict.fromkeys(COMPONENTS, 1)


@pytest.fixture
def repository(tmp_path):
    """The project's configurations, with two versions of every network, whose files are empty."""
    folder = tmp_path / "models"
    unwanted = shutil.ignore_patterns("model.onnx", "__pycache__", "README.md", "*.jsonl", ".*", "warmup", "2")
    shutil.copytree(DEFAULT_REPOSITORY, folder, ignore=unwanted)
    for component in NETWORKS:
        for version in (1, 2):
            (folder / component / str(version)).mkdir(parents=True, exist_ok=True)
            (folder / component / str(version) / "model.onnx").touch()
    return Repository(folder)


@pytest.fixture
def examined(monkeypatch):
    """What the networks' files are found to be; nothing is run."""
    findings = []
    monkeypatch.setattr(versions, "examine_network", lambda *_: iter(findings))
    return findings


def test_examples():
    ran = doctest.testmod(versions)
    assert ran.attempted and not ran.failed


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param({"classifier": 2}, id="a step"),
        pytest.param({"plate_reader": 2}, id="a called network"),
        pytest.param({"detector": 2, "face_detector": 2}, id="both"),
    ],
)
def test_what_serves_goes_on_and_nothing_is_left(repository, examined, targets):
    server = FakeTriton(repository.path)
    on_disk = {name: (repository.path / name / "config.pbtxt").read_bytes() for name in (*COMPONENTS, ENSEMBLE)}
    with beside(server, repository, targets) as side:
        assert side.model == COMPARED
        assert side.name == versions.name_of(targets)
        answering = server.release(COMPARED)
        assert answering == side.release
        assert {name: answering[name] for name in targets} == targets
        assert server.release() == OLD
        assert side.settings.versions == {name: answering[name] for name in side.settings.versions}
    assert server.held == {name: {1} for name in COMPONENTS}
    assert set(server.ensembles) == {ENSEMBLE}
    assert {name: (repository.path / name / "config.pbtxt").read_bytes() for name in on_disk} == on_disk


def test_what_was_held_before_stays(repository, examined):
    server = FakeTriton(repository.path)
    server.held["classifier"] = {1, 2}
    with beside(server, repository, {"classifier": 2}):
        pass
    assert server.held["classifier"] == {1, 2}


def test_an_error_inside_leaves_nothing_either(repository, examined):
    server = FakeTriton(repository.path)
    with pytest.raises(KeyboardInterrupt), beside(server, repository, {"detector": 2}):
        raise KeyboardInterrupt
    assert server.held["detector"] == {1} and set(server.ensembles) == {ENSEMBLE}


def test_a_version_that_cannot_be_loaded_leaves_nothing_either(repository, examined):
    server = FakeTriton(repository.path)
    server.broken.add(("detector", 2))
    with pytest.raises(Exception, match="load failed"), beside(server, repository, {"classifier": 2, "detector": 2}):
        raise AssertionError("it is not there")
    assert server.held == {name: {1} for name in COMPONENTS}
    assert server.release() == OLD


def test_a_server_that_dies_is_the_error_that_is_told(repository, examined):
    server = FakeTriton(repository.path)
    with pytest.raises(ServerLost), beside(server, repository, {"detector": 2}):
        server.kill()
        server.ready(ENSEMBLE)


def test_a_network_that_does_not_fit_is_not_loaded(repository, examined):
    server = FakeTriton(repository.path)
    examined += [
        Finding("detector", "speed", Verdict.REFUSED, "it is slow"),
        Finding("detector", "signature", Verdict.REFUSED, "it has no BOXES"),
    ]
    with pytest.raises(SetupError, match="it has no BOXES"), beside(server, repository, {"detector": 2}):
        raise AssertionError("it was loaded")
    assert server.held["detector"] == {1}


def test_a_server_of_our_own_needs_no_trial(repository, examined):
    examined.append(Finding("detector", "signature", Verdict.REFUSED, "it has no BOXES"))
    with beside(FakeTriton(repository.path), repository, {"detector": 2}, callers=False) as side:
        assert side.release["detector"] == 2


def test_how_fast_it_is_does_not_matter(repository, examined):
    examined.append(Finding("detector", "speed", Verdict.REFUSED, "it is slow"))
    with beside(FakeTriton(repository.path), repository, {"detector": 2}) as side:
        assert side.release["detector"] == 2


def test_another_repository_than_the_server_s_is_refused(repository, examined):
    server = FakeTriton(repository.path)
    server.ensembles[ENSEMBLE].ensemble_scheduling.step[1].model_version = 2
    with pytest.raises(SetupError, match="does not serve what"), beside(server, repository, {"detector": 2}):
        raise AssertionError("it was loaded")


class TestColumns:
    """Which versions are asked, in which order."""

    @pytest.fixture
    def asked(self, monkeypatch, repository, examined):
        """Runs ``measure`` on a server that is only its bookkeeping; gives the sides that were asked."""
        triton = FakeTriton(repository.path)
        sides = []

        class Serving:
            def __init__(self, url):
                assert url == "here:1"

            def __enter__(self):
                return triton

            def __exit__(self, *_):
                pass

        class Server:
            def __init__(self, url, *, model, versions, settings):
                sides.append((model, versions))
                self.answered = {}

            def close(self):
                pass

        monkeypatch.setattr(run, "TritonServing", Serving)
        monkeypatch.setattr(run, "Server", Server)
        subject = Subject("plates", lambda *_: 3, lambda *_: "answers", lambda _: [Measure("a", 0.5, 3)])

        def measure(first, *compared, known=True):
            wanted = Asked([subject], repository.path, None, first, compared)
            wanted.check()
            return run.measure("here:1", repository if known else None, wanted, lambda *_: lambda _: None)

        return measure, sides

    def test_what_serves_comes_first(self, asked):
        measure, sides = asked
        columns = measure(None, {"classifier": 2}, {"detector": 2})
        assert [column.name for column in columns] == ["serving", "classifier 2", "detector 2"]
        assert [model for model, _ in sides] == [ENSEMBLE, COMPARED, COMPARED]
        assert [versions["detector"] for _, versions in sides] == [1, 1, 2]
        assert all(column.answers == {"plates": "answers"} for column in columns)

    def test_other_versions_may_take_its_place(self, asked):
        measure, _ = asked
        assert [column.name for column in measure({"classifier": 2}, {"detector": 2})] == ["classifier 2", "detector 2"]

    def test_a_server_of_which_nothing_is_known_answers_with_what_it_has(self, asked):
        measure, sides = asked
        assert [column.name for column in measure(None, known=False)] == ["serving"]
        assert sides == [(ENSEMBLE, Side("").release)]

    def test_the_same_twice_is_refused(self, asked):
        measure, _ = asked
        with pytest.raises(SetupError, match="got classifier 2 twice"):
            measure({"classifier": 2}, {"classifier": 2})
