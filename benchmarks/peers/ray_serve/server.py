"""Trident's work behind Ray Serve: two replicas, and in each the branches of a picture side by side."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from benchmarks.pipeline import Pipeline
from trident.errors import InvalidInput


@serve.deployment(num_replicas=2, max_ongoing_requests=4, ray_actor_options={"num_cpus": 1})
class Analyzer:
    """One encoded picture to ``RESULT``."""

    def __init__(self) -> None:
        self.pipeline = Pipeline(Path(os.environ["MODEL_REPOSITORY"]))
        self.pool = ThreadPoolExecutor(4)

    async def __call__(self, request: Request) -> Response:
        """The work itself."""
        try:
            result = await self.pipeline.analyze_async(await request.body(), self.pool)
        except InvalidInput as error:
            return PlainTextResponse(str(error), status_code=400)
        return Response(result, media_type="application/json")


if __name__ == "__main__":
    # Everything on this machine's loopback, and no page that nobody looks at.
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    try:
        serve.run(Analyzer.bind(), blocking=True)
    finally:
        serve.shutdown()
        ray.shutdown()
