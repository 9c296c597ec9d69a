"""Trident's work behind FastAPI: a process a core, and in each the branches of a picture side by side."""

import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException, Response, UploadFile

from benchmarks.pipeline import Pipeline
from trident.errors import InvalidInput


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the networks before the first request."""
    with Pipeline(Path(os.environ["MODEL_REPOSITORY"])) as pipeline, ThreadPoolExecutor(4) as pool:
        app.state.pipeline, app.state.pool = pipeline, pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/analyze")
async def analyze(picture: UploadFile) -> Response:
    """One encoded picture to ``RESULT``."""
    try:
        result = await app.state.pipeline.analyze_async(await picture.read(), app.state.pool)
    except InvalidInput as error:
        raise HTTPException(400, str(error)) from error
    return Response(result, media_type="application/json")
