"""Locust's users: one kind for the ensemble, one for each component.

They wait for their answers: a closed loop. A server that stalls is asked less meanwhile, and the requests that would
have come are missing from the statistics (coordinated omission). ``benchmarks.load`` with a rate does not miss them.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
from locust import User, task
from locust.exception import StopUser

from benchmarks.answers import OK
from benchmarks.load import check_loopback
from benchmarks.locust_load.calls import Caller, Outcome
from benchmarks.locust_load.payloads import MOST_PICTURES, Payload, parse_batches, payloads
from benchmarks.locust_load.state import give_up, log
from benchmarks.pictures import pictures_for
from benchmarks.served import ServedModels
from trident.errors import TridentError
from trident_client.settings import DEFAULT_URL, address

_PAUSE_S = 0.5
"""A user's rest after a failure: a server that refuses at once is not asked as fast as it can refuse."""


class _Stock:
    """The requests of this process, made once for each model and for the options that they depend on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # gevent's: only the user waits
        self._made: dict[tuple[str, ...], list[Payload]] = {}

    def of(self, model: str, host: str, options: Any) -> list[Payload]:
        """The requests for a model.

        Those for all models in ``options.prepare`` are made first, so that nobody asks while they are made.

        Raises:
            TridentError: They cannot be made, or the server is another machine's.
        """
        if not options.remote:
            check_loopback(host)
        with self._lock:
            for name in filter(None, options.prepare.split(",")):
                self._of(name, host, options)
            return self._of(model, host, options)

    def _of(self, model: str, host: str, options: Any) -> list[Payload]:
        key = (model, host, options.pictures, options.batch, str(options.seed))
        if key not in self._made:
            batches = parse_batches(options.batch)
            # In a native thread: it takes a while, and a worker that is silent for long is given up by its master.
            pictures = gevent.get_hub().threadpool.apply(_pictures, (options.pictures, options.seed))
            with ServedModels(address(host).target) as served:
                self._made[key] = payloads(served, model, pictures, batches)
            log.info("%s: %d requests made of %d pictures", model, len(self._made[key]), len(pictures))
        return self._made[key]


@cache
def _pictures(folder: str, seed: int) -> tuple[bytes, ...]:
    """The encoded pictures of a folder, at most ``MOST_PICTURES``, in an order that the seed decides."""
    with tempfile.TemporaryDirectory(prefix="trident-pictures-") as own:
        files = pictures_for(Path(folder) if folder else None, Path(own))
        drawn = random.Random(seed).sample(files, min(len(files), MOST_PICTURES))  # noqa: S311 - no secret
        return tuple(file.read_bytes() for file in drawn)


_stock = _Stock()
_numbers = itertools.count()
_told: set[tuple[str, str]] = set()


def _tell_once(payload: Payload, outcome: Outcome) -> None:
    """The statistics hold a failure's code; what the server said of the first one of a kind goes into the log."""
    if (payload.model, outcome.code) not in _told:
        _told.add((payload.model, outcome.code))
        log.warning("%s: %s: %s", payload.name, outcome.code, outcome.message)


class AskingUser(User):
    """Asks one model, waits for the answer, and asks again. Has a connection of its own."""

    abstract = True
    host = DEFAULT_URL
    model: str

    def on_start(self) -> None:
        """Have the requests made, and connect."""
        options: Any = self.environment.parsed_options
        self._caller: Caller | None = None
        try:
            made = _stock.of(self.model, str(self.host), options)
        except TridentError as error:
            give_up(self.environment, str(error))
            return
        batches = sorted({payload.batch for payload in made})
        self._by_batch = [[payload for payload in made if payload.batch == batch] for batch in batches]
        self._chance = random.Random(f"{options.seed} {self.model} {next(_numbers)}")  # noqa: S311 - no secret
        self._caller = Caller(address(str(self.host)).target, options.deadline)
        self._caller.connect()

    def on_stop(self) -> None:
        """Let go of the connection."""
        if self._caller is not None:
            self._caller.close()

    def wait_time(self) -> float:
        """Seconds until the next request."""
        options: Any = self.environment.parsed_options
        return float(options.think)

    @task
    def ask(self) -> None:
        """Send one request, and tell locust what became of it."""
        if self._caller is None:
            raise StopUser
        # First how many pictures, so that each batch size is as frequent as the others.
        payload = self._chance.choice(self._chance.choice(self._by_batch))
        outcome = self._caller.ask(payload)
        self.environment.events.request.fire(
            request_type="gRPC",
            name=payload.name,
            response_time=outcome.milliseconds,
            response_length=outcome.length,
            # The code alone: locust counts failures by this text, and messages differ from request to request.
            exception=None if outcome.code == OK else outcome.code,
            context={},
        )
        if outcome.code != OK:
            _tell_once(payload, outcome)
            gevent.sleep(_PAUSE_S)


class Trident(AskingUser):
    """Sends pictures to the whole ensemble."""

    model = "trident"


class Preprocess(AskingUser):
    """Sends encoded pictures."""

    model = "preprocess"


class Classifier(AskingUser):
    """Sends centre squares."""

    model = "classifier"


class Detector(AskingUser):
    """Sends canvases."""

    model = "detector"


class EntityRecognizer(AskingUser):
    """Sends canvases and details; the recognizer calls the four networks below."""

    model = "entity_recognizer"


class FaceDetector(AskingUser):
    """Sends canvases."""

    model = "face_detector"


class FaceEmbedder(AskingUser):
    """Sends aligned faces."""

    model = "face_embedder"


class PlateDetector(AskingUser):
    """Sends canvases."""

    model = "plate_detector"


class PlateReader(AskingUser):
    """Sends levelled licence plates."""

    model = "plate_reader"


class Fusion(AskingUser):
    """Sends the branches' answers."""

    model = "fusion"
