"""The files under ``deploy/`` as data, and the schemas that they are held against. Nothing here needs a network."""

from __future__ import annotations

import importlib.resources
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import yaml

from trident.launcher import server

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
CONTAINERFILE = DEPLOY / "Containerfile"

OVERLAYS = ("cpu", "gpu", "secured")
VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest Kubernetes that has all that is used (a preStop that sleeps), and the newest whose schemas are at hand."""
UNLOAD_AND_CLEAR_S = server._UNLOAD_S + server._CLEAR_S
"""What the launcher takes at most after the grace, in seconds. The comments in the manifests say fifteen."""

Document = dict[str, Any]


def tool(name: str) -> str:
    """A program of the development environment, which came with a Python package."""
    return str(Path(sys.executable).parent / name)


@cache
def _kustomized(overlay: str) -> str:
    command = [tool("kubectl"), "kustomize", str(KUBERNETES / "overlays" / overlay)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def rendered(overlay: str) -> list[Document]:
    """What ``kubectl apply -k`` would send."""
    return [document for document in yaml.safe_load_all(_kustomized(overlay)) if document]


def resource(documents: list[Document], kind: str, name: str = "trident") -> Document:
    """The one resource of that kind and name."""
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def pod(overlay: str) -> Document:
    """The specification of the deployment's pods."""
    template: Document = resource(rendered(overlay), "Deployment")["spec"]["template"]["spec"]
    return template


def served(overlay: str) -> Document:
    """The container that serves."""
    (container,) = pod(overlay)["containers"]
    return container


def kserve() -> list[Document]:
    """The runtime and the service for KServe."""
    return [yaml.safe_load(file.read_text()) for file in sorted((DEPLOY / "kserve").glob("*.yaml"))]


def served_by_kserve() -> Document:
    """The container that serves under KServe."""
    (container,) = resource(kserve(), "ServingRuntime")["spec"]["containers"]
    return container


def compose(name: str = "compose.yaml") -> Document:
    """A compose file."""
    document: Document = yaml.safe_load((DEPLOY / name).read_text())
    return document


def kubernetes_problem(document: Document, version: str) -> str | None:
    """What Kubernetes' own schema has against a resource; unknown fields count."""
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as exc:
        return f"{document['kind']}: {'.'.join(map(str, exc.path))}: {exc.message}"
    return None


def as_pod(parts: Document) -> Document:
    """Fields of a pod's specification as a resource that has a schema."""
    spec = {name: value for name, value in parts.items() if name != "metadata"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": parts.get("metadata", {"name": "part"}), "spec": spec}


def compose_problems(document: Document) -> list[str]:
    """What the schema of the Compose Specification has against a compose file."""
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(folder.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(document)]


def hadolint(text: str) -> list[str]:
    """What hadolint says of a Containerfile, one line a finding."""
    done = subprocess.run([tool("hadolint"), "-"], input=text, capture_output=True, text=True, check=False, timeout=60)
    return [line for line in (done.stdout + done.stderr).splitlines() if line]


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Containerfile, comments left out and lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def arguments(text: str, word: str) -> list[str]:
    """What stands behind each instruction of that name."""
    return [rest for name, rest in instructions(text) if name == word]


def environment(text: str) -> dict[str, str]:
    """What the last stage of a Containerfile sets in the environment."""
    last = text[text.rindex("\nFROM ") :]
    pairs = re.findall(r"(\w+)=(\S+)", " ".join(arguments(last, "ENV")))
    return dict(pairs)


def option(command: click.Command, arguments: list[str], name: str) -> Any:
    """What an option is given as, by the command's own parser: one that it does not know fails the test.

    Not further than the parser, which would look for files that are there only in the container.
    """
    context = click.Context(command, info_name="test")
    given, rest, _ = command.make_parser(context).parse_args(list(arguments))
    assert rest == [], f"left over: {rest}"
    (parameter,) = [one for one in command.params if one.name == name]
    value = given.get(name)
    return parameter.get_default(context) if value is None else value


def seconds_to_stop(command: click.Command, arguments: list[str]) -> float:
    """How long ``trident serve`` takes at most from SIGTERM to its end, in seconds."""
    return float(option(command, arguments, "notice")) + float(option(command, arguments, "grace")) + UNLOAD_AND_CLEAR_S


def scrape_jobs() -> dict[str, Document]:
    """What Prometheus collects in a cluster, by job."""
    document = yaml.safe_load((KUBERNETES / "prometheus-scrape.yaml").read_text())
    return {job["job_name"]: job for job in document["scrape_configs"]}


def adapter_rules() -> list[Document]:
    """The rules for prometheus-adapter."""
    values = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())
    rules: list[Document] = values["rules"]["custom"]
    return rules


def scaling_queries() -> list[str]:
    """What Prometheus is asked for, by the adapter and by KEDA. A live test looks for the metrics in them."""
    service = resource(kserve(), "InferenceService")
    scaling = service["spec"]["predictor"]["autoScaling"]["metrics"]
    return [rule["metricsQuery"] for rule in adapter_rules()] + [one["external"]["metric"]["query"] for one in scaling]
