"""What somebody would try for more throughput: copies of the repository whose models run otherwise.

Each is an overlay, as ``python -m trident.overlay`` takes it: what is measured here can be served the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import CANVAS_PIXELS, COMPONENTS, MODELS, NETWORKS
from trident.errors import SetupError
from trident.model_config import read_repository, string_parameters
from trident.overlay import OVERLAY_SUFFIX, write_copy

CANVAS_NETWORKS = tuple(name for name in NETWORKS if MODELS[name].inputs[0].dims == CANVAS_PIXELS.dims)
"""Those that look at the whole canvas, and take the most time."""
_THREADS = "intra_op_thread_count"


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to run the same models."""

    name: str
    overlay: Mapping[str, str]
    """What differs, by model, as text of a ``config.pbtxt``."""


def more_instances(count: int) -> Variant:
    """The networks that take the most time in so many processes each."""
    text = f"instance_group [ {{ kind: KIND_AUTO count: {count} }} ]\n"
    return Variant(f"{count} instances of each detector", dict.fromkeys(CANVAS_NETWORKS, text))


def more_threads(count: int) -> Variant:
    """Every network with so many threads in its process."""
    text = f'parameters {{ key: "{_THREADS}" value {{ string_value: "{count}" }} }}\n'
    return Variant(f"{count} threads in each network", dict.fromkeys(NETWORKS, text))


def from_folder(folder: Path) -> Variant:
    """An overlay of somebody's own. Raises SetupError if there is none in the folder."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob(f"*{OVERLAY_SUFFIX}"))}
    if not texts:
        raise SetupError(f"overlay {folder}: expected a folder with a MODEL{OVERLAY_SUFFIX} in it, found none")
    return Variant(f"overlay {folder.name}", texts)


def write_variant(variant: Variant, repository: Path, folder: Path) -> Path:
    """Write the repository that a variant is.

    Args:
        variant: Which.
        repository: What it is a variant of; is copied, never changed.
        folder: Where to; is made, and must not be there yet.

    Returns:
        The copy.

    Raises:
        SetupError: It does not fit the contract, or cannot be written.
    """
    overlay, copy = folder / "overlay", folder / "models"
    overlay.mkdir(parents=True)
    for model, text in variant.overlay.items():
        (overlay / f"{model}{OVERLAY_SUFFIX}").write_text(text, encoding="utf-8")
    write_copy(repository, copy, [overlay])
    return copy


@dataclass(frozen=True, slots=True)
class Places:
    """In how many places one model's requests are worked on at the same time."""

    instances: int
    """Processes of its own, with the bundled server; each works on one call at a time."""
    threads: int | None
    """Cores that a call may use; None if that is as many as there are."""


def places_of(config: ModelConfig) -> Places:
    """Of one model's configuration.

    Python models compute in one thread; networks in as many as ``intra_op_thread_count`` says, 0 being all cores.
    """
    instances = sum(max(1, group.count) for group in config.instance_group) or 1
    threads: int | None = 1
    if config.backend != "python":
        threads = int(string_parameters(config).get(_THREADS, "0")) or None
    return Places(instances, threads)


def read_places(repository: Path) -> dict[str, Places]:
    """Of every component of a repository. Raises SetupError if one is missing, or its configuration cannot be read."""
    configs = read_repository(repository)
    if missing := [name for name in COMPONENTS if name not in configs]:
        raise SetupError(f"{repository}: expected every component of the contract, got none of {', '.join(missing)}")
    return {name: places_of(configs[name]) for name in COMPONENTS}
