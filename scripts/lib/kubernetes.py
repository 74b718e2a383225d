"""Renders infra/kubernetes with Helm's own engine, and checks what comes out against Kubernetes' schemas.

usage: kubernetes.py check OUT VERSION   every variant into a folder of OUT, its signet.toml beside it
       kubernetes.py commands FILE       what the containers of a rendered file, or one of Compose, run, a line each: name,
                                         command (ENTRYPOINT: the image's), arguments

Run by the environment that scripts/lib/deployments.sh makes.
"""
import shlex
import sys
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "infra/kubernetes"
CHART = FOLDER / "signet"
# The oldest Kubernetes that Chart.yaml admits, and the newest that the schemas know.
KUBERNETES = ("1.29", kubernetes_validate.latest_version())
AWS = {"region": "eu-central-1", "prefix": "signet-prod", "serverIdentityPrefix": "/signet/prod"}
VARIANTS = {
    "sqlite": {},
    "aws": {
        "storage": "aws",
        "aws": AWS,
        "replicas": 3,
        "serverNames": ["signet.example.com"],
        "service": {"type": "LoadBalancer", "annotations": {"service.beta.kubernetes.io/aws-load-balancer-type": "external"}},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/signet-prod-signetd"}},
        "imagePullSecrets": [{"name": "registry"}],
        "clusterIssuer": "https://kubernetes.default.svc.cluster.local",
        "tokenIssuer": "https://signet.example.com:8443",
        "extraConfig": "[limits]\nmax_streams = 64\n",
    },
}
# What the chart has to refuse, and a word that its refusal has.
REFUSED = [
    ({"replicas": 2}, "/replicas"),
    ({"storage": "aws", "aws": AWS | {"prefix": ""}}, "/aws/prefix"),
    ({"storage": "s3"}, "/storage"),
    ({"replica": 1}, "replica"),
    ({"tokenIssuer": "http://id.example.com"}, "/tokenIssuer"),
]


def check(out: Path, version: str) -> None:
    findings = helm_python.lint(CHART, strict=True)
    worst = [found for found in findings["messages"] if found["severity"] > 1]
    assert not worst and not findings["errors"], findings
    with helm_python.Chart.load(CHART) as chart:
        assert (chart.version, chart.metadata["appVersion"]) == (version, version), f"Chart.yaml has another version than {version}"
        for name, values in VARIANTS.items():
            files = chart.render(values, name="signet", namespace="identity")
            text = "\n---\n".join(files[file] for file in sorted(files) if file.endswith(".yaml"))
            (out / name).mkdir(parents=True)
            (out / name / "all.yaml").write_text(text)
            kinds = validate(text)
            config = next(document for document in documents(text) if document["kind"] == "ConfigMap")
            (out / name / "signet.toml").write_text(config["data"]["signet.toml"])
            print(f"chart, {name}: {', '.join(kinds)}")
        for values, word in REFUSED:
            try:
                chart.render(values, name="signet")
            except helm_python.HelmError as error:
                assert word in str(error), error
            else:
                sys.exit(f"the chart takes {values}")
    for file in sorted(FOLDER.glob("*.yaml")):
        text = file.read_text()
        print(f"{file.name}: {', '.join(validate(text))}")
        agent = next(document for document in documents(text) if document["kind"] == "ConfigMap")
        (out / file.stem).mkdir()
        (out / file.stem / "agent.toml").write_text(agent["data"]["agent.toml"])
        assert f"image: signet-agent:{version}" in text, f"{file.name} has another version than {version}"


def documents(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


def validate(text: str) -> list[str]:
    """Every document against both versions, and strictly: a field that they do not know is a mistake. Their kinds."""
    for document in documents(text):
        for kubernetes in KUBERNETES:
            kubernetes_validate.validate(document, kubernetes, strict=True)
    return [document["kind"] for document in documents(text)]


def commands(file: Path) -> None:
    for document in documents(file.read_text()):
        pod = document.get("spec", {}).get("template", {}).get("spec", {})
        for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
            print(container["name"], shlex.join([*container.get("command", ["ENTRYPOINT"]), *container.get("args", [])]))
        for name, service in document.get("services", {}).items():
            print(name, shlex.join([*service.get("entrypoint", ["ENTRYPOINT"]), *service["command"]]))


match sys.argv[1:]:
    case ["check", out, version]:
        check(Path(out), version)
    case ["commands", file]:
        commands(Path(file))
    case _:
        sys.exit(__doc__)
