"""Containers and manifests: each fits its schema, and all of them fit the code.

Nothing here runs a container or asks a cluster. deploy/README.md says what therefore is not known.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.contract import manifests
from tests.contract.manifests import (
    CONTAINERFILE,
    DEPLOY,
    OVERLAYS,
    Document,
    adapter_rules,
    option,
    scaling_queries,
    seconds_to_stop,
    served,
    served_by_kserve,
)
from trident.access.keys import KEY_FILE_VARIABLE
from trident.commands.serve import serve
from trident.commands.supervision import HEALTH_PORT
from trident.contract import ENSEMBLE
from trident.entities.gallery import URL_VARIABLE
from trident.entities.sealing import KEY_VARIABLE
from trident.launcher.server import GRPC_PORT, METRICS_PORT
from trident.layout import DEFAULT_REPOSITORY
from trident.overlay import main as overlay_command
from trident.overlay import overlaid
from trident.supervisor.endpoint import HealthEndpoint

ROOT = DEPLOY.parent
TEXT = CONTAINERFILE.read_text()

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


class TestContainer:
    def test_it_starts_the_launcher_which_alone_knows_the_servers_options(self) -> None:
        entry = json.loads(manifests.arguments(TEXT, "ENTRYPOINT")[-1])
        command = json.loads(manifests.arguments(TEXT, "CMD")[-1])

        assert entry[1:3] == ["trident", "serve"]
        assert option(serve, [*entry[3:], *command], "host") == "0.0.0.0"
        assert option(serve, [*entry[3:], *command], "model_repository") == "/opt/trident/model_repository"

    def test_it_runs_as_a_user_without_rights(self) -> None:
        assert manifests.arguments(TEXT, "USER") == ["1000:1000"]

    def test_it_exposes_what_the_launcher_listens_on(self) -> None:
        assert manifests.arguments(TEXT, "EXPOSE") == [f"{GRPC_PORT} {METRICS_PORT} {HEALTH_PORT}"]
        assert option(serve, [], "health_port") == HEALTH_PORT

    def test_its_health_check_asks_what_kubernetes_asks(self) -> None:
        (check,) = manifests.arguments(TEXT, "HEALTHCHECK")
        assert f"'127.0.0.1', {HEALTH_PORT}" in check
        assert f"'{served('cpu')['readinessProbe']['httpGet']['path']}'" in check
        compile(json.loads(check[check.index("[") :])[-1], "health check", "exec")

    def test_what_it_copies_is_there_and_is_not_kept_out(self) -> None:
        copied = [rest.split()[:-1] for rest in manifests.arguments(TEXT, "COPY") if "--from=" not in rest]
        admitted = {line.removeprefix("!") for line in ignore_lines() if line.startswith("!")}
        for source in [word for words in copied for word in words]:
            assert (ROOT / source).exists(), source
            assert source in admitted, f"{source} is kept out by Containerfile.dockerignore"

    def test_nothing_of_this_clone_but_sources_goes_into_it(self) -> None:
        lines = ignore_lines()
        assert lines[0] == "*"
        assert {"**/*.onnx", "**/model.json", "**/__pycache__"} <= set(lines)

    def test_the_release_of_triton_is_one_with_the_known_weaknesses_mended(self) -> None:
        (release,) = [rest for rest in manifests.arguments(TEXT, "ARG") if rest.startswith("TRITON_RELEASE=")]
        year, month = map(int, release.removeprefix("TRITON_RELEASE=").split("."))
        assert (year, month) >= (26, 7)
        build = manifests.compose()["services"]["trident"]["build"]["args"]
        assert build["TRITON_RELEASE"] == f"${{TRITON_RELEASE:-{year}.{month:02}}}"

    def test_no_registry_is_named_anywhere(self) -> None:
        images = [container["image"] for overlay in OVERLAYS for container in containers(overlay)]
        images += [service["image"] for service in manifests.compose()["services"].values()]
        assert [image for image in images if "." in image.partition("/")[0].partition(":")[0]] == []


def ignore_lines() -> list[str]:
    lines = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def containers(overlay: str) -> Iterator[Document]:
    spec = manifests.pod(overlay)
    yield from spec["initContainers"]
    yield from spec["containers"]


class TestKubernetes:
    @every_overlay
    def test_the_launcher_takes_the_options_that_it_is_given(self, overlay: str) -> None:
        arguments = served(overlay)["args"]
        mounts = {mount["mountPath"] for mount in served(overlay)["volumeMounts"]}
        assert str(Path(option(serve, arguments, "model_repository")).parent) in mounts

    @every_overlay
    def test_the_models_are_copied_to_where_they_are_served_from(self, overlay: str) -> None:
        (copier,) = manifests.pod(overlay)["initContainers"]
        assert copier["command"][1:] == ["-m", "trident.overlay"]
        assert option(overlay_command, copier["args"], "repository") == "/opt/trident/model_repository"
        assert option(overlay_command, copier["args"], "target") == option(
            serve, served(overlay)["args"], "model_repository"
        )
        assert option(overlay_command, copier["args"], "keep"), "a node that restarts runs the init container again"

    def test_the_overlay_of_the_gpu_is_in_the_image_and_fits_the_models(self) -> None:
        (copier,) = manifests.pod("gpu")["initContainers"]
        (overlay,) = option(overlay_command, copier["args"], "overlays")
        assert "deploy/overlays /opt/trident/overlays" in manifests.arguments(TEXT, "COPY")
        assert overlaid(DEFAULT_REPOSITORY, [DEPLOY / Path(overlay).relative_to("/opt/trident")])
        assert served("gpu")["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert "--overlay" not in manifests.pod("cpu")["initContainers"][0]["args"]

    @every_overlay
    def test_ports_are_the_launchers(self, overlay: str) -> None:
        ports = {port["name"]: port["containerPort"] for port in served(overlay)["ports"]}
        assert ports == {"grpc": GRPC_PORT, "metrics": METRICS_PORT, "health": HEALTH_PORT}
        template = manifests.resource(manifests.rendered(overlay), "Deployment")["spec"]["template"]
        assert template["metadata"]["annotations"]["prometheus.io/port"] == str(METRICS_PORT)

    @every_overlay
    def test_services_lead_grpc_to_the_pods_and_one_of_them_to_each(self, overlay: str) -> None:
        documents = manifests.rendered(overlay)
        labels = manifests.resource(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
        for name in ("trident", "trident-balanced"):
            spec = manifests.resource(documents, "Service", name)["spec"]
            assert spec["selector"].items() <= labels.items()
            assert [(port["port"], port["targetPort"]) for port in spec["ports"]] == [(GRPC_PORT, "grpc")]
        assert manifests.resource(documents, "Service")["spec"]["clusterIP"] == "None"

    @every_overlay
    @pytest.mark.parametrize("kind", ["PodDisruptionBudget", "NetworkPolicy"])
    def test_what_chooses_pods_chooses_these(self, overlay: str, kind: str) -> None:
        documents = manifests.rendered(overlay)
        labels = manifests.resource(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
        spec = manifests.resource(documents, kind)["spec"]
        chosen = spec.get("selector") or spec.get("podSelector")
        assert chosen["matchLabels"], "an empty selector is every pod of the namespace"
        assert chosen["matchLabels"].items() <= labels.items()

    def test_probes_ask_what_the_health_endpoint_answers(self) -> None:
        endpoint = HealthEndpoint(
            "127.0.0.1", 0, model=ENSEMBLE, live=lambda: True, ready=lambda: True, status=lambda: {"reason": ""}
        )
        for container in (served("cpu"), served_by_kserve()):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = container[probe]["httpGet"]
                assert endpoint.answer(asked["path"])[0] == 200, asked
                assert asked["port"] in ("health", HEALTH_PORT)
        assert endpoint.answer("/v2/models/other/ready")[0] == 404, "the endpoint tells paths apart"

    def test_the_network_policy_lets_clients_in_to_grpc_and_the_monitoring_to_metrics(self) -> None:
        policy = manifests.resource(manifests.rendered("cpu"), "NetworkPolicy")["spec"]
        admitted = {
            (source["namespaceSelector"]["matchLabels"]["trident-access"], port["port"])
            for rule in policy["ingress"]
            for source in rule["from"]
            for port in rule["ports"]
        }
        assert admitted == {("client", GRPC_PORT), ("monitoring", METRICS_PORT), ("monitoring", HEALTH_PORT)}
        assert all(rule["from"] and rule["ports"] for rule in policy["ingress"]), "a rule without either is for all"
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}

    @every_overlay
    def test_pods_may_do_nothing_that_they_need_not(self, overlay: str) -> None:
        """Kubernetes' restricted standard, and a read-only file system."""
        assert manifests.pod(overlay)["securityContext"]["runAsNonRoot"]
        assert manifests.pod(overlay)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert manifests.pod(overlay)["automountServiceAccountToken"] is False
        for container in containers(overlay):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }

    @every_overlay
    def test_what_is_written_lies_on_a_volume(self, overlay: str) -> None:
        environment = manifests.environment(TEXT)
        written = {
            environment["HOME"],
            f"{environment['XDG_DATA_HOME']}/trident",
            f"{environment['XDG_STATE_HOME']}/trident",
            *("/tmp", "/dev/shm", "/models"),
        }
        mounts = {mount["mountPath"]: mount for mount in served(overlay)["volumeMounts"]}
        assert written <= mounts.keys()
        assert not [place for place in written if mounts[place].get("readOnly")]
        service = manifests.compose()["services"]["trident"]
        places = [str(place).partition(":") for place in (*service["volumes"], *service["tmpfs"])]
        composed = {end.split(":")[0] if end.startswith("/") else start for start, _, end in places}
        assert written - {"/dev/shm"} <= composed
        assert service["shm_size"] == "1gb"

    @every_overlay
    def test_a_pod_has_time_to_answer_what_it_has_taken(self, overlay: str) -> None:
        spec = manifests.pod(overlay)
        asleep = served(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert spec["terminationGracePeriodSeconds"] >= asleep + seconds_to_stop(serve, served(overlay)["args"])

    def test_kserve_gives_it_that_time_too(self) -> None:
        predictor = manifests.resource(manifests.kserve(), "InferenceService")["spec"]["predictor"]
        assert "lifecycle" not in served_by_kserve(), "a preStop would come on top"
        assert predictor["terminationGracePeriodSeconds"] >= seconds_to_stop(serve, served_by_kserve()["args"])

    def test_compose_gives_it_that_time_too(self) -> None:
        service = manifests.compose()["services"]["trident"]
        assert int(service["stop_grace_period"].removesuffix("s")) >= seconds_to_stop(serve, service["command"])

    def test_the_time_to_stop_counts_the_notice(self) -> None:
        assert seconds_to_stop(serve, ["--grace", "25", "--notice", "4"]) == 44
        assert seconds_to_stop(serve, ["--grace", "25"]) == 42, "the launcher's own notice is 2 seconds"

    def test_secrets_go_where_the_code_looks_for_them(self) -> None:
        variables = {one["name"]: one for one in served("secured")["env"]}
        assert set(variables) == {URL_VARIABLE, KEY_VARIABLE, KEY_FILE_VARIABLE}
        for name in (URL_VARIABLE, KEY_VARIABLE):
            assert variables[name]["valueFrom"]["secretKeyRef"]["name"] == "trident"
        mounts = {mount["mountPath"]: mount["name"] for mount in served("secured")["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in manifests.pod("secured")["volumes"]}
        file = Path(variables[KEY_FILE_VARIABLE]["value"])
        secret = volumes[mounts[str(file.parent)]]["secret"]
        assert secret["items"] == [{"key": file.name, "path": file.name}]
        assert secret["defaultMode"] == 0o440, "the launcher refuses a key that everybody may read"
        assert set(manifests.compose()["services"]["trident"]["environment"]) == {URL_VARIABLE, KEY_VARIABLE}

    def test_kserves_replicas_share_the_gallery_of_the_same_secret(self) -> None:
        given = {one["name"]: one for one in served("cpu")["env"]}
        assert {one["name"]: one for one in served_by_kserve()["env"]} == given
        assert set(given) == {URL_VARIABLE, KEY_VARIABLE}
        assert all(one["valueFrom"]["secretKeyRef"]["optional"] for one in given.values()), "without one it starts too"

    def test_certificates_go_where_the_launcher_is_told_to_look(self) -> None:
        mounts = {mount["mountPath"]: mount["name"] for mount in served("secured")["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in manifests.pod("secured")["volumes"]}
        for name, key in (("tls_certificate", "tls.crt"), ("tls_key", "tls.key"), ("tls_client_ca", "ca.crt")):
            file = Path(option(serve, served("secured")["args"], name))
            assert file.name == key, "the names of a Secret of type kubernetes.io/tls"
            assert volumes[mounts[str(file.parent)]]["secret"]["defaultMode"] == 0o440


class TestScaling:
    def test_the_autoscaler_asks_for_the_metric_that_the_adapter_gives(self) -> None:
        (rule,) = adapter_rules()
        (metric,) = manifests.resource(manifests.rendered("cpu"), "HorizontalPodAutoscaler")["spec"]["metrics"]
        assert metric["pods"]["metric"]["name"] == rule["name"]["as"]

    def test_they_count_answers_of_the_ensemble(self) -> None:
        for query in scaling_queries():
            assert f'nv_inference_request_success{{model="{ENSEMBLE}"' in query

    def test_two_replicas_stay_while_one_is_drained(self) -> None:
        documents = manifests.rendered("cpu")
        least = manifests.resource(documents, "HorizontalPodAutoscaler")["spec"]["minReplicas"]
        gone = manifests.resource(documents, "PodDisruptionBudget")["spec"]["maxUnavailable"]
        assert least - gone >= 1
        assert manifests.resource(documents, "Deployment")["spec"].get("replicas") is None, "the autoscaler's to say"


class TestCompose:
    def test_nothing_listens_beyond_this_machine(self) -> None:
        for name, service in manifests.compose()["services"].items():
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name

    def test_the_models_are_copied_to_where_they_are_served_from(self) -> None:
        services = manifests.compose()["services"]
        target = option(overlay_command, services["models"]["command"], "target")
        assert target == option(serve, services["trident"]["command"], "model_repository")
        assert services["models"]["volumes"][0] in services["trident"]["volumes"]

    def test_with_a_gpu_both_use_another_volume_and_the_overlay(self) -> None:
        services = manifests.compose("compose.gpu.yaml")["services"]
        (overlay,) = option(overlay_command, services["models"]["command"], "overlays")
        assert (DEPLOY / Path(overlay).relative_to("/opt/trident")).is_dir()
        assert services["models"]["volumes"] == services["trident"]["volumes"] == ["models-gpu:/models"]

    def test_what_prometheus_and_grafana_read_is_there(self) -> None:
        services = manifests.compose()["services"]
        mounted = [volume for name in ("prometheus", "grafana") for volume in services[name]["volumes"]]
        for source in [volume.partition(":")[0] for volume in mounted if volume.startswith(".")]:
            assert (DEPLOY / source).exists(), source

    def test_prometheus_asks_the_service_by_its_name(self) -> None:
        configuration = yaml.safe_load((DEPLOY / "observability" / "prometheus.yml").read_text())
        targets = [t for job in configuration["scrape_configs"] for s in job["static_configs"] for t in s["targets"]]
        assert targets == [f"trident:{METRICS_PORT}", f"trident:{HEALTH_PORT}"]
        assert "trident" in manifests.compose()["services"]

    def test_grafana_is_shown_prometheus_and_the_dashboard(self) -> None:
        document = manifests.compose()
        given = {one["source"]: one["target"] for one in document["services"]["grafana"]["configs"]}
        contents = {name: yaml.safe_load(document["configs"][name]["content"]) for name in given}
        assert all(target.startswith("/etc/grafana/provisioning/") for target in given.values())
        (source,) = contents["grafana-datasource"]["datasources"]
        assert source["url"].partition("://")[2].partition(":")[0] in document["services"]
        (provider,) = contents["grafana-dashboards"]["providers"]
        mounted = [volume.split(":")[1] for volume in document["services"]["grafana"]["volumes"]]
        assert any(Path(place).parent == Path(provider["options"]["path"]) for place in mounted)


def test_the_readmes_commands_name_files_that_are_there() -> None:
    text = (DEPLOY / "README.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    words = [word for block in blocks for word in shlex.split(block.replace("\\\n", " "), comments=True)]
    named = [word for word in words if word.startswith("deploy/")]
    assert named
    assert [word for word in named if not (ROOT / word).exists()] == []


def test_what_is_changed_by_a_test_is_its_own() -> None:
    """The helpers give fresh data at each call: a test that breaks a manifest breaks no other test."""
    first = manifests.rendered("cpu")
    untouched = copy.deepcopy(first)
    first[0]["kind"] = "broken"
    assert manifests.rendered("cpu") == untouched
