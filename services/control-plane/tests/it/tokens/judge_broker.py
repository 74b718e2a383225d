"""pyjwt verifies a broker token by the published keys; what it says is read as mosquitto-jwt-auth and EMQX do.

Arguments: issuer, key set, client id, file with the token."""
import sys

import jwt
import requests

issuer, key_set, client_id, path = sys.argv[1:]
with open(path) as file:
    token = file.read()
keys = requests.get(key_set, timeout=10).json()
signing = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
claims = jwt.decode(token, signing, algorithms=["ES256"], audience="mqtt", issuer=issuer, options={"require": ["exp", "iat", "sub", "jti"]})
assert claims["client_id"] == client_id, claims
assert claims["exp"] - claims["iat"] == 3600, claims


def matches(pattern, topic):
    """MQTT 5 section 4.7."""
    pattern, topic = pattern.split("/"), topic.split("/")
    for number, level in enumerate(pattern):
        if level == "#":
            return True
        if number >= len(topic) or level not in ("+", topic[number]):
            return False
    return len(pattern) == len(topic)


def by_lists(action, topic):
    return any(matches(pattern, topic) for pattern in claims["publ" if action == "publish" else "subs"])


def by_acl(action, topic):
    for rule in claims["acl"]:
        assert rule.keys() == {"permission", "action", "topic"} and rule["permission"] in ("allow", "deny"), rule
        if rule["action"] in (action, "all") and matches(rule["topic"], topic):
            return rule["permission"] == "allow"
    raise AssertionError(f"{action} {topic} is left to others")


for action, topic, expected in (
    ("publish", "tenant/acme/pump/telemetry/a", True),
    ("publish", "tenant/acme/pump/commands", False),
    ("subscribe", "tenant/acme/pump/commands", True),
    ("subscribe", "tenant/acme/pump/telemetry/a", False),
    ("publish", "tenant/globex/pump/telemetry/a", False),
):
    assert by_lists(action, topic) == by_acl(action, topic) == expected, (action, topic)
for wrong in ({"audience": "jobs", "issuer": issuer}, {"audience": "mqtt", "issuer": issuer.removesuffix("/broker")}):
    try:
        jwt.decode(token, signing, algorithms=["ES256"], **wrong)
    except jwt.InvalidTokenError:
        continue
    raise AssertionError(f"taken for {wrong}")
