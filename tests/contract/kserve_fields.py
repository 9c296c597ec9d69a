"""The fields of KServe's resources, read from its Python SDK, and what in a manifest does not fit them.

The SDK itself asks for packages that Trident's environment cannot have, so what is wanted of it (names and types of the
fields of a few classes) lies in ``kserve_fields.json``. To renew it, unpack the wheel ``kserve`` and run
``python -m tests.contract.kserve_fields UNPACKED_FOLDER VERSION``.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
ROOTS = {"ServingRuntime": "V1alpha1ServingRuntime", "InferenceService": "V1beta1InferenceService"}
"""The class of each kind."""

_CLASSES = (
    "V1alpha1ServingRuntime",
    "V1alpha1ServingRuntimeSpec",
    "V1alpha1SupportedModelFormat",
    "V1beta1InferenceService",
    "V1beta1InferenceServiceSpec",
    "V1beta1PredictorSpec",
    "V1beta1ModelSpec",
    "V1beta1ModelFormat",
    "V1beta1AutoScalingSpec",
    "V1beta1MetricsSpec",
    "V1beta1ExternalMetricSource",
    "V1beta1ExternalMetrics",
    "V1beta1MetricTarget",
)
_PLAIN = {"str": str, "bool": bool, "int": int, "V1beta1MetricQuantity": str}
_KUBERNETES = re.compile(r"V1[A-Z]")
"""Types that are Kubernetes' own: V1Container, and not V1beta1ModelSpec."""


def read_fields(sdk: Path) -> dict[str, dict[str, Any]]:
    """Name and type of every field of the classes above, and which have to be there."""
    modules = {file.stem.replace("_", ""): file for file in (sdk / "kserve" / "models").glob("*.py")}
    return {name: _read_class(modules[name.lower()]) for name in _CLASSES}


def _read_class(file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("openapi_types", "attribute_map")
    }
    names = found["attribute_map"]
    required = re.findall(r"Invalid value for `(\w+)`, must not be `None`", text)
    return {
        "fields": {names[key]: kind for key, kind in sorted(found["openapi_types"].items())},
        "required": sorted({names[key] for key in required}),
    }


def problems(document: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """What in a resource of KServe's does not fit.

    Returns:
        A sentence for each problem, and the parts whose types are Kubernetes' own, by field, for its own schemas.
    """
    types = json.loads(FILE.read_text(encoding="utf-8"))["types"]
    kubernetes: dict[str, Any] = {}
    return list(_problems(document, ROOTS[document["kind"]], document["kind"], types, kubernetes)), kubernetes


def _problems(value: Any, kind: str, where: str, types: dict[str, Any], kubernetes: dict[str, Any]) -> list[str]:
    if kind in _PLAIN:
        fits = type(value) is _PLAIN[kind]
        return [] if fits else [f"{where}: expected {_PLAIN[kind].__name__}, got {value!r}"]
    if inner := re.fullmatch(r"dict\(str, str\)", kind):
        fits = isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
        return [] if fits else [f"{where}: expected texts by name, got {value!r}"]
    if _KUBERNETES.match(kind) or re.match(r"list\[V1[A-Z]", kind):
        kubernetes[where.rpartition(".")[2]] = value
        return []
    if inner := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(value, list):
            return [f"{where}: expected a list, got {value!r}"]
        return [p for i, one in enumerate(value) for p in _problems(one, inner[1], f"{where}[{i}]", types, kubernetes)]
    if kind not in types:
        return [f"{where}: {kind} is not in {FILE.name}: add it to the classes that are read"]
    if not isinstance(value, dict):
        return [f"{where}: expected fields, got {value!r}"]
    fields, required = types[kind]["fields"], types[kind]["required"]
    found = [f"{where}: {kind} has no field {name!r}" for name in value if name not in fields]
    found += [f"{where}: {kind} needs the field {name!r}" for name in required if name not in value]
    for name in value.keys() & fields.keys():
        found += _problems(value[name], fields[name], f"{where}.{name}", types, kubernetes)
    return found


def main() -> None:
    """Write the file anew from an unpacked wheel."""
    types = read_fields(Path(sys.argv[1]))
    about = "Names and types of fields of KServe's resources; see kserve_fields.py."
    FILE.write_text(json.dumps({"about": about, "version": sys.argv[2], "types": types}, indent=1) + "\n")


if __name__ == "__main__":
    main()
