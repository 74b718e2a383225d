"""Acts as the roles of an environment on an emulator that enforces IAM. AWS_ENDPOINT_URL says where.

usage: roles.py assume PREFIX ROLE                     prints the role's credentials, for eval by a shell
       roles.py invoke PREFIX ROLE BINARY EVENT        runs a Lambda's binary with its variables and its role for one event; prints the answer
       roles.py begin-rotation SECRET VERSION          labels a version AWSPENDING
       roles.py remake PREFIX ROLE                     deletes a role and makes the same again, with another unique id
       roles.py restore-tables PREFIX SUFFIX           as break glass: copies of the tables as they are now, beside them (step 4 of RestoreTables)
       roles.py lose PREFIX TABLE PARTITION            as break glass: a record is gone
       roles.py order PREFIX EVENT                     has the keymaker carry out an order; prints its answer
       roles.py refusals PREFIX                        tries what each role must not be able to do
"""
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"
ROOT = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "aws_session_token": None}


def client(service: str, credentials: dict = ROOT):
    return boto3.client(service, **credentials)


def assume(prefix: str, role: str) -> dict:
    """Nobody here is whom the role trusts, so its trust is another one for a moment."""
    iam, name = client("iam"), f"{prefix}-{role}"
    trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    anybody = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [anybody]}))
    try:
        session = client("sts").assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{name}", RoleSessionName="round")["Credentials"]
    finally:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust))
    return {"aws_access_key_id": session["AccessKeyId"], "aws_secret_access_key": session["SecretAccessKey"], "aws_session_token": session["SessionToken"]}


def invoke(prefix: str, role: str, binary: str, event: str) -> int:
    """The Lambda runtime API, for one event."""
    taken, answer = threading.Event(), []

    class Api(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            if taken.is_set():
                threading.Event().wait()
            taken.set()
            self.send_response(200)
            self.send_header("lambda-runtime-aws-request-id", "1")
            self.send_header("lambda-runtime-deadline-ms", "99999999999999")
            self.send_header("lambda-runtime-invoked-function-arn", f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:{prefix}-{role}")
            self.send_header("content-length", str(len(event.encode())))
            self.end_headers()
            self.wfile.write(event.encode())

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            answer[:] = [self.path.endswith("/response"), body]
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()
            process.kill()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.daemon_threads = True
    variables = client("lambda").get_function_configuration(FunctionName=f"{prefix}-{role}")["Environment"]["Variables"]
    variables |= {name.upper(): value for name, value in assume(prefix, role).items()}
    variables |= {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}", "AWS_LAMBDA_FUNCTION_NAME": f"{prefix}-{role}"}
    variables |= {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_LOG_GROUP_NAME": "-", "AWS_LAMBDA_LOG_STREAM_NAME": "-"}
    process = subprocess.Popen([binary], env={**os.environ, **variables}, stdout=sys.stderr)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    process.wait(timeout=60)
    print(answer[1] if answer else "no answer")
    return 0 if answer and answer[0] else 1


def remake(prefix: str, role: str) -> None:
    iam, name = client("iam"), f"{prefix}-{role}"
    trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    names = iam.list_role_policies(RoleName=name)["PolicyNames"]
    policies = {policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"] for policy in names}
    for policy in policies:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    iam.delete_role(RoleName=name)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    for policy, document in policies.items():
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document))


def restore_tables(prefix: str, suffix: str) -> None:
    dynamodb = client("dynamodb", assume(prefix, "break-glass"))
    for table in ("tenants", "principals", "certificates", "enrollments", "requests", "audit"):
        source = f"{prefix}-{table}"
        # The emulator knows no time but the present.
        dynamodb.restore_table_to_point_in_time(SourceTableName=source, TargetTableName=f"{source}-{suffix}", UseLatestRestorableTime=True)


def lose(prefix: str, table: str, partition: str) -> None:
    dynamodb, name = client("dynamodb", assume(prefix, "break-glass")), f"{prefix}-{table}"
    items = dynamodb.query(TableName=name, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": {"S": partition}})["Items"]
    assert items, f"there is nothing at {partition}"
    for item in items:
        dynamodb.delete_item(TableName=name, Key={"pk": item["pk"], "sk": item["sk"]})


def order(prefix: str, event: str) -> str:
    """The keymaker's answer to an order."""
    return client("lambda").invoke(FunctionName=f"{prefix}-keymaker", Payload=event)["Payload"].read().decode()


def new_key(prefix: str, tenant: str, ca: str) -> str:
    """The id of a key that the keymaker made just now, so that its tags do not count yet."""
    return json.loads(order(prefix, json.dumps({"task": "create-key", "tenant": tenant, "ca": ca})))["key"].rpartition("/")[2]


def refusals(prefix: str) -> int:
    """Each must be refused; a call that succeeds is named."""
    digest = {"Message": b"0" * 32, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
    sign = lambda purpose: ("kms", "sign", {"KeyId": f"alias/{prefix}-{purpose}", **digest})  # noqa: E731
    root = client("kms").describe_key(KeyId=f"alias/{prefix}-root")["KeyMetadata"]["KeyId"]
    delete_root = ("kms", "schedule_key_deletion", {"KeyId": root})
    server_key = ("secretsmanager", "get_secret_value", {"SecretId": f"/signet/{prefix.removeprefix('signet-')}/server"})
    publish = ("s3", "put_object", {"Bucket": f"{prefix}-publication-{ACCOUNT}", "Key": "root.pem", "Body": b""})
    forget = ("dynamodb", "delete_item", {"TableName": f"{prefix}-audit", "Key": {"pk": {"S": "a"}, "sk": {"S": "b"}}})
    any_key = ("kms", "create_key", {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"})
    plain = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
    untagged = ("kms", "create_key", plain)
    tags = [{"TagKey": f"signet:{name}", "TagValue": value} for name, value in (("environment", prefix), ("tenant", "edge"), ("ca", "edge.2"))]
    tenants = ("kms", "create_key", {**plain, "Tags": tags})
    tenants_bypassed = ("kms", "create_key", {**plain, "Tags": tags, "BypassPolicyLockoutSafetyCheck": True})
    everybody = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}
    open_up = lambda key: ("kms", "put_key_policy", {"KeyId": key, "Policy": json.dumps({"Statement": everybody})})  # noqa: E731
    tenants_key = client("kms").describe_key(KeyId=f"alias/{prefix}-tenant-edge-1")["KeyMetadata"]["KeyId"]
    next_root = ("kms", "sign", {"KeyId": new_key(prefix, "system", "root.2"), **digest})
    # Made by the keymaker too, some time ago.
    next_server = client("kms").describe_key(KeyId=f"alias/{prefix}-tenant-server-2")["KeyMetadata"]["KeyId"]
    end = lambda key, days=30: ("kms", "schedule_key_deletion", {"KeyId": key, "PendingWindowInDays": days})  # noqa: E731
    unname = ("kms", "delete_alias", {"AliasName": f"alias/{prefix}-root"})
    make = ("lambda", "invoke", {"FunctionName": f"{prefix}-keymaker", "Payload": "{}"})
    tried = {
        "control-plane": [sign("server"), delete_root, publish, forget, any_key, untagged, tenants, open_up(tenants_key), end(tenants_key)],
        "enroll": [sign("root"), sign("system"), sign("server"), sign("audit"), next_root, delete_root, publish, forget, server_key, untagged, tenants, make, end(tenants_key)],
        "keymaker": [sign("root"), sign("shared"), sign("tenant-edge-1"), delete_root, open_up(root), publish, forget, server_key, any_key, untagged, tenants_bypassed, end(root), end(next_server), end(tenants_key, 7), unname],
        "rotate": [sign("audit"), delete_root, forget, any_key, untagged, tenants, open_up(tenants_key), end(tenants_key)],
        "administrator": [end(tenants_key), sign("tenant-edge-1"), sign("audit"), delete_root, publish, forget, make],
        "break-glass": [sign("root"), sign("shared"), publish, server_key],
    }
    # Of the account, not of the environment.
    terraform = "signet-terraform"
    all_of_it = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
    more = ("iam", "put_role_policy", {"RoleName": terraform, "PolicyName": "more", "PolicyDocument": all_of_it})
    stranger = ("iam", "delete_role_policy", {"RoleName": "platform", "PolicyName": "any"})
    blind = ("s3", "put_bucket_policy", {"Bucket": f"signet-trail-{ACCOUNT}", "Policy": "{}"})
    tried[terraform] = [sign("root"), server_key, forget, more, stranger, blind, ("cloudtrail", "stop_logging", {"Name": "signet"})]
    allowed = 0
    for role, calls in tried.items():
        credentials = assume(*role.split("-", 1)) if role == terraform else assume(prefix, role)
        for service, operation, arguments in calls:
            try:
                getattr(client(service, credentials), operation)(**arguments)
            except ClientError as error:
                if "AccessDenied" in error.response["Error"]["Code"]:
                    continue
                print(f"{role}: {service}:{operation}: {error}")
            else:
                print(f"{role} may {service}:{operation} {arguments}")
            allowed += 1
    print(f"{sum(map(len, tried.values()))} calls tried, {allowed} not refused")
    return min(allowed, 1)


match sys.argv[1:]:
    case ["assume", prefix, role]:
        for name, value in assume(prefix, role).items():
            print(f"export {name.upper()}={value}")
    case ["invoke", prefix, role, binary, event]:
        sys.exit(invoke(prefix, role, binary, event))
    case ["begin-rotation", secret, version]:
        # As Secrets Manager does itself; the emulator labels no version of its own accord, and keeps none without a value.
        client("secretsmanager").put_secret_value(SecretId=secret, ClientRequestToken=version, SecretBinary=b"0", VersionStages=["AWSPENDING"])
    case ["remake", prefix, role]:
        remake(prefix, role)
    case ["restore-tables", prefix, suffix]:
        restore_tables(prefix, suffix)
    case ["lose", prefix, table, partition]:
        lose(prefix, table, partition)
    case ["order", prefix, event]:
        print(order(prefix, event))
    case ["refusals", prefix]:
        sys.exit(refusals(prefix))
    case _:
        sys.exit(__doc__)
