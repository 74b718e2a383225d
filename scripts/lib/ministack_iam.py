"""MiniStack with what its IAM lacks for our policies. Each rule names the page of AWS's documentation that states it; KMS and SM are
docs.aws.amazon.com/kms/latest and docs.aws.amazon.com/secretsmanager/latest.

It counts as reached over TLS, so that policies which refuse plain HTTP (aws:SecureTransport) let calls pass, and a session's
aws:PrincipalArn is its role's (IAM User Guide, reference_policies_condition-keys.html#condition-keys-principalarn).
"""
import dataclasses
import json
import time
from contextvars import ContextVar

from ministack.app import app as ministack
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id
from ministack.services import iam, kms, secretsmanager

# Parameters of CreateKey, Sign and ScheduleKeyDeletion as condition keys. A default counts, but whether the lockout check is bypassed is not known of a
# request that does not say it, and an Allow on `false` does not hold (KMS developerguide/conditions-kms.html, which tests for `Null`).
KMS_KEYS = {
    "SigningAlgorithm": ("kms:signingalgorithm", None),
    "KeySpec": ("kms:keyspec", "SYMMETRIC_DEFAULT"),
    "KeyUsage": ("kms:keyusage", "ENCRYPT_DECRYPT"),
    "Origin": ("kms:keyorigin", "AWS_KMS"),
    "MultiRegion": ("kms:multiregion", False),
    "BypassPolicyLockoutSafetyCheck": ("kms:bypasspolicylockoutsafetycheck", None),
    "PendingWindowInDays": ("kms:schedulekeydeletionpendingwindowindays", None),
}
# Tags count after up to five minutes (KMS developerguide/tag-authorization.html); here after this many seconds, which tests can wait for.
TAGS_COUNT_AFTER = 20
MALFORMED = "MalformedPolicyDocumentException"
# The request's body and KMS's condition keys in it.
request: ContextVar[dict] = ContextVar("request", default={})
from_request: ContextVar[dict] = ContextVar("from_request", default={})
# Key id → when its tags were set; key id → {role ARN in its policy: the role's id at that time}.
tagged: dict[str, float] = {}
role_ids: dict[str, dict[str, str]] = {}

resolve = iam_evaluator._resolve_condition_key


def resolve_as_aws(key, context):
    name = key.lower()
    if name.startswith("aws:resourcetag/") and ":kms:" in context.resource_arn:
        return resource_tag(context.resource_arn, key.partition("/")[2])
    if name == "kms:resourcealiases":
        return aliases_of(context.resource_arn)
    known = resolve(key, context)
    if name == "aws:principalarn" and ":assumed-role/" in known:
        return f"arn:aws:iam::{context.principal_account}:role/{known.split('/')[1]}"
    return from_request.get().get(name) if known is None else known


def resource_tag(arn: str, name: str) -> str | None:
    key = kms._resolve_key(arn)
    if key is None or time.monotonic() - tagged.get(key["KeyId"], 0) < TAGS_COUNT_AFTER:
        return None
    return next((tag["TagValue"] for tag in key["Tags"] if tag["TagKey"] == name), None)


def aliases_of(arn: str) -> list[str]:
    key = kms._resolve_key(arn)
    return [alias.rsplit(":", 1)[1] for alias, target in kms._aliases.items() if key and target in (key["KeyId"], key["Arn"])]


extract = iam_actions.extract_resource_arn


def extract_with_alias(service, method, path, headers, body, query, region, account):
    """CreateAlias is checked for its alias; for the key, further_checks does it. The ARN of a rule on the default bus does not name the bus, and a
    bus is no rule (service-authorization/latest/reference/list_amazoneventbridge.html). A schedule's group is in the body, not in the path. A restored
    table is the new one; of the one it comes from, further_checks."""
    said = json.loads(body or b"{}") if service in ("kms", "events", "dynamodb") else {}
    if said.get("TargetTableName") and said.get("SourceTableName"):
        return f"arn:aws:dynamodb:{region}:{account}:table/{said['TargetTableName']}"
    if said.get("AliasName"):
        return f"arn:aws:kms:{region}:{account}:{said['AliasName']}"
    arn = extract(service, method, path, headers, body, query, region, account)
    if service == "events" and said.get("Rule") and ":event-bus/" in arn:
        arn = f"arn:aws:events:{region}:{account}:rule/{said.get('EventBusName', 'default')}/{said['Rule']}"
    bus = headers.get("x-amz-target", "").endswith("EventBus")
    return "*" if ":schedule/default/" in arn else arn.replace(":rule/default/", ":event-bus/" if bus else ":rule/")


def decide(access_key: str, region: str, action: str, arn: str, policy: str | None = None, keys: dict | None = None):
    """None if the caller may, by its IAM policies and, if there is one, the key policy; the account's root needs the key policy too."""
    account = get_account_id()
    principal = iam_evaluator.resolve_principal(access_key, account)
    context = iam_evaluator.EvalContext(
        principal_arn=principal.arn, principal_type=principal.type, principal_account=account, action=action, resource_arn=arn, region=region,
        service_context={"aws:tagkeys": None, **(keys or {})}, principal_keys=principal.keys)
    everything = [iam_evaluator.parse_policy_document({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})]
    result = iam_evaluator.evaluate(context, everything if principal.policies is None else principal.policies, *principal.limits)
    if policy is not None:
        result = iam_evaluator.combine_resource_policy(result, context, policy, account, required=True, limits=principal.limits)
    result.principal_arn = principal.arn
    return None if result.decision == "Allow" else result


def on_key(access_key: str, region: str, action: str, key_id: str, keys: dict | None = None):
    key = kms._resolve_key(key_id)
    return key and decide(access_key, region, action, key["Arn"], kms.key_policy_for_arn(key["Arn"])[0], keys)


def through_secrets_manager(access_key: str, region: str, action: str, key_id: str | None, context: dict):
    """Secrets Manager asks KMS as its caller (SM userguide/security-encryption.html, "Permissions for the KMS key")."""
    keys = {"kms:viaservice": f"secretsmanager.{region}.amazonaws.com", **{f"kms:encryptioncontext:{k.lower()}": v for k, v in context.items()}}
    refused = key_id and on_key(access_key, region, f"kms:{action}", key_id, keys)
    return refused and iam_evaluator.AuthError("AccessDeniedException", f"Access to KMS is not allowed (kms:{action})")


def policy_is_sound(access_key: str, region: str, arn: str, body: dict):
    """KMS apireference/API_CreateKey.html and API_PutKeyPolicy.html, "Policy": its principals exist, and the caller could change it
    again, by this policy and IAM (developerguide/key-policy-default.html#prevent-unmanageable-key)."""
    if "Policy" not in body:
        return None
    # developerguide/tag-authorization.html, alias-authorization.html: these are for IAM policies only.
    foreign = [name for name in ("aws:ResourceTag", "kms:ResourceTag", "kms:ResourceAliases") if name.lower() in body["Policy"].lower()]
    if foreign:
        return iam_evaluator.AuthError(MALFORMED, f"These condition keys are not permitted in a key policy: {', '.join(foreign)}")
    missing = [role for role in roles_in(body["Policy"]) if iam._roles.get(role.rsplit("/", 1)[1]) is None]
    if missing:
        return iam_evaluator.AuthError(MALFORMED, f"Policy contains a statement with one or more invalid principals: {missing}")
    if not body.get("BypassPolicyLockoutSafetyCheck") and decide(access_key, region, "kms:PutKeyPolicy", arn, body["Policy"]):
        return iam_evaluator.AuthError(MALFORMED, "The new key policy will not allow you to update the key policy in the future.")
    return None


def further_checks(access_key: str, action: str, region: str):
    """What AWS checks beside the call's own action and resource."""
    body, account = request.get(), get_account_id()
    any_key = f"arn:aws:kms:{region}:{account}:key/new"
    match action:
        case "dynamodb:RestoreTableToPointInTime":
            # PointInTimeRecovery_Howitworks.html: permission on the source table too.
            return decide(access_key, region, action, f"arn:aws:dynamodb:{region}:{account}:table/{body.get('SourceTableName')}")
        case "kms:CreateKey":
            # API_CreateKey.html, "Tags": kms:TagResource in an IAM policy.
            tags = {f"aws:requesttag/{tag['TagKey'].lower()}": tag["TagValue"] for tag in body.get("Tags", [])}
            tags["aws:tagkeys"] = [tag["TagKey"] for tag in body.get("Tags", [])]
            denied = body.get("Tags") and decide(access_key, region, "kms:TagResource", any_key, keys=tags)
            return denied or policy_is_sound(access_key, region, any_key, body)
        case "kms:PutKeyPolicy":
            key = kms._resolve_key(body.get("KeyId"))
            return key and policy_is_sound(access_key, region, key["Arn"], body)
        case "kms:CreateAlias":
            # API_CreateAlias.html, "Required permissions": on the alias by IAM, and on the key by its policy.
            return on_key(access_key, region, action, body.get("TargetKeyId"))
        case "kms:DeleteAlias":
            # API_DeleteAlias.html, "Required permissions": likewise. An alias that is not there is answered by the call itself.
            return on_key(access_key, region, action, body.get("AliasName", ""))
        case "secretsmanager:CreateSecret" | "secretsmanager:UpdateSecret":
            # security-encryption.html: both calls "confirm that the caller has permission", with this encryption context.
            check = {"SecretVersionId": "RequestToValidateKeyAccess"}
            calls = ("GenerateDataKey", "Decrypt")
            denied = (through_secrets_manager(access_key, region, call, body.get("KmsKeyId"), check) for call in calls)
            return next(filter(None, denied), None)
        # But for root, as which the tests label versions like Secrets Manager itself.
        case "secretsmanager:GetSecretValue" | "secretsmanager:PutSecretValue" if not iam_evaluator.is_root_access_key(access_key):
            _, secret = secretsmanager._resolve(body.get("SecretId"))
            call = "Decrypt" if action.endswith("GetSecretValue") else "GenerateDataKey"
            known = secret and {"SecretARN": secret["ARN"]}
            return secret and through_secrets_manager(access_key, region, call, secret.get("KmsKeyId"), known)
    return None


first_match = iam_evaluator._first_match


def first_match_of_terraform(context, statements, effect):
    """Of many calls that Terraform makes MiniStack does not know the resource. Its role then needs the action, on whatever resource."""
    found = first_match(context, statements, effect)
    if found or effect == "Deny" or context.resource_arn != "*" or ":assumed-role/signet-terraform/" not in context.principal_arn:
        return found
    anywhere = [dataclasses.replace(statement, resources=["*"]) for statement in statements]
    return first_match(context, anywhere, effect)


enforce = iam_evaluator.enforce


def enforce_as_aws(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
    denied = enforce(access_key_id, iam_action, service, region, resource_arn=resource_arn, service_context=service_context)
    return denied or further_checks(access_key_id or "", iam_action, region)


def roles_in(policy: str) -> set[str]:
    statements = json.loads(policy)["Statement"]
    principals = [statement.get("Principal", {}) for statement in (statements if isinstance(statements, list) else [statements])]
    named = [principal.get("AWS", []) for principal in principals if isinstance(principal, dict)]
    return {arn for arns in named for arn in ([arns] if isinstance(arns, str) else arns) if ":role/" in arn}


def role_id(arn: str) -> str | None:
    return (iam._roles.get(arn.rsplit("/", 1)[1]) or {}).get("RoleId")


def with_role_ids(key: dict) -> str:
    """A policy names a role by its unique id: who makes a role anew under the same name is somebody else, and the old id is shown
    (IAM User Guide, reference_policies_elements_principal.html#principal-roles)."""
    policy = key.get("Policy") or ""
    for arn, known in role_ids.get(key["KeyId"], {}).items():
        if role_id(arn) != known:
            policy = policy.replace(f'"{arn}"', f'"{known}"')
    return policy


def remember(key: dict) -> None:
    role_ids[key["KeyId"]] = {arn: role_id(arn) for arn in roles_in(key["Policy"])}


create_key, put_key_policy = kms._create_key, kms._put_key_policy


def create_key_as_aws(data):
    status, headers, body = create_key(data)
    if status == 200:
        key = kms._resolve_key(json.loads(body)["KeyMetadata"]["KeyId"])
        tagged[key["KeyId"]] = time.monotonic()
        remember(key)
    return status, headers, body


def put_key_policy_as_aws(data):
    answer = put_key_policy(data)
    if answer[0] == 200:
        remember(kms._resolve_key(data["KeyId"]))
    return answer


get_key_policy, key_policy_for_arn = kms._get_key_policy, kms.key_policy_for_arn


def get_key_policy_as_aws(data):
    key = kms._resolve_key(data.get("KeyId", ""))
    return get_key_policy(data) if key is None else kms.json_response({"Policy": with_role_ids(key), "PolicyName": "default"})


def key_policy_for_arn_as_aws(arn):
    key = kms._resolve_key(arn)
    return key_policy_for_arn(arn) if key is None else (with_role_ids(key), get_account_id())


iam_evaluator._resolve_condition_key = resolve_as_aws
iam_evaluator._first_match = first_match_of_terraform
iam_evaluator.enforce = enforce_as_aws
iam_actions.extract_resource_arn = extract_with_alias
kms._create_key, kms._put_key_policy = create_key_as_aws, put_key_policy_as_aws
kms._get_key_policy, kms.key_policy_for_arn = get_key_policy_as_aws, key_policy_for_arn_as_aws


def conditions(operation: bytes, body: dict) -> dict:
    creates = operation == b"TrentService.CreateKey"
    found = {key: body.get(argument, default if creates else None) for argument, (key, default) in KMS_KEYS.items()}
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in found.items() if value is not None}


async def app(scope, receive, send):
    if scope["type"] != "http":
        return await ministack(scope, receive, send)
    target = dict(scope["headers"]).get(b"x-amz-target", b"")
    scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
    if not target.startswith((b"TrentService.", b"secretsmanager.", b"DynamoDB_20120810.RestoreTable")):
        return await ministack(scope, receive, send)
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    request.set(json.loads(body or b"{}"))
    from_request.set(conditions(target, request.get()))
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def again():
        return parts.pop() if parts else await receive()

    await ministack(scope, again, send)
