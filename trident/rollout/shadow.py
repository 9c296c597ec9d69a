"""Has two releases answer the same pictures, and compares what they say and how long they take.

Each component that changes is asked directly, both versions with identical inputs: the pixels that the serving
preprocess makes, the crops that the serving networks lead to, the branches' serving answers. Then both ensembles are
asked for the whole. The serving release goes on answering its callers meanwhile, so the shadow asks one thing at a time
and rests in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.contract import CALLED, CANDIDATE, ENSEMBLE, RECOGNIZER
from trident.entities.gallery import Embeddings, Snapshot
from trident.entities.pictures import Pictures
from trident.entities.recognizer import recognize
from trident.entities.settings import Settings
from trident.entities.types import Identity
from trident.errors import InvalidInput
from trident.fusion.batch import fusion_inputs
from trident.rollout.golden import GoldenPicture
from trident.rollout.judges import Judge, judge_of
from trident.rollout.labelled import Side, compare_quality, count_labelled
from trident.rollout.limits import Limits, Metric, limited
from trident.rollout.release import Release, changes_between
from trident.rollout.serving import ServerLost, Serving, ServingError
from trident.rollout.shadow_result import NEW, OLD, ComparedPicture, Fault, Latency, Quality, ShadowResult
from trident.rollout.soundness import unsound, versions_of

Tensors = Mapping[str, npt.NDArray[Any]]
Progress = Callable[[int, int], None]
"""Told how many pictures are done, and how many there are."""

BUSY_REST, IDLE_REST = 5.0, 0.25
"""Pause after each call, as a share of the time that it took, with and without callers: the machine is theirs first."""
_LOOK_EVERY_S = 1.0

_MOST_FAULTS = 3
"""Failures after which a version is asked no more: each may cost a deadline."""
_SLOW_CALLS = 4
_HOPELESS = 3.0
"""A version that is this many times slower than the limit allows, over so many calls, is asked no more."""
_LEAST_DIFFERENCE_MS = 5.0
"""Below that, a ratio of times is noise: fusion takes about a millisecond."""
_FAILED = 2.0
_ENSEMBLES = {OLD: ENSEMBLE, NEW: CANDIDATE}
_WHOLE_OUTPUTS = ("RESULT", "BOXES", "BOX_SCORES", "BOX_CLASSES", "NUM_BOXES", "CATEGORY_SCORES", "CLASS_PROBABILITIES")


def compare(
    serving: Serving,
    before: Release,
    after: Release,
    pictures: Sequence[GoldenPicture],
    *,
    limits: Limits,
    settings: Settings,
    identity_threshold: float | None = None,
    gallery: Snapshot | None = None,
    labels: Path | None = None,
    rest: float | None = None,
    progress: Progress | None = None,
) -> ShadowResult:
    """Compare two releases that are both loaded: ``trident`` answers with the one, ``trident_candidate`` the other.

    Args:
        serving: The server.
        before: What serves now.
        after: What is to serve.
        pictures: What both are shown.
        limits: How much they may differ.
        settings: The serving entity recognizer's.
        identity_threshold: Smallest similarity of one person's faces in the new release; the serving one by default.
        gallery: The people whose faces are known, to compare names as well.
        labels: Folder of labelled pictures, as ``benchmarks/README.md`` describes it, to compare the quality as well.
        rest: Pause after each call, as a share of the time that it took; by default ``BUSY_REST`` while callers ask the
            serving ensemble, and ``IDLE_REST`` while nobody does.
        progress: Told how far it is, the labelled pictures included.

    Raises:
        ServerLost: The server does not answer any more. Any other failure is a fault in the result.
        SetupError: Quality is asked for and cannot be measured here.
        ServingError: A labelled picture was not answered.
    """
    start = time.monotonic()
    components = tuple(change.component for change in changes_between(before, after))
    threshold = settings.identity_threshold if identity_threshold is None else identity_threshold
    shadow = _Shadow(
        serving,
        releases={OLD: before, NEW: after},
        limits=limits,
        settings=settings,
        rest=rest,
    )
    for name in (*components, ENSEMBLE):
        shadow.judges[name] = judge_of(name, thresholds=(settings.identity_threshold, threshold), gallery=gallery)
    total = len(pictures) + (0 if labels is None else 2 * count_labelled(labels))

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, total)

    for done, picture in enumerate(pictures):
        tell(done)
        shadow.show(picture)
    quality: tuple[Quality, ...] = ()
    # A release that fails on pictures without labels has no quality to measure.
    if labels is not None and not shadow.faults:
        tell(len(pictures))
        quality = compare_quality(
            serving.url,
            labels,
            (Side(_ENSEMBLES[OLD], before, settings.identity_threshold), Side(_ENSEMBLES[NEW], after, threshold)),
            limits=limits,
            settings=settings,
            progress=lambda done, _: tell(len(pictures) + done),
        )
    tell(total)
    return shadow.result(components, quality, time.monotonic() - start)


@dataclass(slots=True)
class _Remarks:
    """What was said about one picture."""

    picture: GoldenPicture
    badness: float = 0.0
    reasons: list[tuple[float, str]] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    results: dict[str, bytes] = field(default_factory=dict)

    def add(self, badness: float, reason: str, detail: str = "") -> None:
        self.badness = max(self.badness, badness)
        if badness > 0:
            self.reasons.append((badness, reason))
        if detail:
            self.details.append(detail)


class _Hopeless(Exception):
    """This cannot be compared: a version failed, or is asked no more."""


class _Traffic:
    """Whether somebody else asks the ensemble that serves."""

    def __init__(self, serving: Serving, model: str) -> None:
        self._serving = serving
        self._model = model
        self._own = 0
        self._answered: int | None = None
        self._looked = -math.inf
        self._busy = True

    def count_own(self, model: str) -> None:
        """The shadow itself has asked a model."""
        self._own += model == self._model

    def busy(self) -> bool:
        """Whether others were answered in about the last second. Until that is known, they are taken to be there."""
        if time.monotonic() - self._looked >= _LOOK_EVERY_S:
            self._looked = time.monotonic()
            with contextlib.suppress(ServingError):  # it goes on as it was
                done = self._serving.statistics(self._model)
                answered = done.succeeded + done.failed
                if self._answered is not None:
                    self._busy = answered - self._answered > self._own
                self._answered, self._own = answered, 0
        return self._busy


class _Shadow:
    """One comparison while it runs."""

    def __init__(
        self,
        serving: Serving,
        *,
        releases: Mapping[str, Release],
        limits: Limits,
        settings: Settings,
        rest: float | None,
    ) -> None:
        self._serving = serving
        self._releases = releases
        self._limits = limits
        self._settings = settings
        self._rest = rest
        self._traffic = _Traffic(serving, ENSEMBLE)
        self.judges: dict[str, Judge] = {}
        self.faults: list[Fault] = []
        self._times: dict[tuple[str, str], list[float]] = {}
        self._warmed: set[str] = set()
        self._given_up: set[str] = set()
        self._warnings: list[str] = []
        self._remarks: list[_Remarks] = []
        self._turn = 0

    # One picture ----------------------------------------------------------------------------------------------------

    def show(self, picture: GoldenPicture) -> None:
        """Ask both releases about one picture."""
        about = _Remarks(picture)
        self._remarks.append(about)
        self._turn += 1
        image = {"IMAGE": np.array([[picture.encoded]], dtype=np.object_)}
        self._try(self._branches, image, about)
        self._try(self._whole, image, about)

    def _branches(self, image: Tensors, about: _Remarks) -> None:
        """Every component that changes, with what the old release gives it."""
        direct = self.judges.keys() - {ENSEMBLE}
        if not direct:
            return
        if "preprocess" in direct:
            self._try(self._both, "preprocess", image, about)
        pixels = self._ask("preprocess", OLD, image, about)
        scene, canvas = {"PIXELS": pixels["SCENE_PIXELS"]}, {"PIXELS": pixels["CANVAS_PIXELS"]}
        if "classifier" in direct:
            self._try(self._both, "classifier", scene, about)
        if "detector" in direct:
            self._try(self._both, "detector", canvas, about)
        if direct & set(CALLED):
            self._try(self._called, pixels, about)
        if RECOGNIZER in direct:
            self._try(self._both, RECOGNIZER, pixels, about)
        if "fusion" in direct:
            self._try(self._fusion, pixels, scene, canvas, about)

    def _try(self, what: Callable[..., object], *arguments: Any) -> None:
        """Do one of several things; that it cannot be done keeps none of the others from being done."""
        with contextlib.suppress(_Hopeless):
            what(*arguments)

    def _called(self, pixels: Tensors, about: _Remarks) -> None:
        """The networks behind the recognizer, with the very inputs that the old release leads to."""
        calls: list[tuple[str, Tensors]] = []

        async def infer(network: str, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
            calls.append((network, tensors))
            return self._ask(network, OLD, tensors, about)

        def nobody(embeddings: Embeddings, network: str) -> Sequence[Identity | None]:
            return [None] * len(embeddings)

        try:
            shown = Pictures(pixels["CANVAS_PIXELS"], pixels["DETAIL_PIXELS"], pixels["IMAGE_SIZE"])
            asyncio.run(recognize(shown, infer, nobody, self._settings))
        except InvalidInput as error:
            self._fault("preprocess", OLD, about, str(error))
        for network, tensors in calls:
            if network in self.judges:
                self._try(self._both, network, tensors, about)

    def _fusion(self, pixels: Tensors, scene: Tensors, canvas: Tensors, about: _Remarks) -> None:
        classified = self._ask("classifier", OLD, scene, about)
        detected = self._ask("detector", OLD, canvas, about)
        recognized = self._ask(RECOGNIZER, OLD, pixels, about)
        self._both("fusion", fusion_inputs(pixels, classified, detected, recognized), about)

    def _both(self, component: str, tensors: Tensors, about: _Remarks) -> None:
        """Both versions with the same input, twice each as old, new, new, old: drifts of the machine cancel out."""
        self._check_worth(component)
        if component not in self._warmed:
            self._warmed.add(component)
            for side in (OLD, NEW):
                self._ask(component, side, tensors, about)
        answers: dict[str, Tensors] = {}
        for side in (OLD, NEW, NEW, OLD):
            answers[side] = self._ask(component, side, tensors, about, timed=True)
        remark = self.judges[component].look(answers[OLD], answers[NEW])
        about.add(remark.badness, f"{component}: {remark.reason}", remark.detail and f"{component}: {remark.detail}")

    def _whole(self, image: Tensors, about: _Remarks) -> None:
        """Both ensembles, once each; which one first changes with every picture."""
        self._check_worth(ENSEMBLE)
        if ENSEMBLE not in self._warmed:
            self._warmed.add(ENSEMBLE)
            self._ask(ENSEMBLE, NEW, image, about)
        answers: dict[str, Tensors] = {}
        failure: _Hopeless | None = None
        for side in (OLD, NEW) if self._turn % 2 else (NEW, OLD):
            try:
                answers[side] = self._ask(ENSEMBLE, side, image, about, timed=True)
                about.results[side] = bytes(answers[side]["RESULT"][0, 0])
            except _Hopeless as error:
                failure = error
        if failure is not None:
            raise failure
        remark = self.judges[ENSEMBLE].look(answers[OLD], answers[NEW])
        about.add(remark.badness, f"{ENSEMBLE}: {remark.reason}", remark.detail and f"{ENSEMBLE}: {remark.detail}")

    # One call -------------------------------------------------------------------------------------------------------

    def _ask(self, component: str, side: str, tensors: Tensors, about: _Remarks, *, timed: bool = False) -> Tensors:
        whole = component == ENSEMBLE
        release = self._releases[side]
        start = time.monotonic()
        try:
            answer = self._serving.infer(
                _ENSEMBLES[side] if whole else component,
                tensors,
                version=None if whole else release[component],
                like=component,
                outputs=_WHOLE_OUTPUTS if whole else None,
            )
        except ServerLost:
            raise
        except ServingError as error:
            self._fault(component, side, about, f"{error.code}: {error}" if error.code else str(error))
        took = time.monotonic() - start
        self._traffic.count_own(_ENSEMBLES[side] if whole else component)
        rest = self._rest if self._rest is not None else BUSY_REST if self._traffic.busy() else IDLE_REST
        time.sleep(took * rest)
        batch = len(next(iter(tensors.values())))
        if wrong := unsound(component, answer, batch, only=_WHOLE_OUTPUTS if whole else None):
            self._fault(component, side, about, wrong)
        self._check_versions(component, side, answer, about)
        if timed:
            self._times.setdefault((component, side), []).append(1000 * took)
        return answer

    def _check_versions(self, component: str, side: str, answer: Tensors, about: _Remarks) -> None:
        """Hold the versions that name themselves in the answer against those that were asked."""
        release = self._releases[side]
        for name, version in versions_of(component, answer).items():
            # Fusion passes on what it was given, which comes from the old release.
            wanted = release[name] if component in (name, ENSEMBLE, RECOGNIZER) else self._releases[OLD][name]
            if version != wanted:
                self._fault(component, side, about, f"expected an answer of {name} {wanted}, got one of {version}")

    def _fault(self, component: str, side: str, about: _Remarks, what: str) -> None:
        """Note a failure. Always raises ``_Hopeless``."""
        version = self._releases[side].get(component, 1)
        self.faults.append(Fault(component, side, version, about.picture.name, what))
        about.add(_FAILED, f"{component}: the {side} version failed")
        if "DEADLINE" in what or sum(one.component == component for one in self.faults) >= _MOST_FAULTS:
            self._give_up(component, "after that many failures")
        raise _Hopeless

    def _check_worth(self, component: str) -> None:
        """Raise ``_Hopeless`` for what is asked no more: it failed too often, or is far too slow."""
        if component not in self._given_up:
            latency = self._latency(component)
            if latency is not None and latency.calls >= _SLOW_CALLS:
                most = self._limits.latency_whole if component == ENSEMBLE else self._limits.latency
                if latency.ratio > _HOPELESS * most and latency.new_ms - latency.old_ms > _LEAST_DIFFERENCE_MS:
                    self._give_up(component, f"being {latency.ratio:.1f} times as slow")
        if component in self._given_up:
            raise _Hopeless

    def _give_up(self, component: str, why: str) -> None:
        if component not in self._given_up:
            self._given_up.add(component)
            self._warnings.append(f"{component} was not asked about all pictures, {why}")

    # All of it ------------------------------------------------------------------------------------------------------

    def _latency(self, component: str) -> Latency | None:
        old, new = self._times.get((component, OLD)), self._times.get((component, NEW))
        if not old or not new:
            return None
        ratio = median(b / max(a, 1e-6) for a, b in zip(old, new, strict=False))
        return Latency(component, median(old), median(new), ratio, min(len(old), len(new)))

    def result(self, components: tuple[str, ...], quality: tuple[Quality, ...], seconds: float) -> ShadowResult:
        """Sum everything up."""
        metrics: list[Metric] = []
        latencies: list[Latency] = []
        warnings = list(self._warnings)
        for name, judge in self.judges.items():
            figures = judge.metrics(self._limits)
            latency = self._latency(name)
            if latency is not None:
                latencies.append(latency)
                figures.append(self._judged(latency))
            metrics += figures
            if name not in self._given_up:
                warnings += [str(one) for one in figures if one.value is None and one.limit is not None]
        compared = [
            ComparedPicture(
                one.picture.name,
                one.badness,
                tuple(dict.fromkeys(reason for _, reason in sorted(one.reasons, key=lambda pair: -pair[0]))),
                tuple(dict.fromkeys(one.details)),
                one.picture.encoded,
                one.results.get(OLD),
                one.results.get(NEW),
            )
            for one in self._remarks
        ]
        return ShadowResult(
            before=dict(self._releases[OLD]),
            after=dict(self._releases[NEW]),
            components=components,
            pictures=tuple(sorted(compared, key=lambda one: -one.badness)),
            metrics=tuple(metrics),
            latencies=tuple(latencies),
            faults=tuple(self.faults),
            warnings=tuple(warnings),
            quality=quality,
            seconds=seconds,
        )

    def _judged(self, latency: Latency) -> Metric:
        """The ratio of the times beside its limit; without one where the difference is too small to mean anything."""
        option = "latency_whole" if latency.component == ENSEMBLE else "latency"
        metric = limited(self._limits, option, latency.component, latency.ratio, (latency.calls, "calls"))
        if latency.new_ms - latency.old_ms > _LEAST_DIFFERENCE_MS:
            return metric
        return Metric(metric.component, metric.name, metric.value, metric.samples, metric.of)
