"""MiniStack with what its IAM lacks for our policies: it counts as reached over TLS, so that policies which refuse plain HTTP
(aws:SecureTransport) let calls pass, it knows KMS's condition keys from the request, and a session's aws:PrincipalArn is its role's."""
import json
from contextvars import ContextVar

from ministack.app import app as ministack
from ministack.core import iam_actions, iam_evaluator

KMS_KEYS = {
    "SigningAlgorithm": ("kms:signingalgorithm", None),
    "KeySpec": ("kms:keyspec", None),
    "KeyUsage": ("kms:keyusage", None),
    "Origin": ("kms:keyorigin", "AWS_KMS"),
    "MultiRegion": ("kms:multiregion", False),
    "BypassPolicyLockoutSafetyCheck": ("kms:bypasspolicylockoutsafetycheck", False),
}
kms: ContextVar[dict] = ContextVar("kms", default={})
resolve = iam_evaluator._resolve_condition_key


def resolve_as_aws(key, context):
    known = resolve(key, context)
    if key.lower() == "aws:principalarn" and ":assumed-role/" in known:
        role = known.split("/")[1]
        return f"arn:aws:iam::{context.principal_account}:role/{role}"
    return kms.get().get(key.lower()) if known is None else known


iam_evaluator._resolve_condition_key = resolve_as_aws
extract = iam_actions.extract_resource_arn


def extract_with_alias(service, method, path, headers, body, query, region, account):
    """CreateAlias is checked for its alias; AWS checks it for the key as well."""
    name = json.loads(body or b"{}").get("AliasName") if service == "kms" else None
    return f"arn:aws:kms:{region}:{account}:{name}" if name else extract(service, method, path, headers, body, query, region, account)


iam_actions.extract_resource_arn = extract_with_alias


def conditions(body: bytes) -> dict:
    request = json.loads(body or b"{}")
    found = {key: request.get(argument, default) for argument, (key, default) in KMS_KEYS.items()}
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in found.items() if value is not None}


async def app(scope, receive, send):
    if scope["type"] != "http":
        return await ministack(scope, receive, send)
    headers = dict(scope["headers"])
    scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
    if not headers.get(b"x-amz-target", b"").startswith(b"TrentService."):
        return await ministack(scope, receive, send)
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    kms.set(conditions(body))
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def again():
        return parts.pop() if parts else await receive()

    await ministack(scope, again, send)
