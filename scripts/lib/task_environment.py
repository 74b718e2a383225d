"""Prints, for eval by a shell, the environment variables that an ECS service gives its tasks.

usage: task_environment.py ENDPOINT CLUSTER SERVICE    on an emulator, which takes requests without a signature
"""
import json
import shlex
import sys
import urllib.request


def call(endpoint: str, operation: str, request: dict) -> dict:
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": f"AmazonEC2ContainerServiceV20141113.{operation}",
        "authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/ecs/aws4_request, SignedHeaders=host, Signature=0",
    }
    with urllib.request.urlopen(urllib.request.Request(endpoint, json.dumps(request).encode(), headers)) as answer:
        return json.load(answer)


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    endpoint, cluster, service = sys.argv[1:]
    services = call(endpoint, "DescribeServices", {"cluster": cluster, "services": [service]})["services"]
    if not services:
        sys.exit(f"there is no service {service} in cluster {cluster}")
    task = call(endpoint, "DescribeTaskDefinition", {"taskDefinition": services[0]["taskDefinition"]})["taskDefinition"]
    for variable in task["containerDefinitions"][0]["environment"]:
        print(f"export {variable['name']}={shlex.quote(variable['value'])}")


main()
