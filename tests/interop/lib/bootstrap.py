"""What every client expects of `GET /v2/handshake`."""

import json

from interop import HANDSHAKE, equal, unpadded

PATH = HANDSHAKE.split("?")[0]
REFUSED = [
    ("an unknown app id", f"{PATH}?app_id=99&version=2.4.1", 404),
    ("no app id", f"{PATH}?version=2.4.1", 400),
    ("no version", f"{PATH}?app_id=10001", 400),
    ("a malformed version", f"{PATH}?app_id=10001&version=two", 400),
    ("an app id that overflows", f"{PATH}?app_id=99999999999999999999&version=2.4.1", 400),
    ("no such path", "/v2/nothing", 404),
]
"""What is asked, and the status it gets."""


def check(status, headers, body):
    """Everything that a client needs is there; the answer."""
    equal(status, 200, "the status")
    equal(headers.get("content-type", "").split(";")[0], "application/json", "content-type")
    equal(headers.get("cache-control"), "no-store", "cache-control")
    told = json.loads(body)
    if len(unpadded(told["ticket"])) < 16:
        raise AssertionError("no ticket")
    return told
