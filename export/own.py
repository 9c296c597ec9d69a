"""Brings one's own network in as a new version of a component: ``python -m export.own COMPONENT VERSION …``.

The network is any torch module, or any ONNX file, that takes the component's ``PIXELS`` and gives its outputs, by the
names and dims of ``trident.contract``. ``PROVENANCE`` is added here.
"""

from __future__ import annotations

import importlib
import io
import logging
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from rich.console import Console
from rich.markup import escape

from export.adapters import ADAPTERS, adapter
from export.build import (
    building,
    read_record,
    reports_of,
    still_there,
    write_model,
)
from export.fetch import sha256_of
from export.graph import IR_VERSION, OPSET, PIXELS, checked, upgraded
from export.parity import check, write_report
from export.registry import versions_of
from export.signature import check_signature, open_batch, with_provenance
from export.sources import Answers, Pixels, Reference
from trident.contract import MODELS, NETWORKS
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY, MODEL_FILE
from trident.signature import NEWEST_IR, NEWEST_OPSET

if TYPE_CHECKING:
    import torch


def add_version(
    component: str,
    version: int,
    *,
    onnx_file: Path | None = None,
    torch_source: str | None = None,
    adapter_name: str = "none",
    name: str = "",
    repository: Path = DEFAULT_REPOSITORY,
    reports: Path | None = None,
    tolerance: float = 1e-3,
    replace: bool = False,
) -> Path:
    """Check a network and write it as ``<repository>/<component>/<version>/model.onnx``.

    Args:
        component: A network component of the contract.
        version: Its new version, 1 or more.
        onnx_file: The network as ONNX; or
        torch_source: ``MODULE:FUNCTION``, a function without arguments that gives a ``torch.nn.Module``.
        adapter_name: Name of an adapter in ``export.adapters``.
        name: What people call the network.
        repository: Triton's model repository.
        reports: Where the parity report goes; None for nowhere but the record beside the model.
        tolerance: See ``NetworkVersion.tolerance``; for torch modules, which the graph is compared with.
        replace: Whether an own version of that number may be replaced.

    Returns:
        Path of the model file.

    Raises:
        SetupError: the arguments do not fit, the network cannot be built or does not meet the contract, or the checks
            failed. Nothing is written then: an older model stays as it was.
    """
    folder = _folder(repository, component, version, replace=replace)
    adapt = adapter(adapter_name)
    try:
        model, source, title, reference = _network(onnx_file, torch_source, component)
        if adapt is not ADAPTERS["none"]:
            reference = None
        with building(f"{component} {version}"):
            model = open_batch(_within_limits(adapt(model, component)))
            _check_without_provenance(model, component)
            whole, provenance = with_provenance(model, version)
        check_signature(whole, component)
        report = check(
            whole,
            component=component,
            version=version,
            network=name or title,
            reference=reference,
            tolerance=tolerance,
        )
    except SetupError as error:
        raise still_there(error, folder) from error
    write_model(whole, folder, {"name": name or title, "digest": provenance.digest, "own": source}, report)
    if reports is not None:
        write_report(report, reports)
    return folder / MODEL_FILE


def _network(
    onnx_file: Path | None, torch_source: str | None, component: str
) -> tuple[onnx.ModelProto, dict[str, str], str, Reference | None]:
    """The network as ONNX, where it comes from, its name, and, of a torch module, what to compare it with."""
    if onnx_file is not None and torch_source is None:
        return _read_onnx(onnx_file), {"file": onnx_file.name, "sha256": sha256_of(onnx_file)}, onnx_file.stem, None
    if torch_source is not None and onnx_file is None:
        module = _load_module(torch_source)
        model = export_module(module, component)
        return model, {"torch": torch_source}, type(module).__name__, _module_reference(module, component)
    raise SetupError("network: expected either an ONNX file or a torch module, got both or neither")


def _folder(repository: Path, component: str, version: int, *, replace: bool) -> Path:
    if component not in NETWORKS:
        raise SetupError(f"component: expected one of {', '.join(NETWORKS)}, got {component!r}")
    if version < 1:
        raise SetupError(f"version: expected 1 or more, got {version}")
    taken = [network.version for network in versions_of(component)]
    if version in taken:
        raise SetupError(f"version of {component}: {version} is one that the project exports; take {max(taken) + 1}")
    folder = repository / component / str(version)
    if (folder / MODEL_FILE).exists() and not replace:
        raise SetupError(f"version of {component}: {version} is there already; --replace replaces it")
    if (folder / MODEL_FILE).exists() and "own" not in (read_record(folder) or {}):
        raise SetupError(f"version of {component}: {version} was not brought in by this command, and is not replaced")
    return folder


def _read_onnx(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise SetupError(
            f"{path}: expected an ONNX file, got one that cannot be read ({_first_line(error)})"
        ) from error
    try:
        return checked(model)
    except (ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise SetupError(f"{path}: expected a valid ONNX graph, got: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _within_limits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Bring a graph into an operator set and file format that every supported onnxruntime reads."""
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset > NEWEST_OPSET:
        raise SetupError(f"operator set of the graph: expected at most {NEWEST_OPSET}, got {opset}")
    if opset < OPSET:
        model = upgraded(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = min(max(copy.ir_version, IR_VERSION), NEWEST_IR)
    return copy


def _check_without_provenance(model: onnx.ModelProto, component: str) -> None:
    names = {value.name for value in model.graph.output}
    if "PROVENANCE" in names:
        raise SetupError(f"outputs of the {component} graph: PROVENANCE is added by the export, and may not be there")
    missing = [spec.name for spec in MODELS[component].inputs if spec.name not in {v.name for v in model.graph.input}]
    if missing:
        got = ", ".join(value.name for value in model.graph.input) or "none"
        raise SetupError(f"inputs of the {component} graph: expected {', '.join(missing)}, got {got}")


# torch


def _load_module(source: str) -> torch.nn.Module:
    import torch  # noqa: PLC0415 - not needed for ONNX files

    module_name, separator, function_name = source.partition(":")
    if not separator or not function_name:
        raise SetupError(f"torch: expected MODULE:FUNCTION, got {source!r}")
    with _their_code(f"torch: {source} cannot be imported"):
        function: Callable[[], Any] = getattr(importlib.import_module(module_name), function_name)
    with _their_code(f"torch: {source} failed"):
        module = function()
    if not isinstance(module, torch.nn.Module):
        raise SetupError(f"torch: {source} gives: expected a torch.nn.Module, got {type(module).__name__}")
    return module.eval()


@contextmanager
def _their_code(what: str) -> Iterator[None]:
    """Within, code runs that is not ours, and may raise anything: a ``SetupError`` says what, where and why."""
    try:
        yield
    except SetupError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        ours = last.filename == __file__ or last.filename.startswith("<")
        where = "" if ours else f" at {Path(last.filename).name}, line {last.lineno}"
        raise SetupError(f"{what}: {type(error).__name__}{where}: {_first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, torch's exporter keeps its progress, its plans and its advice to itself; errors still come."""
    before = logging.root.manager.disable
    # Beside logging and warning, it prints whole graphs when it fails.
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def export_module(module: torch.nn.Module, component: str) -> onnx.ModelProto:
    """A torch module as ONNX, with the contract's names and a dynamic batch.

    Args:
        module: Takes ``PIXELS``, UINT8 ``[B, H, W, 3]``; gives the component's outputs without ``PROVENANCE`` as a
            tuple in the contract's order, as one tensor if there is one, or as a dictionary by name.
        component: Its component.

    Raises:
        SetupError: the module does not run, gives something else, or cannot be exported.
    """
    import torch  # noqa: PLC0415

    names = _output_names(component)

    class Ordered(torch.nn.Module):
        """The same answers, as a tuple in the contract's order."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return _ordered(self.module(pixels), names)

    dims = MODELS[component].input(PIXELS).dims
    # Two pictures: with one, the tracer would take the batch for a constant.
    example = torch.zeros((2, *dims), dtype=torch.uint8)
    # The module is run here, where its own words are not yet wrapped in the tracer's.
    with torch.inference_mode(), _their_code(f"torch: {type(module).__name__} failed on two black pictures"):
        _ordered(module(example), names)
    with tempfile.TemporaryDirectory(prefix="trident-own-") as folder:
        target = Path(folder, MODEL_FILE)
        try:
            with _quiet():
                torch.onnx.export(
                    Ordered().eval(),
                    (example,),
                    target,
                    input_names=[PIXELS],
                    output_names=names,
                    opset_version=OPSET,
                    dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
        except Exception as error:
            # The exporter wraps whatever the tracer, or the module in its hands, raises.
            cause = error.__cause__ or error
            raise SetupError(f"torch: {type(module).__name__} cannot be exported: {_first_line(cause)}") from error
        return onnx.load(target)


def _output_names(component: str) -> list[str]:
    return [spec.name for spec in MODELS[component].outputs if spec.name != "PROVENANCE"]


def _ordered(answers: Any, names: list[str]) -> tuple[torch.Tensor, ...]:
    import torch  # noqa: PLC0415

    if isinstance(answers, dict):
        if sorted(answers) != sorted(names):
            raise SetupError(f"answers of the module: expected {', '.join(names)}, got {', '.join(map(str, answers))}")
        return tuple(answers[name] for name in names)
    if not isinstance(answers, torch.Tensor | tuple | list):
        raise SetupError(f"answers of the module: expected tensors, got {type(answers).__name__}")
    values = (answers,) if isinstance(answers, torch.Tensor) else tuple(answers)
    if len(values) != len(names):
        raise SetupError(f"answers of the module: expected {len(names)} ({', '.join(names)}), got {len(values)}")
    return values


def _module_reference(module: torch.nn.Module, component: str) -> Reference:
    import torch  # noqa: PLC0415

    names = _output_names(component)

    def answer(pixels: Pixels) -> Answers:
        with torch.inference_mode(), _their_code(f"torch: {type(module).__name__} failed on {len(pixels)} pictures"):
            values = _ordered(module(torch.from_numpy(np.ascontiguousarray(pixels))), names)
        return {name: value.numpy() for name, value in zip(names, values, strict=True)}

    return answer


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("component")
@click.argument("version", type=int)
@click.option("--onnx", "onnx_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="ONNX file.")
@click.option("--torch", "torch_source", metavar="MODULE:FUNCTION", help="Function that gives a torch module.")
@click.option("--adapter", "adapter_name", default="none", help=f"One of {', '.join(ADAPTERS)}.")
@click.option("--name", default="", help="What people call the network.")
@click.option("--tolerance", default=1e-3, help="Largest error allowed, as a share of the largest value.")
@click.option("--replace", is_flag=True, help="Replace an own version of that number.")
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_REPOSITORY,
    help="Model repository to write to.",
)
def main(component: str, version: int, **options: Any) -> None:
    """Bring a network in as VERSION of COMPONENT: a torch module, or an ONNX file, that meets its contract."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        place = add_version(component, version, reports=reports_of(options["repository"]), **options)
    except SetupError as error:
        Console(stderr=True, highlight=False).print(f"[red]export:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    Console(highlight=False).print(f"[green]✓[/] {component} {version}: {escape(str(place))}", soft_wrap=True)


if __name__ == "__main__":
    main(prog_name="python -m export.own")
