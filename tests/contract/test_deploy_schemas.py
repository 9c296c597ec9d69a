"""Every file under deploy/ fits its schema, and the schema is one that a misspelt field does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract import kserve_fields, manifests
from tests.contract.manifests import CONTAINERFILE, OVERLAYS, VERSIONS, Document

TEXT = CONTAINERFILE.read_text()

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def misspell(document: Document, path: str, wrong: str) -> None:
    """Give the last field of a path another name."""
    *way, last = path.split(".")
    place: Any = document
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[wrong] = place.pop(last)


@every_overlay
@pytest.mark.parametrize("version", VERSIONS)
def test_every_kubernetes_resource_fits_its_schema(overlay: str, version: str) -> None:
    documents = manifests.rendered(overlay)
    assert {document["kind"] for document in documents} == {
        *("Namespace", "ServiceAccount", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"),
        "HorizontalPodAutoscaler",
    }
    assert [p for d in documents if (p := manifests.kubernetes_problem(d, version))] == []


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        pytest.param("Deployment", "spec.template.spec.containers.0.readinessProbe", "readinesProbe", id="probe"),
        pytest.param("Deployment", "spec.template.spec.containers.0.lifecycle.preStop.sleep", "slep", id="preStop"),
        pytest.param("Deployment", "spec.template.spec.volumes.0.emptyDir", "emptydir", id="volume"),
        pytest.param("Service", "spec.clusterIP", "clusterIp", id="headless"),
        pytest.param("PodDisruptionBudget", "spec.maxUnavailable", "maxUnavailble", id="budget"),
        pytest.param("NetworkPolicy", "spec.ingress.0.from", "form", id="policy"),
        pytest.param("HorizontalPodAutoscaler", "spec.metrics.0.pods.metric", "metrik", id="metric"),
    ],
)
def test_a_misspelt_field_is_seen(kind: str, path: str, wrong: str) -> None:
    document = manifests.resource(manifests.rendered("cpu"), kind)
    misspell(document, path, wrong)

    problem = manifests.kubernetes_problem(document, VERSIONS[-1])
    assert problem is not None


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_the_compose_files_fit_the_compose_specification(name: str) -> None:
    assert manifests.compose_problems(manifests.compose(name)) == []


@pytest.mark.parametrize(
    ("path", "wrong"), [("services.trident.stop_grace_period", "stop_grace"), ("services.models.volumes", "volume")]
)
def test_a_misspelt_field_of_compose_is_seen(path: str, wrong: str) -> None:
    document = manifests.compose()
    misspell(document, path, wrong)
    assert any(wrong in problem for problem in manifests.compose_problems(document))


@pytest.mark.parametrize("document", manifests.kserve(), ids=lambda document: str(document["kind"]))
@pytest.mark.parametrize("version", VERSIONS)
def test_kserve_resources_have_only_fields_that_kserve_has(document: Document, version: str) -> None:
    problems, kubernetes = kserve_fields.problems(document)
    assert problems == []
    if "containers" in kubernetes:
        assert manifests.kubernetes_problem(manifests.as_pod(kubernetes), version) is None


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("ServingRuntime", "spec.supportedModelFormats.0.autoSelect", "autoselect"),
        ("ServingRuntime", "spec.protocolVersions", "protocolVersion"),
        ("InferenceService", "spec.predictor.model.modelFormat", "modelformat"),
        ("InferenceService", "spec.predictor.terminationGracePeriodSeconds", "terminationGracePeriod"),
        ("InferenceService", "spec.predictor.autoScaling.metrics.0.external.metric.serverAddress", "server"),
    ],
)
def test_a_misspelt_field_of_kserve_is_seen(kind: str, path: str, wrong: str) -> None:
    document = manifests.resource(manifests.kserve(), kind)
    misspell(document, path, wrong)
    problems, _ = kserve_fields.problems(document)
    assert any(repr(wrong) in problem for problem in problems)


def test_a_misspelt_field_of_a_container_of_kserve_is_seen() -> None:
    document = manifests.resource(manifests.kserve(), "ServingRuntime")
    misspell(document, "spec.containers.0.livenessProbe", "livenesProbe")
    _, kubernetes = kserve_fields.problems(document)
    assert manifests.kubernetes_problem(manifests.as_pod(kubernetes), VERSIONS[-1]) is not None


def test_hadolint_has_nothing_against_the_containerfile() -> None:
    assert manifests.hadolint(TEXT) == []


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        pytest.param("\nUSER 1000:1000", "\nUSR 1000:1000", id="an instruction that there is none"),
        pytest.param("WORKDIR /src", "WORKDIR src", id="a relative folder"),
        pytest.param("--from=environment", "--from=serve", id="a stage that copies from itself"),
    ],
)
def test_hadolint_sees_what_is_wrong(good: str, bad: str) -> None:
    assert good in TEXT
    assert manifests.hadolint(TEXT.replace(good, bad)) != []
