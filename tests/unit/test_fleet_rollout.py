"""Rollouts over three servers that are only their bookkeeping: all of them move, or none has in the end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fake_triton import FakeTriton
from tests.quiet_display import Quiet
from tests.tiny_trident import write_network, write_repository
from trident.contract import CANDIDATE, COMPONENTS, ENSEMBLE
from trident.errors import SetupError
from trident.fleet.file import Server
from trident.fleet.member import Member, listed, opened, standings
from trident.fleet.past import MARK, left_by
from trident.fleet.plans import identity_threshold_of, moves_of
from trident.fleet.rollout import FleetInterrupted, FleetRollout
from trident.rollout import canary, engine, journal
from trident.rollout.disk import Repository
from trident.rollout.engine import Passed, Progress, Rollout, Stopped
from trident.rollout.journal import Journal
from trident.rollout.options import Options
from trident.rollout.plan import Plan, make_plan
from trident.rollout.serving import ServingError, analyze

NAMES = ("a", "b", "c")
OLD = dict.fromkeys(COMPONENTS, 1)
NEW = {**OLD, "classifier": 2}
WAY_BACK = "way back"
"""Not a step of its own: the way back of a server."""


class Killed(BaseException):
    """SIGKILL: nothing runs any more."""


@dataclass
class World:
    """Three servers, each with its repository."""

    folder: Path
    failing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Steps that are not passed, by server."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Server and step, of all that were."""
    watched: list[tuple[str, float]] = field(default_factory=list)
    """Server and how long it was to be watched."""

    def __post_init__(self) -> None:
        self.tritons = {name: FakeTriton(self.folder / name) for name in NAMES}
        self.display = Quiet()

    def member(self, name: str) -> Member:
        repository = self.folder / name
        return Member(name, Repository(repository), Journal(repository), self.tritons[name])

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(map(self.member, NAMES))

    def fleet(self) -> FleetRollout:
        return FleetRollout(self.members, self.display, checks_of=self.checks_of, ready_within_s=0.0)

    def checks_of(self, member: Member, options: Options) -> EasyChecks:
        return EasyChecks(self, member, options)

    def releases(self) -> list[dict[str, int]]:
        """What answers on each server; disk and memory agree."""
        releases = [self.tritons[name].release() for name in NAMES]
        assert releases == [member.repository.release() for member in self.members]
        return releases

    def records(self, name: str) -> list[tuple[str, str | None]]:
        return [(record.kind, record.outcome) for record in self.member(name).diary.records()]

    def moved_in_order(self) -> list[str]:
        return [name for name, step in self.asked if step == engine.SHADOW]


class EasyChecks:
    """Checks that pass, but for the steps that the world has fail."""

    def __init__(self, world: World, member: Member, options: Options) -> None:
        self._world = world
        self._member = member
        self._options = options

    def _step(self, name: str) -> Passed:
        self._world.asked.append((self._member.name, name))
        if name in self._world.failing.get(self._member.name, ()):
            raise Stopped(f"{name} does not like it")
        return Passed("fine")

    def preflight(self, plan: Plan) -> Passed:
        return self._step(engine.PREFLIGHT)

    def load_candidate(self, plan: Plan) -> None:
        if plan.kind == engine.ROLLBACK and WAY_BACK in self._world.failing.get(self._member.name, ()):
            raise Stopped("too many requests: ask again later")
        base = self._member.repository.config(ENSEMBLE)
        canary.load_ensemble(self._member.serving, base, CANDIDATE, plan.after)

    def shadow(self, plan: Plan, progress: Progress) -> Passed:
        return self._step(engine.SHADOW)

    def canary(self, plan: Plan, progress: Progress) -> Passed | None:
        return self._step(engine.CANARY) if self._options.canary else None

    def before_flip(self) -> None:
        pass

    def watch(self, plan: Plan, progress: Progress) -> Passed | None:
        self._world.watched.append((self._member.name, self._options.watch_s))
        return self._step(engine.WATCH) if self._options.watch_s else None

    def answering(self) -> Mapping[str, int]:
        answer = analyze(self._member.serving, b"")
        return {name: entry["version"] for name, entry in json.loads(answer["RESULT"][0, 0])["models"].items()}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("fleet") / "models")


@pytest.fixture
def world(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(engine, "_VERIFY_PAUSE_S", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nobody pulls a plug here
    for name in NAMES:
        shutil.copytree(template, tmp_path / name)
    return World(tmp_path)


def test_all_move_one_after_the_other_with_the_canary_on_the_first(world: World) -> None:
    outcome = world.fleet().run({"classifier": 2}, Options(canary=0.1, watch_s=3.0))

    assert (outcome.outcome, outcome.standing) == (journal.DONE, "a, b and c all serve classifier 2")
    assert world.releases() == [NEW] * 3
    assert world.moved_in_order() == list(NAMES)
    assert [name for name, step in world.asked if step == engine.CANARY] == ["a"]
    assert world.watched == [(name, 3.0) for name in NAMES]
    # All are looked at before the first is touched.
    assert [name for name, _ in world.asked[:3]] == list(NAMES)
    marks = {json.dumps(member.diary.records()[0].started["options"][MARK]) for member in world.members}
    assert len(marks) == 1
    assert left_by(world.members) is None


def test_a_server_that_serves_it_already_is_left_alone(world: World) -> None:
    moved = world.member("b")
    Rollout(moved.repository, moved.serving, moved.diary, world.checks_of(moved, Options()), Quiet()).run(
        make_plan(moved.repository, {"classifier": 2})
    )
    outcome = world.fleet().run({"classifier": 2}, Options())

    assert outcome.outcome == journal.DONE
    assert "b serves classifier 2 already" in world.display.said
    assert world.releases() == [NEW] * 3
    assert len(world.records("b")) == 1

    again = world.fleet().run({"classifier": 2}, Options())
    assert again.outcome == journal.DONE
    assert [len(world.records(name)) for name in NAMES] == [1, 1, 1]


def test_one_that_cannot_take_it_keeps_all_from_being_touched(world: World) -> None:
    world.failing["c"] = (engine.PREFLIGHT,)
    outcome = world.fleet().run({"classifier": 2}, Options())

    assert outcome.outcome == journal.STOPPED
    assert outcome.sentence == "c: preflight does not like it"
    assert outcome.standing == "a, b and c all serve classifier 1"
    assert [world.records(name) for name in NAMES] == [[], [], []]


@pytest.mark.parametrize("step", [engine.SHADOW, engine.CANARY, engine.WATCH, "load"])
@pytest.mark.parametrize("name", NAMES)
def test_where_one_fails_all_that_moved_go_back(world: World, name: str, step: str) -> None:
    if step == "load":
        world.tritons[name].broken.add(("classifier", 2))
    world.failing[name] = (step,)
    canary_share = 0.1 if step == engine.CANARY else 0.0
    outcome = world.fleet().run({"classifier": 2}, Options(canary=canary_share))

    if step == engine.CANARY and name != "a":
        assert outcome.outcome == journal.DONE, "only the first has one"
        return
    before = NAMES[: NAMES.index(name)]
    assert outcome.outcome == (journal.ROLLED_BACK if before else journal.STOPPED)
    assert outcome.sentence.startswith(f"{name}: ")
    assert outcome.standing == "a, b and c all serve classifier 1"
    assert world.releases() == [OLD] * 3
    if before:
        assert outcome.sentence.endswith(f". {listed(before)} went back")
    for moved in before:
        assert world.records(moved) == [("rollout", journal.DONE), ("rollback", journal.DONE)]
    assert left_by(world.members) is None
    if step != "load":
        world.failing.clear()
        assert world.fleet().run({"classifier": 2}, Options()).outcome == journal.DONE


def test_going_back_is_the_last_one_first_and_unwatched(world: World) -> None:
    world.failing["c"] = (engine.SHADOW,)
    world.fleet().run({"classifier": 2}, Options(watch_s=5.0))

    assert world.watched == [("a", 5.0), ("b", 5.0), ("b", 0.0), ("a", 0.0)]


def test_a_journal_that_cannot_be_read_any_more_keeps_no_other_server_from_going_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount that has gone stale in the middle, say."""
    world.failing["c"] = (engine.SHADOW,)
    entries = Journal.entries

    def stale(diary: Journal) -> Iterator[journal.Entry]:
        if diary.file.is_relative_to(world.folder / "b") and ("c", engine.SHADOW) in world.asked:
            raise SetupError("the journal cannot be read: Stale file handle")
        return entries(diary)

    monkeypatch.setattr(Journal, "entries", stale)
    with pytest.raises(FleetInterrupted, match=r"c: shadow does not like it\. b: .*Stale file handle"):
        world.fleet().run({"classifier": 2}, Options())

    assert world.records("a") == [("rollout", journal.DONE), ("rollback", journal.DONE)]
    assert world.tritons["a"].release() == OLD


def test_a_version_of_the_same_number_that_is_another_is_refused(world: World) -> None:
    write_network(world.folder / "b", "classifier", 2, differs=True)
    outcome = world.fleet().run({"classifier": 2}, Options())

    assert outcome.outcome == journal.STOPPED
    assert outcome.sentence.startswith("classifier is not the same on all servers: a 2 and c 2 (sha256:")
    assert "; b 2 (sha256:" in outcome.sentence
    assert world.asked == []


def test_what_differs_and_does_not_move_is_mentioned(world: World) -> None:
    write_network(world.folder / "b", "detector", 1, differs=True)
    outcome = world.fleet().run({"classifier": 2}, Options())

    assert outcome.outcome == journal.DONE
    assert any(
        said.startswith("mind: detector is not the same on all servers: a 1 and c 1") for said in world.display.said
    )


def test_a_recognizer_may_have_another_number_on_each_server(world: World) -> None:
    """On b, somebody has tried another reader before: the recognizer that calls it took number 3."""
    tried = {"face_detector": 2, "face_embedder": 1, "plate_detector": 1, "plate_reader": 1}
    Repository(world.folder / "b").recognizer_for(tried, code_of=1)
    outcome = world.fleet().run({"plate_reader": 2}, Options())

    assert outcome.outcome == journal.DONE
    assert [release["plate_reader"] for release in world.releases()] == [2, 2, 2]
    assert [release["entity_recognizer"] for release in world.releases()] == [3, 4, 3]

    back = world.fleet().back("plate_reader", Options(watch_s=0.0))
    assert back.outcome == journal.DONE
    assert world.releases() == [OLD] * 3


def test_servers_that_do_not_answer_are_all_named_before_anything_is_done(world: World) -> None:
    world.tritons["a"].kill()
    world.tritons["c"].kill()
    with pytest.raises(SetupError) as caught:
        world.fleet().run({"classifier": 2}, Options())

    assert str(caught.value).startswith("a: no server answers at fake:8001; c: no server answers")
    assert [world.records(name) for name in NAMES] == [[], [], []]


def test_a_server_that_does_not_serve_what_its_disk_says_is_noticed_at_once(world: World) -> None:
    other = Repository(world.folder / "b")
    other.serve("detector", (1, 2))
    other.pin({"detector": 2})
    with pytest.raises(SetupError, match="b: the server at fake:8001 does not serve what"):
        world.fleet().run({"classifier": 2}, Options())


def test_two_at_once_are_refused(world: World) -> None:
    servers = [Server(name, f"127.0.0.1:{8001 + i}", world.folder / name) for i, name in enumerate(NAMES)]
    refused = pytest.raises(SetupError, match="b: another rollout of this repository")
    with opened(servers, alone=True), refused, opened(servers[1:], alone=True):
        pass
    with opened(servers, alone=True) as members:
        assert [member.name for member in members] == list(NAMES)


def test_a_rollout_of_one_server_that_was_interrupted_is_for_that_one_to_end(world: World) -> None:
    interrupt_one(world, "b", {"fusion": 2})
    for command in (lambda: world.fleet().run({"classifier": 2}, Options()), world.fleet().resume, world.fleet().abort):
        with pytest.raises(SetupError, match="b: rollout of fusion=2 was interrupted") as caught:
            command()
        assert str(world.folder / "b") in str(caught.value)


def interrupt_one(world: World, name: str, targets: dict[str, int]) -> None:
    member = world.member(name)

    class Kills(EasyChecks):
        def shadow(self, plan: Plan, progress: Progress) -> Passed:
            raise Killed

    with pytest.raises(Killed):
        Rollout(member.repository, member.serving, member.diary, Kills(world, member, Options()), Quiet()).run(
            make_plan(member.repository, targets)
        )


def moments(world: World, monkeypatch: pytest.MonkeyPatch, command: Callable[[], object]) -> int:
    """At how many moments a command has written, or is about to write, a line of a journal."""
    count = 0
    append = Journal.append

    def counted(*arguments: Any, **facts: Any) -> None:
        nonlocal count
        count += 1
        append(*arguments, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", counted)
        command()
    return count


def killed_at(world: World, monkeypatch: pytest.MonkeyPatch, at: int, command: Callable[[], object]) -> None:
    """Run a command and kill it when it is about to write line number ``at``."""
    count = 0
    append = Journal.append

    def deadly(*arguments: Any, **facts: Any) -> None:
        nonlocal count
        if count == at:
            raise Killed
        count += 1
        append(*arguments, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", deadly)
        with pytest.raises(Killed):
            command()


def begun_anew(world: World, files: dict[Path, bytes]) -> World:
    for path, content in files.items():
        if path.read_bytes() != content:
            path.write_bytes(content)
    for name in NAMES:
        Journal(world.folder / name).file.unlink(missing_ok=True)
    return World(world.folder)


@pytest.mark.parametrize("way", ["resume", "abort", "the same command"])
def test_killed_at_any_moment(world: World, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    files = {path: path.read_bytes() for path in world.folder.glob("*/*/config.pbtxt")}
    count = moments(world, monkeypatch, lambda: world.fleet().run({"classifier": 2}, Options()))
    assert count > 3 * 10
    seen = set()
    for at in range(count):
        here = begun_anew(world, files)
        killed_at(here, monkeypatch, at, lambda here=here: here.fleet().run({"classifier": 2}, Options()))
        left = left_by(here.members)
        where = f"killed at {at}: {left}"
        unfinished = [member.name for member in here.members if member.diary.unfinished()]
        seen.add((len(unfinished), sum(release == NEW for release in [t.release() for t in here.tritons.values()])))
        if left is None:
            assert not unfinished, where
            assert here.releases() in ([OLD] * 3, [NEW] * 3), where
            continue
        if way == "the same command":
            if unfinished:
                with pytest.raises(SetupError, match="--resume"):
                    here.fleet().run({"classifier": 2}, Options())
                continue
            outcome = here.fleet().run({"classifier": 2}, Options())
        else:
            outcome = here.fleet().resume() if way == "resume" else here.fleet().abort()
        assert outcome.outcome == (journal.ABORTED if way == "abort" else journal.DONE), where
        assert here.releases() == [OLD if way == "abort" else NEW] * 3, where
        assert left_by(here.members) is None, where
        assert not [member for member in here.members if member.diary.unfinished()], where
    assert {(1, 0), (1, 1), (0, 1), (1, 2), (0, 2)} <= seen, "in the middle of a server, and between two"


def test_killed_at_any_moment_of_going_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the two is asked for, it goes on going back."""
    files = {path: path.read_bytes() for path in world.folder.glob("*/*/config.pbtxt")}

    def stopped(here: World) -> None:
        here.failing["c"] = (engine.SHADOW,)
        here.fleet().run({"classifier": 2}, Options())

    count = moments(world, monkeypatch, lambda: stopped(world))
    begun = 0
    for at in range(count):
        here = begun_anew(world, files)
        killed_at(here, monkeypatch, at, lambda here=here: stopped(here))
        left = left_by(here.members)
        if left is None or not left.turned_back:
            continue
        begun += 1
        outcome = here.fleet().resume() if at % 2 else here.fleet().abort()
        assert outcome.outcome == journal.ABORTED, at
        assert here.releases() == [OLD] * 3, at
        assert left_by(here.members) is None, at
    assert begun > 10


def test_killed_at_any_moment_of_a_rollback(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fleet().run({"classifier": 2}, Options())
    files = {path: path.read_bytes() for path in world.folder.glob("*/*/config.pbtxt")}
    journals = {name: Journal(world.folder / name).file.read_bytes() for name in NAMES}
    count = moments(world, monkeypatch, lambda: world.fleet().back("classifier", Options(watch_s=0.0)))
    for at in range(count):
        here = begun_anew(world, files)
        for name, content in journals.items():
            Journal(here.folder / name).file.write_bytes(content)
        killed_at(here, monkeypatch, at, lambda here=here: here.fleet().back("classifier", Options(watch_s=0.0)))
        left = left_by(here.members)
        if left is None:
            assert here.releases() in ([OLD] * 3, [NEW] * 3), at
            continue
        with pytest.raises(SetupError, match="a rollback is not taken back"):
            here.fleet().abort()
        if left.unfinished or at % 2:
            outcome = here.fleet().resume()
        else:
            outcome = here.fleet().back("classifier", Options(watch_s=0.0))
        assert outcome.outcome == journal.DONE, at
        assert here.releases() == [OLD] * 3, at
        assert left_by(here.members) is None, at


def test_a_server_that_ends_in_its_turn_leaves_it_to_resume_or_abort(world: World) -> None:
    triton = world.tritons["b"]

    def end(what: str) -> None:
        if what == f"load {CANDIDATE}":
            triton.kill()

    triton.before_call = end
    with pytest.raises(FleetInterrupted) as caught:
        world.fleet().run({"classifier": 2}, Options())
    assert "b: no server answers" in str(caught.value)
    assert "a serves classifier 2; b and c serve classifier 1" in str(caught.value)
    assert "--fleet FILE --resume" in str(caught.value)
    with pytest.raises(FleetInterrupted):  # not there yet
        world.fleet().resume()

    triton.before_call = lambda _: None
    triton.start()
    assert world.fleet().resume().outcome == journal.DONE
    assert world.releases() == [NEW] * 3


def test_one_that_cannot_go_back_does_not_keep_the_others_from_it(world: World) -> None:
    world.failing["c"] = (engine.SHADOW,)

    def end(what: str) -> None:
        if what == f"load {CANDIDATE}":
            world.tritons["b"].kill()

    world.tritons["c"].before_call = end
    with pytest.raises(FleetInterrupted, match=r"shadow does not like it\. b: no server answers") as caught:
        world.fleet().run({"classifier": 2}, Options())
    assert "a and c serve classifier 1; b serves classifier 2" in str(caught.value)

    world.tritons["b"].start()
    assert world.fleet().abort().outcome == journal.ABORTED
    assert world.releases() == [OLD] * 3
    assert world.records("a") == [("rollout", journal.DONE), ("rollback", journal.DONE)]


def stuck(world: World, outcome: str | None, targets: dict[str, int] | None = None, **options: Any) -> str:
    """Leave a rollout that fails on c, after which b goes back and a does not; gives what was said.

    The outcome is that of a's way back; None for one that has not begun.
    """
    a, c = world.tritons["a"], world.tritons["c"]

    def trouble(what: str) -> None:
        on_disk = Repository(a.repository).release()
        if outcome == journal.ROLLED_BACK and what == f"load {ENSEMBLE}" and on_disk == OLD:
            raise ServingError("the server cannot load it", "INTERNAL")
        if outcome == journal.ABORTED and what == f"load {CANDIDATE}" and on_disk != OLD:
            a.kill()

    def away(what: str) -> None:
        if outcome is None and what == f"load {CANDIDATE}":
            a.kill()

    a.before_call, c.before_call = trouble, away
    world.failing = {"c": (engine.SHADOW,), "a": (WAY_BACK,) if outcome == journal.STOPPED else ()}
    with pytest.raises(FleetInterrupted, match=r"c: shadow does not like it\. a: ") as caught:
        world.fleet().run(targets or {"classifier": 2}, Options(), **options)
    a.before_call = c.before_call = lambda _: None
    world.failing = {}
    if not a.running:
        a.start()
    if outcome == journal.ABORTED:
        one = world.member("a")
        record = one.diary.unfinished()
        assert record is not None
        Rollout(one.repository, one.serving, one.diary, world.checks_of(one, Options()), Quiet()).abort(record)
    assert world.records("a") == [("rollout", journal.DONE), *([("rollback", outcome)] if outcome else [])]
    assert world.records("b") == [("rollout", journal.DONE), ("rollback", journal.DONE)]
    assert [release == OLD for release in world.releases()] == [False, True, True]
    world.watched.clear()
    return str(caught.value)


@pytest.mark.parametrize("way", ["resume", "abort", "the same command", "the same command, in vain"])
@pytest.mark.parametrize("outcome", [journal.STOPPED, journal.ROLLED_BACK, journal.ABORTED])
def test_a_way_back_that_comes_to_nothing_can_be_gone_again(world: World, outcome: str, way: str) -> None:
    said = stuck(world, outcome)
    assert "`trident rollout --fleet FILE --resume` goes on with it" in said
    assert "a serves classifier 2; b and c serve classifier 1" in said
    with pytest.raises(SetupError, match="a has moved: `trident rollout --fleet FILE --resume`"):
        world.fleet().back("classifier", Options())

    if way == "the same command, in vain":
        world.failing["c"] = (engine.SHADOW,)
    if way.startswith("the same command"):
        ended = world.fleet().run({"classifier": 2}, Options())
    else:
        ended = world.fleet().resume() if way == "resume" else world.fleet().abort()
    forward = way == "the same command"
    expected = journal.ROLLED_BACK if way.endswith("in vain") else journal.DONE if forward else journal.ABORTED
    assert ended.outcome == expected
    assert world.releases() == [NEW if forward else OLD] * 3
    assert left_by(world.members) is None


def test_a_way_back_that_fails_again_is_not_forgotten(world: World) -> None:
    stuck(world, journal.STOPPED)
    world.failing["a"] = (WAY_BACK,)
    for command in (world.fleet().resume, world.fleet().abort):
        with pytest.raises(FleetInterrupted, match="a serves classifier 2; b and c serve classifier 1"):
            command()
    world.failing.clear()
    assert world.fleet().resume().outcome == journal.ABORTED
    assert world.releases() == [OLD] * 3


def test_what_had_brought_a_server_is_known_also_after_its_way_back_has_failed(world: World) -> None:
    stuck(world, journal.STOPPED, {"face_embedder": 2}, identity_threshold=0.625)
    left = left_by(world.members)
    assert left is not None
    ((member, plan),) = moves_of(left.moved)
    assert (member.name, plan.kind, plan.targets) == ("a", "rollout", {"face_embedder": 2})
    assert (plan.before, plan.after) == (OLD, world.releases()[0])
    assert identity_threshold_of(left) == 0.625


@pytest.mark.parametrize("outcome", [journal.STOPPED, None])
def test_killed_at_any_moment_of_going_forward_again(
    world: World, monkeypatch: pytest.MonkeyPatch, outcome: str | None
) -> None:
    """The same command turns what was being taken back; ``--resume`` goes on forward from there, with its options."""
    stuck(world, outcome)
    files = {path: path.read_bytes() for path in world.folder.glob("*/*/config.pbtxt")}
    journals = {name: Journal(world.folder / name).file.read_bytes() for name in NAMES}
    left = left_by(world.members)
    assert left is not None
    assert left.turned_back

    def again(here: World) -> None:
        here.fleet().run({"classifier": 2}, Options(watch_s=3.0, canary=0.5))

    count = moments(world, monkeypatch, lambda: again(world))
    assert count > 2 * 10
    for at in range(count):
        here = begun_anew(world, files)
        for name, content in journals.items():
            Journal(here.folder / name).file.write_bytes(content)
        killed_at(here, monkeypatch, at, lambda here=here: again(here))
        outcome_then = here.fleet().resume().outcome
        if at == 0:  # nothing is on disk that tells of it
            assert outcome_then == journal.ABORTED
            continue
        assert outcome_then == journal.DONE, at
        assert here.releases() == [NEW] * 3, at
        assert {seconds for _, seconds in here.watched} == {3.0}, at
        assert engine.CANARY not in {step for _, step in here.asked}, at
        assert left_by(here.members) is None, at


def test_what_goes_forward_again_can_be_taken_back_again(world: World) -> None:
    stuck(world, journal.STOPPED)
    world.failing = {"c": (engine.SHADOW,), "b": (WAY_BACK,)}
    with pytest.raises(FleetInterrupted, match="a and c serve classifier 1; b serves classifier 2"):
        world.fleet().run({"classifier": 2}, Options())
    world.failing.clear()
    assert world.fleet().resume().outcome == journal.ABORTED, "the newest failure says that it was going back"
    assert world.releases() == [OLD] * 3


def test_a_server_that_is_back_in_time_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def blink(what: str) -> None:
        if what == "loaded classifier":
            world.tritons["b"].kill()

    def revive(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            world.tritons["b"].start()

    world.tritons["a"].before_call = blink
    monkeypatch.setattr("trident.fleet.rollout.time.sleep", revive)
    fleet = FleetRollout(world.members, world.display, checks_of=world.checks_of, ready_within_s=60.0)
    assert fleet.run({"classifier": 2}, Options()).outcome == journal.DONE
    assert looks == 3


def test_rollback_takes_the_last_server_first_and_is_done_once(world: World) -> None:
    world.fleet().run({"detector": 2, "fusion": 2}, Options())
    world.watched.clear()
    outcome = world.fleet().back("fusion", Options(watch_s=1.0))

    assert outcome.outcome == journal.DONE
    assert world.releases() == [OLD] * 3, "what moved together went back together"
    assert world.watched == [("c", 1.0), ("b", 1.0), ("a", 1.0)]
    with pytest.raises(SetupError, match="nothing to roll back to"):
        world.fleet().back("fusion", Options())


def test_rollback_of_servers_that_do_not_serve_the_same_is_refused(world: World) -> None:
    world.fleet().run({"classifier": 2}, Options())
    one = world.member("a")
    Rollout(one.repository, one.serving, one.diary, world.checks_of(one, Options()), Quiet()).run(
        make_plan(one.repository, {"classifier": 1})
    )
    with pytest.raises(SetupError) as caught:
        world.fleet().back("classifier", Options())
    assert "a serves classifier 1; b and c serve classifier 2" in str(caught.value)
    assert "classifier=VERSION" in str(caught.value)


def test_a_rollback_that_fails_on_one_goes_on_with_the_others_and_can_be_given_again(world: World) -> None:
    world.fleet().run({"classifier": 2}, Options())
    world.tritons["b"].kill()
    with pytest.raises(FleetInterrupted) as caught:
        world.fleet().back("classifier", Options(watch_s=0.0))
    assert "a and c serve classifier 1; b serves classifier 2" in str(caught.value)
    assert "--abort" not in str(caught.value)

    world.tritons["b"].start()
    assert world.fleet().back("classifier", Options(watch_s=0.0)).outcome == journal.DONE
    assert world.releases() == [OLD] * 3


def test_a_rollout_that_was_interrupted_is_not_rolled_back_but_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Journal.append

    def die_on_b(diary: Journal, *arguments: Any, **facts: Any) -> None:
        if diary.file.parent.name == "b":
            raise Killed
        begin(diary, *arguments, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", die_on_b)
        with pytest.raises(Killed):
            world.fleet().run({"classifier": 2}, Options())
    with pytest.raises(SetupError, match="a has moved: `trident rollout --fleet FILE --resume`"):
        world.fleet().back("classifier", Options())
    assert world.fleet().abort().outcome == journal.ABORTED
    assert world.releases() == [OLD] * 3


def test_what_somebody_did_to_one_server_since_is_not_taken_for_an_interruption(world: World) -> None:
    world.fleet().run({"classifier": 2}, Options())
    one = world.member("b")
    Rollout(one.repository, one.serving, one.diary, world.checks_of(one, Options()), Quiet()).run(
        make_plan(one.repository, {"classifier": 1})
    )
    assert left_by(world.members) is None
    with pytest.raises(SetupError, match="no rollout of this fleet was interrupted"):
        world.fleet().resume()


def test_a_server_that_joins_later_does_not_take_the_others_back(world: World) -> None:
    two = FleetRollout(world.members[:2], world.display, checks_of=world.checks_of, ready_within_s=0.0)
    two.run({"classifier": 2}, Options())
    world.failing["c"] = (engine.SHADOW,)
    outcome = world.fleet().run({"classifier": 2}, Options())

    assert outcome.outcome == journal.STOPPED
    assert world.releases() == [NEW, NEW, OLD]
    assert outcome.standing == "a and b serve classifier 2; c serves classifier 1"


def test_a_mistake_is_said_for_each_server(world: World) -> None:
    with pytest.raises(SetupError) as caught:
        world.fleet().run({"classifier": 7}, Options())
    assert [part.partition(":")[0] for part in str(caught.value).split("; ")] == ["a", "b", "c"]
    assert "expected one of those on disk (1, 2), got 7" in str(caught.value)


def test_standings_and_lists() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"


def test_who_serves_what_is_said_of_one_server_too(world: World) -> None:
    assert standings(world.members[:1], ["classifier", "fusion"]) == "a serves classifier 1, fusion 1"
