"""The manifests in `deploy/kubernetes`: valid by Kubernetes' own schemas, without a secret, and in agreement with the code."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import kubernetes_validate
import pytest
import yaml

from dsgo.settings import CHECKOUT, EVERYWHERE, load

FOLDER = CHECKOUT / "deploy" / "kubernetes"
VERSIONS = ("1.30", "1.37")
OURS = "dsgo:0.1.0"
# Keys of the Secret that docs/scale.md has people make; the last is no setting of DSGo.
SECRETS = {
    "DSGO_FTP_PASSWORD",
    "DSGO_DATABASE_URL",
    "DSGO_TRACKING_DATABASE_URL",
    "DSGO_DASHBOARD_USER",
    "DSGO_DASHBOARD_PASSWORD",
    "POSTGRES_PASSWORD",
}


def manifests() -> list[dict]:
    return [manifest for file in sorted(FOLDER.glob("*.yaml")) for manifest in yaml.safe_load_all(file.read_text())]


def named(manifest: dict) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def of_kind(*kinds: str) -> list[dict]:
    return [manifest for manifest in manifests() if manifest["kind"] in kinds]


def pod_of(manifest: dict) -> dict:
    spec = manifest["spec"]
    return (spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec)["template"]


WORKLOADS = of_kind("StatefulSet", "Deployment", "CronJob")


def containers() -> Iterator[dict]:
    for workload in WORKLOADS:
        yield from pod_of(workload)["spec"]["containers"]


def environment_of(container: dict) -> dict[str, str]:
    """As the container has it; secrets by their name."""
    (common,) = (manifest["data"] for manifest in of_kind("ConfigMap"))
    own = {each["name"]: each.get("value", each["name"]) for each in container.get("env", ())}
    return {**(common if "envFrom" in container else {}), **own}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", manifests(), ids=named)
def test_kubernetes_would_take_it(manifest: dict, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schemas_find_a_word_that_is_none() -> None:
    wrong = copy.deepcopy(WORKLOADS[0])
    pod_of(wrong)["spec"]["container"] = pod_of(wrong)["spec"].pop("containers")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_there_is_all_that_a_copy_needs() -> None:
    assert {pod_of(workload)["metadata"]["labels"]["part"] for workload in WORKLOADS} == {
        *("postgresql", "servers", "dashboard", "endpoint", "scheduler", "worker", "pipeline")
    }


def test_no_secret_is_in_it_and_none_is_asked_for_that_the_documentation_does_not_name() -> None:
    assert not of_kind("Secret")
    asked = set()
    for container in containers():
        for each in container.get("env", ()):
            if "valueFrom" in each:
                assert each["valueFrom"]["secretKeyRef"] == {"name": "dsgo", "key": each["name"]}
                asked.add(each["name"])
            else:
                assert not any(word in each["name"] for word in ("PASSWORD", "URL"))
    assert asked == SECRETS
    text = (CHECKOUT / "docs" / "scale.md").read_text()
    assert all(name in text for name in SECRETS)


def test_the_settings_are_those_that_dsgo_has() -> None:
    """In each container they are accepted together, and each is one that is read."""
    values = {"DSGO_DATABASE_URL": "postgresql://u:p@h/d", "DSGO_TRACKING_DATABASE_URL": "postgresql://u:p@h/d"}
    code = (CHECKOUT / "dsgo" / "settings.py").read_text()
    for container in containers():
        if container["image"] != OURS:
            continue
        environment = {name: values.get(name, value) for name, value in environment_of(container).items()}
        assert load(environment).servers == "dsgo-servers"
        for name in environment:
            assert f'"{name}"' in code or name.startswith("DSGO_DASHBOARD_"), name


def test_commands_start_what_there_is() -> None:
    for container in containers():
        if container["image"] != OURS:
            continue
        program, first, *_ = container["command"]
        assert program in (".venv/bin/python", ".venv/bin/dask")
        assert first in ("-m", "scheduler", "worker") or (CHECKOUT / first).is_file(), first


def test_services_lead_to_pods_that_listen_for_others() -> None:
    labels = {workload["metadata"]["name"]: pod_of(workload) for workload in WORKLOADS}
    for service in of_kind("Service"):
        (pod,) = [pod for pod in labels.values() if pod["metadata"]["labels"] == service["spec"]["selector"]]
        listening = {
            port["containerPort"]: each for each in pod["spec"]["containers"] for port in each.get("ports", ())
        }
        for port in service["spec"]["ports"]:
            assert port["port"] in listening
            environment = environment_of(listening[port["port"]])
            if listening[port["port"]].get("command", ("",))[-1].endswith(".py"):
                listens = {environment.get("DSGO_LISTEN"), environment.get("DSGO_DASHBOARD_HOST")}
                assert EVERYWHERE in listens
    names = {service["metadata"]["name"] for service in of_kind("Service")}
    (common,) = (manifest["data"] for manifest in of_kind("ConfigMap"))
    assert {common["DSGO_SERVERS"], "dsgo-scheduler", "dsgo-postgresql"} <= names
    ports = load({"DSGO_SERVERS": "h"})
    assert {2121, 5000, 8050, 8003} == {ports.ftp_port, ports.tracking_port, ports.dashboard_port, ports.serve_port}


def test_volumes_and_labels_agree() -> None:
    for workload in WORKLOADS:
        pod = pod_of(workload)
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", ())}
        volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        if workload["kind"] != "CronJob":
            assert workload["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
