"""The checks of a rollout on a real server: what the engine asks for, by the modules that do it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial

from trident.contract import CANDIDATE, ENSEMBLE, RECOGNIZER
from trident.entities.gallery import Gallery, Snapshot
from trident.entities.local import read_limits, read_settings
from trident.entities.sealing import KEY_VARIABLE
from trident.rollout import canary, canary_watch, shadow
from trident.rollout.all_limits import AllLimits
from trident.rollout.canary_record import older
from trident.rollout.disk import Repository
from trident.rollout.engine import ROLLBACK, Passed, Progress, Stopped
from trident.rollout.golden import GoldenPicture, default_pictures, folder_pictures, labelled_sets
from trident.rollout.options import Options
from trident.rollout.plan import Plan
from trident.rollout.preflight import examine
from trident.rollout.report import write_report
from trident.rollout.served_gallery import served_gallery_keys, served_gallery_url
from trident.rollout.serving import ServerLost, Serving, ServingError, Tensors, analyze, is_busy
from trident.rollout.shadow_result import ShadowResult
from trident.rollout.soundness import unsound, versions_of
from trident.rollout.watch import Watcher
from trident_client import probe

_WARMING_PICTURES = 2
_ROOM_WITHIN_S = 10.0
"""For how long in all the first pictures are asked with again that the server has no room for."""
_ROOM_FOR_ONE_S = 2.5
"""The same of the question which versions answer. The engine asks it some times, before it goes back."""
_ASK_AGAIN_S = 0.2


class LiveChecks:
    """Meets ``engine.Checks``.

    Args:
        repository: The model repository.
        serving: The server.
        options: What the operator asked for.
    """

    def __init__(self, repository: Repository, serving: Serving, options: Options) -> None:
        self._repository = repository
        self._serving = serving
        self._options = options
        self._limits = AllLimits.with_settings(options.limits)
        self._watcher: Watcher | None = None

    @cached_property
    def _pictures(self) -> tuple[GoldenPicture, ...]:
        if self._options.golden is None:
            return default_pictures()
        return folder_pictures(self._options.golden, accepted=read_limits(self._repository.path))

    def preflight(self, plan: Plan) -> Passed:
        """See ``engine.Checks``."""
        found = examine(
            self._repository.path,
            plan.before,
            plan.after,
            plan.targets,
            gallery_url=self._gallery_url(plan),
            gallery_keys=self._gallery_keys(plan),
            limits=self._limits.preflight,
        )
        if not found.passed:
            raise Stopped("; ".join(finding.sentence for finding in found.refusals))
        # A mistake in the folder of golden pictures is to be said now, not after the load.
        count = len(self._pictures)
        checks = len(found.findings)
        return Passed(
            f"{checks} checks passed; {count} golden pictures",
            found.facts(),
            tuple(finding.sentence for finding in found.warnings),
        )

    def load_candidate(self, plan: Plan) -> None:
        """See ``engine.Checks``. It answers some pictures, to be warm, before anything is measured.

        A server that has too much to do refuses some of them. That says nothing against the release, and for a while is
        no reason to keep one from its way back that a bad release has overloaded.
        """
        base = self._repository.config(ENSEMBLE)
        canary.load_ensemble(self._serving, base, CANDIDATE, plan.after)
        self._watcher = Watcher(self._serving, self._probe, self._limits.watch)
        warming = () if plan.kind == ROLLBACK else self._pictures[:_WARMING_PICTURES]
        until = time.monotonic() + _ROOM_WITHIN_S
        for picture in (probe.picture(), *(one.encoded for one in warming)):
            try:
                _once_there_is_room(
                    partial(analyze, self._serving, picture, model=CANDIDATE, outputs=["RESULT"]), until
                )
            except ServerLost:
                raise
            except ServingError as exc:
                raise Stopped(f"the new release fails on its first pictures: {exc}") from exc

    def shadow(self, plan: Plan, progress: Progress) -> Passed:
        """See ``engine.Checks``."""
        result = self._compared(plan, progress)
        place = ""
        if self._options.report is not None:
            place = f"; report: {write_report(result, self._options.report)}"
        if not result.passed:
            worst = ", ".join(repr(one.name) for one in result.worst[:3])
            raise Stopped("; ".join(result.complaints) + (f"; worst pictures: {worst}" if worst else "") + place)
        return Passed(f"{result.sentence}{place}", result.to_json(), result.warnings)

    def _compared(self, plan: Plan, progress: Progress) -> ShadowResult:
        golden = self._options.golden
        return shadow.compare(
            self._serving,
            plan.before,
            plan.after,
            self._pictures,
            limits=self._limits.shadow,
            settings=read_settings(self._repository.path),
            identity_threshold=self._repository.networks(plan.after[RECOGNIZER]).identity_threshold,
            gallery=self._gallery(plan),
            labels=golden if golden is not None and labelled_sets(golden) else None,
            progress=progress.advance,
        )

    def canary(self, plan: Plan, progress: Progress) -> Passed | None:
        """See ``engine.Checks``."""
        share, seconds = self._options.canary, self._options.canary_s
        if not share:
            return None
        watch_file = self._repository.path / canary.WATCH_FILE
        settings = canary.begin(
            self._serving,
            self._repository.config(ENSEMBLE),
            self._repository.config("preprocess"),
            plan.before,
            plan.after,
            share=share,
            seconds=seconds,
            watch_file=watch_file,
            salt=plan.id,
        )

        def show(seen: canary_watch.Observation) -> None:
            progress.advance(int(1000 * seen.seconds), int(1000 * seconds))

        try:
            seen, judgement = canary_watch.watch(
                self._serving, settings, self._limits.canary, seconds=seconds, progress=show
            )
        finally:
            canary.end(self._serving)
        with contextlib.suppress(OSError):  # the next canary clears them as well
            for file in (watch_file, older(watch_file)):
                file.unlink(missing_ok=True)
        if judgement.verdict is canary_watch.Verdict.STOP:
            raise Stopped("; ".join(judgement.reasons))
        warnings = judgement.reasons if judgement.verdict is canary_watch.Verdict.NOT_JUDGED else ()
        answered = seen.candidate.requests
        return Passed(
            f"{answered} of {answered + seen.stable.requests} requests answered by the new release in {seconds:g} s, "
            f"{seen.candidate.errors} failed",
            seen.facts(),
            warnings,
        )

    def before_flip(self) -> None:
        """See ``engine.Checks``."""
        if self._watcher is not None and self._options.watch_s:
            self._watcher.measure_before()

    def watch(self, plan: Plan, progress: Progress) -> Passed | None:
        """See ``engine.Checks``."""
        if not self._options.watch_s:
            return None
        watcher = self._watcher or Watcher(self._serving, self._probe, self._limits.watch)
        return watcher.watch(self._options.watch_s, progress.advance)

    def answering(self) -> Mapping[str, int]:
        """See ``engine.Checks``. A server that has too much to do for a moment is asked again."""
        return versions_of(ENSEMBLE, _once_there_is_room(self._probe, time.monotonic() + _ROOM_FOR_ONE_S))

    def _probe(self) -> Tensors:
        """The answer to the probe, sound. Raises ServingError."""
        answer = analyze(self._serving, probe.picture(), outputs=["RESULT"])
        if complaint := unsound(ENSEMBLE, answer, 1, only=["RESULT"]):
            raise ServingError(complaint, "INTERNAL")
        return answer

    def _gallery(self, plan: Plan) -> Snapshot:
        with Gallery(self._gallery_url(plan), keys=self._gallery_keys(plan)) as gallery:
            return gallery.snapshot()

    def _gallery_url(self, plan: Plan) -> str | None:
        """The operator's word, else the gallery of the processes that serve, else what a process here would take."""
        return self._options.gallery_url or served_gallery_url(self._repository.path, plan.before[RECOGNIZER])

    def _gallery_keys(self, plan: Plan) -> str | None:
        """Those of this process, else those of the processes that serve."""
        return os.environ.get(KEY_VARIABLE) or served_gallery_keys(self._repository.path, plan.before[RECOGNIZER])


def _once_there_is_room(ask: Callable[[], Tensors], until: float) -> Tensors:
    """The server's answer, for which it is asked again where it has too much to do, until then.

    Args:
        ask: Asks it.
        until: On the monotonic clock.

    Raises:
        ServingError: It has failed, or had no room until then.
    """
    while True:
        try:
            return ask()
        except ServingError as exc:
            if not is_busy(exc) or time.monotonic() >= until:
                raise
        time.sleep(_ASK_AGAIN_S)
