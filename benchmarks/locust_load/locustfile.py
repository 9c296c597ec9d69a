"""What locust loads: users, load shapes, and the options that go with them.

``python -m benchmarks.locust_load`` starts locust with it. It can also be given to locust itself, with ``-f``.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
import grpc.experimental.gevent as grpc_gevent  # type: ignore[import-untyped]
from locust import events, runners, stats
from locust.env import Environment

from benchmarks.answers import OK
from benchmarks.locust_load.course import Constant, Soak, Spike, StagedShape, Steps
from benchmarks.locust_load.ledger import rounded
from benchmarks.locust_load.shapes import MOST_USERS, Kind
from benchmarks.locust_load.state import CANNOT_LOAD, Watch, give_up, ledger
from benchmarks.locust_load.users import (
    Classifier,
    Detector,
    EntityRecognizer,
    FaceDetector,
    FaceEmbedder,
    Fusion,
    PlateDetector,
    PlateReader,
    Preprocess,
    Trident,
)

__all__ = [
    "Classifier",
    "Constant",
    "Detector",
    "EntityRecognizer",
    "FaceDetector",
    "FaceEmbedder",
    "Fusion",
    "PlateDetector",
    "PlateReader",
    "Preprocess",
    "Soak",
    "Spike",
    "Steps",
    "Trident",
]
# What locust finds in here: it looks at the names of this module.

# Has to come before any channel is made. A call then waits in a native thread of gevent's pool, and greenlets go on.
grpc_gevent.init_gevent()

# Each call in flight holds a thread of that pool as long as it lasts, and gRPC itself holds one. With the usual ten
# threads, the answers of all but ten users would lie in here unheard, and count as the server's time.
_THREADS = MOST_USERS + 16

# On a busy machine a worker may be silent for longer than the usual three seconds, and is not lost.
runners.HEARTBEAT_LIVENESS = 20

_watch = Watch()


def _to_milliseconds(response_time: float) -> int:
    return round(rounded(response_time))


# Locust keeps two digits of a response time: 147 ms become 150. Three are few enough as well.
stats.bucket_response_time = _to_milliseconds


def add_options(parser: Any) -> None:
    """Options of the load. The web page has a field for each that is not hidden."""
    parser.add_argument("--pictures", default="", help="Folder with pictures; the project's sample pictures if empty.")
    parser.add_argument(
        "--batch", default="1", help="Pictures in one request, such as 1,4: each request has one of them."
    )
    kinds = [kind.value for kind in Kind]
    parser.add_argument("--shape", default=Kind.CONSTANT.value, choices=kinds, help="Course of the load.")
    parser.add_argument("--think", type=float, default=0.0, help="Seconds that a user rests after an answer.")
    parser.add_argument("--deadline", type=float, default=30.0, help="Deadline of one request in seconds.")
    parser.add_argument("--seed", type=int, default=0, help="Of the choice of pictures and of requests.")
    hidden = {"include_in_web_ui": False}
    parser.add_argument("--remote", action="store_true", help="Allow a server on another machine.", **hidden)
    parser.add_argument("--prepare", default="", help="Models whose inputs are made first, with commas.", **hidden)
    parser.add_argument("--figures", default="", help="File for the counts, JSON.", **hidden)


def prepare(environment: Environment, runner: Any, **_: Any) -> None:
    """Choose the shape, and make room for the users' calls."""
    options: Any = environment.parsed_options
    gevent.get_hub().threadpool.maxsize = _THREADS
    shape = (environment.available_shape_classes or {})[options.shape.capitalize()]
    shape.runner = runner
    environment.shape_class = shape
    if isinstance(runner, runners.MasterRunner):
        runner.register_message(CANNOT_LOAD, _worker_gave_up, concurrent=True)


def _worker_gave_up(environment: Environment, msg: Any) -> None:
    give_up(environment, msg.data["why"])


def begin(environment: Environment, **_: Any) -> None:
    """Forget the load before."""
    ledger.clear()
    for shape in (environment.available_shape_classes or {}).values():
        if isinstance(shape, StagedShape):
            shape.rewind()
    if not isinstance(environment.runner, runners.MasterRunner):
        _watch.start()


def end(**_: Any) -> None:
    """Nobody asks any more."""
    _watch.stop()


def count(name: str, response_time: float, exception: Any = None, **_: Any) -> None:
    """Count an answer."""
    ledger.answers.add(time.time(), name, exception or OK, response_time)


def hand_on(data: dict[str, Any], **_: Any) -> None:
    """A worker's counts go with its report."""
    data["trident"] = ledger.report()


def take_over(client_id: str, data: dict[str, Any], **_: Any) -> None:
    """The same, at the master."""
    ledger.merge(client_id, data["trident"])


def write_figures(environment: Environment, **_: Any) -> None:
    """Write all that was counted into the file that was named. A load of which nothing was answered has failed."""
    runner: Any = environment.runner
    options: Any = environment.parsed_options
    if isinstance(runner, runners.WorkerRunner):
        return
    if options.headless and not runner.stats.num_requests:
        environment.process_exit_code = 1
    if not options.figures:
        return
    shape = environment.shape_class
    begins, over = (shape.begins, shape.end) if isinstance(shape, StagedShape) else ([], None)
    figures = {
        "answers": ledger.answers.rows(),
        "lateness": ledger.lateness.rows(),
        "workers": dict(ledger.workers),
        "problem": ledger.problem,
        "begins": begins,
        "end": over or time.time(),
        "locust": {"requests": runner.stats.num_requests, "failures": runner.stats.num_failures},
    }
    Path(options.figures).write_text(json.dumps(figures), encoding="utf-8")


# Not as decorators: locust's have no types.
_hooks: Any = events
_hooks.init_command_line_parser.add_listener(add_options)
_hooks.init.add_listener(prepare)
_hooks.test_start.add_listener(begin)
_hooks.test_stop.add_listener(end)
_hooks.request.add_listener(count)
_hooks.report_to_master.add_listener(hand_on)
_hooks.worker_report.add_listener(take_over)
_hooks.quitting.add_listener(write_figures)
