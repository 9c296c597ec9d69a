"""Trident's work behind MLServer: two inference workers, and in each the branches of a picture side by side."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlserver import MLModel
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

import benchmarks.peers.schema_alone  # noqa: F401 - MLServer brings the service's messages itself
from benchmarks.pipeline import Pipeline
from trident.errors import InvalidInput


class Analyzer(MLModel):
    """One encoded picture to ``RESULT``."""

    async def load(self) -> bool:
        """Load the networks, in each worker."""
        self.pipeline = Pipeline(Path(os.environ["MODEL_REPOSITORY"]))
        self.pool = ThreadPoolExecutor(4)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The work itself."""
        try:
            result = await self.pipeline.analyze_async(payload.inputs[0].data[0], self.pool)
        except InvalidInput as error:
            raise InferenceError(str(error)) from error
        output = ResponseOutput(name="RESULT", datatype="BYTES", shape=[1, 1], data=[result])
        return InferenceResponse(model_name=self.name, outputs=[output])
