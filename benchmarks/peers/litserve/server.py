"""Trident's work behind LitServe: two workers take pictures off one queue, and run the branches side by side."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import litserve as ls
from fastapi import HTTPException, Request, Response

from benchmarks.pipeline import Pipeline
from trident.errors import InvalidInput


class Analyzer(ls.LitAPI):
    """One encoded picture to ``RESULT``."""

    def setup(self, device: str) -> None:
        """Load the networks, in each worker."""
        self.pipeline = Pipeline(Path(os.environ["MODEL_REPOSITORY"]))
        self.pool = ThreadPoolExecutor(4)

    def decode_request(self, request: Request) -> bytes:
        """The picture out of the form, as which LitServe hands the request over."""
        return request["picture"].file.read()

    def predict(self, picture: bytes) -> bytes:
        """The work itself."""
        try:
            return self.pipeline.analyze_parallel(picture, self.pool)
        except InvalidInput as error:
            raise HTTPException(400, str(error)) from error

    def encode_response(self, output: bytes) -> Response:
        """``RESULT`` as it is."""
        return Response(output, media_type="application/json")


if __name__ == "__main__":
    server = ls.LitServer(Analyzer(), accelerator="cpu", workers_per_device=2, timeout=60)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
