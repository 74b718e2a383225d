"""authlib gets an access token with a certificate; pyjwt and authlib verify it by the published keys.

Arguments: issuer, token endpoint, key set, root, certificate, key, client id."""
import sys

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, JsonWebToken

issuer, endpoint, key_set, root, certificate, key, client_id = sys.argv[1:]
session = OAuth2Session(client_id, token_endpoint_auth_method="none", scope="jobs:submit")
made = session.fetch_token(endpoint, grant_type="client_credentials", audience="jobs", cert=(certificate, key), verify=root)
assert made["token_type"] == "Bearer" and made["scope"] == "jobs:submit", made
token = made["access_token"]

keys = requests.get(key_set, timeout=10).json()
signing = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
claims = jwt.decode(token, signing, algorithms=["ES256"], audience="jobs", issuer=issuer, options={"require": ["exp", "iat", "sub", "jti"]})
assert claims["client_id"] == client_id, claims
for wrong in ({"audience": "reports", "issuer": issuer}, {"audience": "jobs", "issuer": issuer + "/"}):
    try:
        jwt.decode(token, signing, algorithms=["ES256"], **wrong)
    except jwt.InvalidTokenError:
        continue
    raise AssertionError(f"taken for {wrong}")

options = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": "jobs"}, "exp": {"essential": True}}
JsonWebToken(["ES256"]).decode(token, JsonWebKey.import_key_set(keys), claims_options=options).validate()
print(token)
