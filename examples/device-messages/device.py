#!/usr/bin/env python3
"""Signs a message as a device does (Standard Webhooks), with nothing but Python's standard library.

device.py SECRET_FILE [ID TIMESTAMP] < body   prints the three headers; without ID and TIMESTAMP a message of now.
"""

import base64
import hashlib
import hmac
import secrets
import sys
import time


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def main() -> None:
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="ascii") as file:
        secret = file.read().strip()
    message_id, timestamp = sys.argv[2:] or ("msg_" + secrets.token_hex(16), str(int(time.time())))
    signature = sign(secret, message_id, timestamp, sys.stdin.buffer.read())
    print(f"webhook-id: {message_id}\nwebhook-timestamp: {timestamp}\nwebhook-signature: {signature}")


if __name__ == "__main__":
    main()
