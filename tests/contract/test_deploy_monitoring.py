"""What Prometheus collects in a cluster: the jobs that the alert rules go by, of every pod once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract import manifests
from tests.contract.manifests import Document, scrape_jobs
from tests.observability import PORTS, SERVERS, collected

CONTAINERS = [
    pytest.param(lambda: manifests.served("cpu"), id="Deployment"),
    pytest.param(manifests.served_by_kserve, id="KServe"),
]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("job", PORTS)
def test_each_job_collects_from_each_pod_once(container: Callable[[], Document], job: str) -> None:
    served = container()
    found = [
        {
            "__address__": f"10.1.2.3:{declared['containerPort']}",
            "__meta_kubernetes_namespace": "trident",
            "__meta_kubernetes_pod_name": "trident-abc",
            "__meta_kubernetes_pod_container_name": served["name"],
            "__meta_kubernetes_pod_container_port_number": str(declared["containerPort"]),
        }
        for declared in served["ports"]
    ]
    (labels,) = filter(None, (collected(scrape_jobs()[job], one) for one in found))
    assert {name: value for name, value in labels.items() if not name.startswith("__meta")} == {
        "__address__": f"10.1.2.3:{PORTS[job]}",
        "instance": f"10.1.2.3:{PORTS[SERVERS]}",
        "job": job,
        "namespace": "trident",
        "pod": "trident-abc",
    }


def test_other_containers_are_left_alone() -> None:
    other = {
        "__address__": "10.1.2.4:8001",
        "__meta_kubernetes_pod_container_name": "postgres",
        "__meta_kubernetes_pod_container_port_number": "8001",
    }
    assert {name: collected(job, other) for name, job in scrape_jobs().items()} == dict.fromkeys(PORTS)


def test_pods_are_looked_for_where_they_are() -> None:
    namespace = manifests.resource(manifests.rendered("cpu"), "Deployment")["metadata"]["namespace"]
    for job in scrape_jobs().values():
        assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": [namespace]}}]
