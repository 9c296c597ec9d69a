"""Asks a Trident server what it sees in pictures, over gRPC.

The names in ``__all__`` are the library; everything else may change.
"""

from trident_client.aio import AsyncTridentClient
from trident_client.client import TridentClient
from trident_client.drawing import draw
from trident_client.errors import (
    AccessDenied,
    AnswerError,
    ClientClosed,
    ClientError,
    DeadlineExceeded,
    NotServed,
    PictureError,
    PictureRefused,
    PictureUnreadable,
    ServerError,
    ServerFailed,
    ServerUnavailable,
    ServerUnreachable,
    SettingsError,
    UnknownSchema,
)
from trident_client.outcome import Outcome
from trident_client.pictures import Picture
from trident_client.results import (
    Analysis,
    Box,
    CategoryScore,
    DetectedObject,
    Entity,
    FaceEntity,
    Identity,
    ModelVersion,
    PlateEntity,
    Point,
    SceneLabel,
    Tensors,
    parse,
)
from trident_client.settings import TLS, Retries
from trident_client.statistics import ServerStatistics, VersionCounts
from trident_client.status import LoadedVersion, ModelStatus, ServerStatus
from trident_client.transport import AsyncTransport, Transport

__all__ = [
    "TLS",
    "AccessDenied",
    "Analysis",
    "AnswerError",
    "AsyncTransport",
    "AsyncTridentClient",
    "Box",
    "CategoryScore",
    "ClientClosed",
    "ClientError",
    "DeadlineExceeded",
    "DetectedObject",
    "Entity",
    "FaceEntity",
    "Identity",
    "LoadedVersion",
    "ModelStatus",
    "ModelVersion",
    "NotServed",
    "Outcome",
    "Picture",
    "PictureError",
    "PictureRefused",
    "PictureUnreadable",
    "PlateEntity",
    "Point",
    "Retries",
    "SceneLabel",
    "ServerError",
    "ServerFailed",
    "ServerStatistics",
    "ServerStatus",
    "ServerUnavailable",
    "ServerUnreachable",
    "SettingsError",
    "Tensors",
    "Transport",
    "TridentClient",
    "UnknownSchema",
    "VersionCounts",
    "draw",
    "parse",
]
