"""Rollouts against a server that is only its bookkeeping: what answers is one whole release, whatever happens when."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from tests.fake_triton import FakeTriton
from tests.quiet_display import Quiet
from trident.contract import CALLED, CANDIDATE, COMPONENTS, ENSEMBLE, NETWORKS, STABLE
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import read_config
from trident.rollout import canary, engine, journal
from trident.rollout.disk import Repository
from trident.rollout.engine import Interrupted, Outcome, Passed, Progress, Rollout, Stopped
from trident.rollout.journal import Journal, interruption
from trident.rollout.plan import Plan, make_plan, plan_back
from trident.rollout.serving import ServerLost, analyze


class Killed(BaseException):
    """SIGKILL: nothing runs any more."""


class EasyChecks:
    """Checks that pass, but for the steps in ``failing``."""

    def __init__(self, server: FakeTriton, failing: tuple[str, ...] = ()) -> None:
        self.server = server
        self.failing = failing
        self.asked: list[str] = []
        self.base = read_config(server.repository / ENSEMBLE)

    def _step(self, name: str) -> Passed:
        self.asked.append(name)
        if name in self.failing:
            raise Stopped(f"{name} does not like it")
        return Passed("fine")

    def preflight(self, plan: Plan) -> Passed:
        return self._step(engine.PREFLIGHT)

    def load_candidate(self, plan: Plan) -> None:
        canary.load_ensemble(self.server, self.base, CANDIDATE, plan.after)

    def shadow(self, plan: Plan, progress: Progress) -> Passed:
        assert versions_in(analyze(self.server, b"", model=CANDIDATE)) == plan.after
        return self._step(engine.SHADOW)

    def canary(self, plan: Plan, progress: Progress) -> Passed | None:
        canary.load_ensemble(self.server, self.base, STABLE, plan.before)
        router = ModelConfig()
        router.CopyFrom(self.base)
        router.ClearField("ensemble_scheduling")
        self.server.load(ENSEMBLE, router, {"1/model.py": b""})
        try:
            return self._step(engine.CANARY)
        finally:
            canary.end(self.server)

    def before_flip(self) -> None:
        self.asked.append("before the flip")

    def watch(self, plan: Plan, progress: Progress) -> Passed | None:
        return self._step(engine.WATCH)

    def answering(self) -> Mapping[str, int]:
        return versions_in(analyze(self.server, b""))


def versions_in(answer: Mapping[str, Any]) -> dict[str, int]:
    return {name: entry["version"] for name, entry in json.loads(answer["RESULT"][0, 0])["models"].items()}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """The project's configurations, with two versions of everything; the networks' files are empty."""
    folder = tmp_path / "models"
    shutil.copytree(
        DEFAULT_REPOSITORY,
        folder,
        ignore=shutil.ignore_patterns("model.onnx", "__pycache__", "README.md", "*.jsonl", ".*", "warmup", "2"),
    )
    for component in COMPONENTS:
        if component in NETWORKS:
            for version in (1, 2):
                (folder / component / str(version)).mkdir(parents=True, exist_ok=True)
                (folder / component / str(version) / "model.onnx").touch()
        else:
            shutil.copytree(folder / component / "1", folder / component / "2")
            # Another code, so that it is not taken for the same version under another number.
            with (folder / component / "2" / "model.py").open("a") as file:
                file.write("# version 2\n")
    return Repository(folder)


def rollout(repository: Repository, server: FakeTriton, checks: EasyChecks | None = None) -> Rollout:
    return Rollout(repository, server, Journal(repository.path), checks or EasyChecks(server), Quiet())


def run(repository: Repository, server: FakeTriton, checks: EasyChecks | None = None, **targets: int) -> Outcome:
    return rollout(repository, server, checks).run(make_plan(repository, targets))


OLD = dict.fromkeys(COMPONENTS, 1)
TARGETS = [pytest.param({name: 2}, id=name) for name in COMPONENTS] + [
    pytest.param({"detector": 2, "fusion": 2}, id="two steps"),
    pytest.param({"detector": 2, "plate_reader": 2}, id="a step and a called network"),
    pytest.param({"entity_recognizer": 2, "face_detector": 2}, id="the recognizer and what it calls"),
]


def moved(release: Mapping[str, int], targets: Mapping[str, int]) -> bool:
    """Whether a release has the targets and nothing else that is new, but perhaps the recognizer that calls them."""
    called = set(targets) & set(CALLED)
    free = {"entity_recognizer"} if called else set()
    wanted = {**OLD, **targets}
    return all(release[name] == version for name, version in wanted.items() if name not in free)


@pytest.mark.parametrize("targets", TARGETS)
def test_it_moves_in_memory_and_on_disk_and_lasts(repository: Repository, targets: dict[str, int]) -> None:
    server = FakeTriton(repository.path)
    outcome = run(repository, server, **targets)

    assert outcome.done, outcome.sentence
    assert moved(server.release(), targets)
    assert server.release() == repository.release() == outcome.plan.after
    assert CANDIDATE not in server.ensembles
    for change in outcome.plan.changes:  # the way back stays loaded
        assert server.held[change.component] >= {change.before, change.after}
    server.start()
    assert server.release() == outcome.plan.after
    assert interruption(repository.path) == ""


@pytest.mark.parametrize("step", [engine.PREFLIGHT, engine.SHADOW, engine.CANARY, engine.WATCH])
@pytest.mark.parametrize("targets", [{"classifier": 2}, {"plate_reader": 2, "fusion": 2}], ids=["step", "called"])
def test_a_check_that_fails_leaves_all_as_it_was(repository: Repository, step: str, targets: dict[str, int]) -> None:
    server = FakeTriton(repository.path)
    outcome = run(repository, server, EasyChecks(server, (step,)), **targets)

    assert outcome.outcome == (journal.ROLLED_BACK if step == engine.WATCH else journal.STOPPED)
    assert "does not like it" in outcome.sentence
    assert server.release() == repository.release() == OLD
    assert server.held == {name: {1} for name in COMPONENTS}
    assert all(repository.served(name) == (1,) for name in COMPONENTS)
    assert set(server.ensembles) == {ENSEMBLE}
    assert run(repository, server, **targets).done  # and the next try is free to begin


def test_a_version_that_does_not_load_stops_it(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    server.broken.add(("classifier", 2))
    checks = EasyChecks(server)
    outcome = run(repository, server, checks, classifier=2)

    assert outcome.outcome == journal.STOPPED
    assert "cannot load classifier 2" in outcome.sentence
    assert engine.SHADOW not in checks.asked
    assert server.release() == OLD
    assert server.held["classifier"] == {1}


def test_the_way_back_is_short_and_goes_nowhere_twice(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    run(repository, server, detector=2, fusion=2)
    diary = Journal(repository.path)
    checks = EasyChecks(server)
    back = rollout(repository, server, checks).run(plan_back(repository, "fusion", diary.records()))

    assert back.done
    assert server.release() == repository.release() == OLD  # what moved together went back together
    assert engine.SHADOW not in checks.asked
    with pytest.raises(SetupError, match="nothing to roll back to"):
        plan_back(repository, "fusion", diary.records())


def test_going_back_after_a_retirement_loads_again(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    run(repository, server, plate_reader=2)
    diary = Journal(repository.path)
    settled, _ = engine.retire(repository, server, diary, ("plate_reader",))

    assert ("plate_reader", 1) in settled.retired
    assert ("entity_recognizer", 1) in settled.retired  # which called it
    assert server.held["plate_reader"] == {2}
    server.start()
    assert server.held["plate_reader"] == {2}
    assert rollout(repository, server).run(plan_back(repository, "plate_reader", diary.records())).done
    assert server.release() == OLD


def test_the_next_rollout_retires_the_way_back_of_the_last(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    run(repository, server, classifier=2)
    run(repository, server, detector=2)

    assert server.held["classifier"] == {2}
    assert server.held["detector"] == {1, 2}
    assert server.release() == {**OLD, "classifier": 2, "detector": 2}


def test_a_server_of_another_repository_is_noticed(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    repository.serve("classifier", (1, 2))
    repository.pin({"classifier": 2})  # by hand, and not loaded
    outcome = run(repository, server, detector=2)

    assert outcome.outcome == journal.STOPPED
    assert "does not serve what" in outcome.sentence


def test_an_answer_that_names_the_old_version_undoes_the_flip(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_VERIFY_PAUSE_S", 0.0)
    server = FakeTriton(repository.path)
    checks = EasyChecks(server)
    monkeypatch.setattr(checks, "answering", lambda: {"classifier": 1})
    outcome = run(repository, server, checks, classifier=2)

    assert outcome.outcome == journal.ROLLED_BACK
    assert "do not name the versions" in outcome.sentence
    assert server.release() == repository.release() == OLD


class World:
    """A repository and a server in which the n-th thing that happens can be made to go wrong."""

    def __init__(self, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        self.repository = repository
        self.happened: list[str] = []
        self.at = 10**9
        self.what: Callable[[], None] = lambda: None
        self.server = FakeTriton(repository.path, before_call=self.step)
        self._wrap(monkeypatch, Repository, "serve")
        self._wrap(monkeypatch, Repository, "pin")
        self._wrap(monkeypatch, Journal, "append")

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        method = getattr(owner, name)

        def wrapped(*arguments: object, **named: object) -> object:
            self.step(name)
            result = method(*arguments, **named)
            self.step(f"{name} done")
            return result

        monkeypatch.setattr(owner, name, wrapped)

    def step(self, what: str) -> None:
        self.happened.append(what)
        if len(self.happened) > self.at:
            self.what()

    def go_wrong(self, at: int, what: Callable[[], None]) -> None:
        self.happened.clear()
        self.at, self.what = at, what

    def be_well(self) -> None:
        self.at = 10**9


def moments(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, targets: dict[str, int]
) -> Iterator[tuple[int, Repository]]:
    """Every moment of a rollout at which something has just changed, or is about to; the repository is as new at each.

    Questions change nothing: two of them in a row are one moment.
    """
    make_plan(repository, targets)  # makes the recognizer's version, if one is wanted
    files = {path: path.read_bytes() for path in repository.path.glob("*/config.pbtxt")}
    with monkeypatch.context() as patch:
        world = World(repository, patch)
        assert run(repository, world.server, **targets).done
    changing = ("load", "unload", "serve", "pin", "append")
    happened = ["", *world.happened]
    found = [
        at for at in range(len(world.happened)) if any(what.startswith(changing) for what in happened[at : at + 2])
    ]
    assert len(found) > 20
    for at in found:
        for path, content in files.items():
            if path.read_bytes() != content:
                path.write_bytes(content)
        Journal(repository.path).file.unlink(missing_ok=True)
        yield at, repository


@pytest.mark.parametrize("targets", [{"classifier": 2}, {"plate_reader": 2, "fusion": 2}], ids=["step", "called"])
@pytest.mark.parametrize("then", ["resume", "abort", "restart and resume", "restart and abort"])
def test_killed_at_any_moment(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, targets: dict[str, int], then: str
) -> None:
    """Whenever it is killed, one release answers and is on disk; and both ways out lead to where they say."""
    after = make_plan(repository, targets).after  # makes the recognizer's version, before the copies are made

    def die() -> None:
        raise Killed

    seen = set()
    for at, copy in moments(repository, monkeypatch, targets):
        with monkeypatch.context() as patch:
            world = World(copy, patch)
            plan = make_plan(copy, targets)
            world.go_wrong(at, die)
            with pytest.raises(Killed):
                rollout(copy, world.server).run(plan)
            world.be_well()

            where = f"killed at {at}: {world.happened[-2:]}"
            answering = world.server.release()
            assert answering in (OLD, after), where
            assert copy.release() in (OLD, after), where
            seen.add((answering == OLD, copy.release() == OLD))
            if "restart" in then:
                world.server.start()
                assert world.server.release() == copy.release(), where

            record = Journal(copy.path).unfinished()
            if record is None:  # before its first line, or after its last
                assert (answering == OLD) == (at <= 1) or answering == after, where
                assert interruption(copy.path) == ""
                continue
            assert "was interrupted" in interruption(copy.path), where
            with pytest.raises(SetupError, match="interrupted"):
                run(copy, world.server, detector=2)
            again = rollout(copy, world.server)
            outcome = again.resume(record) if "resume" in then else again.abort(record)
            assert outcome.outcome == (journal.DONE if "resume" in then else journal.ABORTED), where
            expected = after if "resume" in then else OLD
            assert world.server.release() == copy.release() == expected, where
            assert set(world.server.ensembles) == {ENSEMBLE}, where
            assert interruption(copy.path) == "", where
            world.server.start()
            assert world.server.release() == expected, where
    # Killed in front of the flip, between disk and memory, and behind it: all three were met.
    assert seen == {(True, True), (True, False), (False, False)}


def test_interrupted_by_the_keyboard_at_any_moment(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = {"classifier": 2}
    for at, copy in moments(repository, monkeypatch, targets):
        with monkeypatch.context() as patch:
            world = World(copy, patch)

            def interrupt(world: World = world) -> None:
                world.be_well()  # once
                raise KeyboardInterrupt

            world.go_wrong(at, interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(copy, world.server, **targets)
            assert world.server.release() in (OLD, {**OLD, "classifier": 2})
            record = Journal(copy.path).unfinished()
            if record is not None:
                assert rollout(copy, world.server).abort(record).outcome == journal.ABORTED
                assert world.server.release() == copy.release() == OLD


@pytest.mark.parametrize("restarts", [False, True], ids=["stays away", "comes back at once"])
def test_the_server_ends_at_any_moment(repository: Repository, monkeypatch: pytest.MonkeyPatch, restarts: bool) -> None:
    targets = {"classifier": 2}
    after = {**OLD, "classifier": 2}
    monkeypatch.setattr(engine, "_VERIFY_PAUSE_S", 0.0)
    for at, copy in moments(repository, monkeypatch, targets):
        with monkeypatch.context() as patch:
            world = World(copy, patch)

            def end(world: World = world) -> None:
                world.be_well()
                if restarts:
                    world.server.start()
                else:
                    world.server.kill()

            world.go_wrong(at, end)
            try:
                outcome: Outcome | None = run(copy, world.server, **targets)
            except Interrupted as exc:
                outcome = None
                assert "--resume" in str(exc)
            except (ServerLost, SetupError):  # before it began
                outcome = None
            if not world.server.running:
                assert copy.release() in (OLD, after)
                world.server.start()
            assert world.server.release() == copy.release()
            if outcome is not None:
                assert copy.release() == (after if outcome.done else OLD), world.happened[-3:]
            elif (record := Journal(copy.path).unfinished()) is not None:
                assert rollout(copy, world.server).resume(record).done
                assert world.server.release() == copy.release() == after


def test_a_full_disk_at_any_moment(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing fails from some moment on; what the server does goes on."""
    targets = {"plate_reader": 2, "fusion": 2}
    after = make_plan(repository, targets).after
    for at, copy in moments(repository, monkeypatch, targets):
        with monkeypatch.context() as patch:
            world = World(copy, patch)

            def full(world: World = world) -> None:
                if world.happened[-1] in ("serve", "pin", "append"):
                    raise SetupError("No space left on device")

            plan = make_plan(copy, targets)
            world.go_wrong(at, full)
            try:
                outcome: Outcome | None = rollout(copy, world.server).run(plan)
            except (SetupError, Interrupted):
                outcome = None
            world.be_well()
            answering = world.server.release()
            assert answering in (OLD, after)
            assert copy.release() in (OLD, after)
            if outcome is not None:
                assert (answering, copy.release()) == ((after, after) if outcome.done else (OLD, OLD))
            record = Journal(copy.path).unfinished()
            if record is not None:  # its end could not be written either
                assert rollout(copy, world.server).abort(record).outcome == journal.ABORTED
                assert world.server.release() == copy.release() == OLD


def test_two_at_once(repository: Repository) -> None:
    diary = Journal(repository.path)
    other = Journal(repository.path).locked()
    with diary.locked(), pytest.raises(SetupError, match="another rollout of this repository is under way"), other:
        pass
    with diary.locked():  # free again
        assert diary.running()
    assert not diary.running()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        pytest.param(
            {"classifier": 3}, r"version of classifier: expected one of those on disk \(1, 2\), got 3", id="absent"
        ),
        pytest.param({"classifier": 1}, "classifier 1 serves already", id="serving"),
    ],
)
def test_what_cannot_be_planned(repository: Repository, targets: dict[str, int], message: str) -> None:
    with pytest.raises(SetupError, match=message):
        make_plan(repository, targets)


def test_a_recognizer_that_would_move_a_network_unasked(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    run(repository, server, plate_reader=2)
    with pytest.raises(SetupError, match=r"entity_recognizer 2 calls plate_reader 1, but plate_reader 2 serves"):
        make_plan(repository, {"entity_recognizer": 2})
    kept = make_plan(repository, {"entity_recognizer": 2, "plate_reader": 2})
    assert kept.after["plate_reader"] == 2
    assert kept.after["entity_recognizer"] not in (1, 2)
    assert "# version 2" in repository.file("entity_recognizer", kept.after["entity_recognizer"]).read_text()


def test_a_refusal_by_the_preflight_touches_nothing(repository: Repository) -> None:
    """The way back of an earlier rollout stays loaded too."""
    server = FakeTriton(repository.path)
    run(repository, server, classifier=2)
    calls: list[str] = []
    server.before_call = calls.append
    outcome = run(repository, server, EasyChecks(server, (engine.PREFLIGHT,)), classifier=1)

    assert outcome.outcome == journal.STOPPED
    assert [call for call in calls if "load" in call] == []
    assert server.held["classifier"] == {1, 2}
    assert repository.served("classifier") == (1, 2)


def test_a_check_that_fails_leaves_the_way_back_loaded(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    run(repository, server, classifier=2)
    outcome = run(repository, server, EasyChecks(server, (engine.SHADOW,)), classifier=1)

    assert outcome.outcome == journal.STOPPED
    assert server.held["classifier"] == {1, 2}
    assert repository.served("classifier") == (1, 2)
    assert server.release() == {**OLD, "classifier": 2}


def test_the_server_of_another_repository_keeps_what_answers_there(repository: Repository, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(repository.path, elsewhere)
    server = FakeTriton(elsewhere)
    run(Repository(elsewhere), server, classifier=2)
    outcome = run(repository, server, classifier=2)

    assert outcome.outcome == journal.STOPPED
    assert "does not serve what" in outcome.sentence
    assert server.release() == {**OLD, "classifier": 2}
    with pytest.raises(SetupError, match="does not serve what"):
        engine.retire(repository, server, Journal(repository.path), COMPONENTS)
    assert server.release() == {**OLD, "classifier": 2}


def test_without_a_server_nothing_is_begun(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    server.kill()
    with pytest.raises(ServerLost):
        run(repository, server, classifier=2)
    assert interruption(repository.path) == ""


def test_a_way_back_that_does_not_answer_is_not_taken(repository: Repository) -> None:
    """Its process has ended, though Triton goes on calling it ready."""
    server = FakeTriton(repository.path)
    run(repository, server, classifier=2)
    checks = EasyChecks(server)

    def dead(plan: Plan) -> None:
        raise Stopped("the stub is not healthy")

    checks.load_candidate = dead  # type: ignore[method-assign]
    back = rollout(repository, server, checks).run(
        plan_back(repository, "classifier", Journal(repository.path).records())
    )
    assert back.outcome == journal.STOPPED
    assert server.release() == repository.release() == {**OLD, "classifier": 2}


def test_a_rollback_does_not_undo_itself(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    run(repository, server, classifier=2)
    plan = plan_back(repository, "classifier", Journal(repository.path).records())
    back = rollout(repository, server, EasyChecks(server, (engine.WATCH,))).run(plan)

    assert back.outcome == journal.DONE
    assert "does not like it" in back.sentence
    assert server.release() == repository.release() == OLD


def test_the_identity_threshold_goes_with_the_embedder(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    before = repository.networks(1).identity_threshold
    assert rollout(repository, server).run(make_plan(repository, {"face_embedder": 2}, identity_threshold=0.4)).done
    recognizer = repository.release()["entity_recognizer"]
    assert repository.networks(recognizer).identity_threshold == 0.4

    back = plan_back(repository, "face_embedder", Journal(repository.path).records())
    assert back.after == OLD
    forward = make_plan(repository, {"face_embedder": 1, "plate_reader": 2})
    assert repository.networks(forward.after["entity_recognizer"]).identity_threshold == before
    with pytest.raises(SetupError, match="goes with another face_embedder"):
        make_plan(repository, {"classifier": 2}, identity_threshold=0.4)


def test_what_has_moved_on_since_does_not_go_back_unasked(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    shutil.copytree(repository.folder("fusion", 1), repository.folder("fusion", 3))
    run(repository, server, detector=2, fusion=2)
    run(repository, server, fusion=3)
    with pytest.raises(SetupError, match=r"moved together with fusion, which moved on since: .* detector=1`"):
        plan_back(repository, "detector", Journal(repository.path).records())


def test_a_retirement_is_in_the_journal_and_blocks_nothing(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    run(repository, server, classifier=2)
    diary = Journal(repository.path)
    engine.retire(repository, server, diary, COMPONENTS)

    last = list(diary.entries())[-1]
    assert (last.event, last.facts["retired"]) == (journal.RETIRED, ["classifier 1"])
    assert diary.unfinished() is None


def test_an_answer_that_is_none_is_no_crash(repository: Repository) -> None:
    server = FakeTriton(repository.path)
    checks = EasyChecks(server)

    def garbage(plan: Plan, progress: Progress) -> Passed:
        raise ValueError("Expecting value: line 1 column 1")

    checks.shadow = garbage  # type: ignore[method-assign]
    outcome = run(repository, server, checks, classifier=2)
    assert outcome.outcome == journal.STOPPED
    assert server.release() == OLD
