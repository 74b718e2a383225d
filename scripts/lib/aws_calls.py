"""What a round through an environment asks of AWS beside Terraform and our own programs. AWS_ENDPOINT_URL says where.

usage: aws_calls.py invoke FUNCTION EVENT      a Lambda, synchronously; prints its answer
       aws_calls.py rotate SECRET FUNCTION     Secrets Manager's four steps, in order, as RotateSecret would call them
       aws_calls.py listen TOPIC QUEUE         from now on a new queue gets what the topic gets
       aws_calls.py heard QUEUE                the next message of the queue, taken from it; fails if there is none
       aws_calls.py leave TOPIC QUEUE          ends that, and removes the queue
       aws_calls.py reschedule GROUP NAME RATE gives a schedule another rate, and nothing else; prints the one it had
       aws_calls.py left PREFIX                what still exists whose name has PREFIX, also as a path (/signet/dev)
"""
import json
import sys
import uuid
from collections.abc import Iterator

import boto3


def invoke(function: str, event: dict) -> object:
    answer = boto3.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
    payload = json.loads(answer["Payload"].read() or b"null")
    if "FunctionError" in answer:
        sys.exit(f"{function} failed on {json.dumps(event)}: {json.dumps(payload)}")
    return payload


def rotate(secret: str, function: str) -> None:
    client = boto3.client("secretsmanager")
    before = version(client, secret)
    token = str(uuid.uuid4())
    # As RotateSecret does itself; the emulator labels no version of its own accord, and keeps none without a value.
    client.put_secret_value(SecretId=secret, ClientRequestToken=token, SecretBinary=b"0", VersionStages=["AWSPENDING"])
    for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
        # Each step twice: Secrets Manager repeats a step whose answer it did not get.
        for _ in range(2):
            invoke(function, {"Step": step, "SecretId": secret, "ClientRequestToken": token})
    after = version(client, secret)
    if after != token or after == before:
        sys.exit(f"AWSCURRENT of {secret} is {after}, not the new version {token}")


def version(client, secret: str) -> str | None:
    stages = client.describe_secret(SecretId=secret).get("VersionIdsToStages", {})
    return next((name for name, labels in stages.items() if "AWSCURRENT" in labels), None)


def topic_arn(name: str) -> str:
    topics = boto3.client("sns").list_topics()["Topics"]
    return next(topic["TopicArn"] for topic in topics if topic["TopicArn"].endswith(f":{name}"))


def listen(topic: str, queue: str) -> None:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=queue)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    boto3.client("sns").subscribe(TopicArn=topic_arn(topic), Protocol="sqs", Endpoint=arn)


def heard(queue: str) -> None:
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1).get("Messages", [])
    if not messages:
        sys.exit("nothing was heard")
    sqs.delete_message(QueueUrl=url, ReceiptHandle=messages[0]["ReceiptHandle"])
    print(json.loads(messages[0]["Body"])["Message"])


def leave(topic: str, queue: str) -> None:
    sns, sqs = boto3.client("sns"), boto3.client("sqs")
    for subscription in sns.list_subscriptions_by_topic(TopicArn=topic_arn(topic))["Subscriptions"]:
        if subscription["Endpoint"].endswith(f":{queue}"):
            sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"])


def reschedule(group: str, name: str, rate: str) -> None:
    client = boto3.client("scheduler")
    schedule = client.get_schedule(GroupName=group, Name=name)
    # UpdateSchedule sets all of it: what is not said here becomes the default.
    settable = client.meta.service_model.operation_model("UpdateSchedule").input_shape.members
    kept = {member: value for member, value in schedule.items() if member in settable}
    client.update_schedule(**kept | {"ScheduleExpression": rate})
    print(schedule["ScheduleExpression"])


def names() -> Iterator[tuple[str, str]]:
    """Kind and name of everything in the services that an environment uses."""
    listings = {
        "table": ("dynamodb", "list_tables", "TableNames", None),
        "key alias": ("kms", "list_aliases", "Aliases", "AliasName"),
        "function": ("lambda", "list_functions", "Functions", "FunctionName"),
        "API": ("apigatewayv2", "get_apis", "Items", "Name"),
        "bucket": ("s3", "list_buckets", "Buckets", "Name"),
        "secret": ("secretsmanager", "list_secrets", "SecretList", "Name"),
        "parameter": ("ssm", "describe_parameters", "Parameters", "Name"),
        "log group": ("logs", "describe_log_groups", "logGroups", "logGroupName"),
        "role": ("iam", "list_roles", "Roles", "RoleName"),
        "cluster": ("ecs", "list_clusters", "clusterArns", None),
        "load balancer": ("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName"),
        "schedule group": ("scheduler", "list_schedule_groups", "ScheduleGroups", "Name"),
        "event bus": ("events", "list_event_buses", "EventBuses", "Name"),
        "queue": ("sqs", "list_queues", "QueueUrls", None),
        "topic": ("sns", "list_topics", "Topics", "TopicArn"),
        "alarm": ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    }
    for kind, (service, operation, items, field) in listings.items():
        for item in getattr(boto3.client(service), operation)().get(items, []):
            yield kind, item if field is None else item[field]


def left(prefix: str) -> None:
    path = "/" + prefix.replace("-", "/", 1)
    for kind, name in names():
        # A dedicated tenant's CA key is made by the control plane and outlives Terraform's resources on purpose.
        if "-tenant-" not in name and (prefix in name or path in name):
            print(kind, name)


def main() -> None:
    match sys.argv[1:]:
        case ["invoke", function, event]:
            print(json.dumps(invoke(function, json.loads(event))))
        case ["rotate", secret, function]:
            rotate(secret, function)
        case ["listen", topic, queue]:
            listen(topic, queue)
        case ["heard", queue]:
            heard(queue)
        case ["leave", topic, queue]:
            leave(topic, queue)
        case ["reschedule", group, name, rate]:
            reschedule(group, name, rate)
        case ["left", prefix]:
            left(prefix)
        case _:
            sys.exit(__doc__)


main()
