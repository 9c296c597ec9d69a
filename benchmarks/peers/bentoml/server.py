"""Trident's work behind BentoML: a worker a core, and in each the branches of a picture side by side."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bentoml
from bentoml.exceptions import InvalidArgument

from benchmarks.pipeline import Pipeline
from trident.errors import InvalidInput


@bentoml.service(workers=2, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Analyzer:
    """One encoded picture to ``RESULT``."""

    def __init__(self) -> None:
        self.pipeline = Pipeline(Path(os.environ["MODEL_REPOSITORY"]))
        self.pool = ThreadPoolExecutor(4)

    @bentoml.api
    async def analyze(self, picture: Path) -> str:
        """The work itself."""
        try:
            result = await self.pipeline.analyze_async(picture.read_bytes(), self.pool)
        except InvalidInput as error:
            raise InvalidArgument(str(error)) from error
        return result.decode()
