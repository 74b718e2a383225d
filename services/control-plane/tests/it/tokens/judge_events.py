"""A receiver of security events: requests polls with a certificate, pyjwt and authlib verify what comes.

Arguments: issuer, poll endpoint, configuration, key set, root, certificate, key, audience."""
import sys

import jwt
import requests
from authlib.jose import JsonWebKey, JsonWebToken

issuer, endpoint, configuration, key_set, root, certificate, key, audience = sys.argv[1:]
found = requests.get(configuration, timeout=10).json()
assert found["issuer"] == issuer and "urn:ietf:rfc:8936" in found["delivery_methods_supported"], found
session = requests.Session()
session.cert = (certificate, key)


def poll(**members):
    answer = session.post(endpoint, json=members, timeout=60, verify=root)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json", answer.text
    return answer.json()


def verified(jti, token):
    keys = requests.get(key_set, timeout=10).json()
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "secevent+jwt", header
    claims = jwt.decode(token, jwt.PyJWKSet.from_dict(keys)[header["kid"]], algorithms=["ES256"], audience=audience,
                        issuer=issuer, options={"require": ["jti", "iat", "iss", "aud"]})
    assert claims["jti"] == jti and "exp" not in claims and "sub" not in claims, claims
    options = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": audience}}
    JsonWebToken(["ES256"]).decode(token, JsonWebKey.import_key_set(keys), claims_options=options).validate()
    return claims


[(first, token)] = poll()["sets"].items()
[(kind, event)] = verified(first, token)["events"].items()
assert kind.endswith("/stream-updated") and event["status"] == "enabled", event
print("begun", flush=True)
# Waits for the suspension.
[(jti, token)] = poll(ack=[first])["sets"].items()
claims = verified(jti, token)
[(kind, event)] = claims["events"].items()
assert kind == "https://schemas.openid.net/secevent/caep/event-type/session-revoked", kind
assert event["event_timestamp"] == claims["toe"] <= claims["iat"], claims
assert poll(ack=[jti], returnImmediately=True) == {"sets": {}}
print(claims["sub_id"]["user"]["sub"])
