"""What every client expects of `GET /v2/handshake`."""

import json
import ssl
import time

import native
from interop import CA, CONNECT, HANDSHAKE, HOST, PORT, equal, problem, sha256, unpadded

PATH = HANDSHAKE.split("?")[0]
REFUSED = [
    ("an unknown app id", f"{PATH}?app_id=99&version=2.4.1", 404, "unknown_app"),
    ("no app id", f"{PATH}?version=2.4.1", 400, "missing_app_id"),
    ("an app id of 67 bits", f"{PATH}?app_id=99999999999999999999&version=2.4.1", 400, "bad_app_id"),
    ("no version", f"{PATH}?app_id=10001", 400, "missing_version"),
    ("a malformed version", f"{PATH}?app_id=10001&version=two", 400, "bad_version"),
    ("a version of another time", f"{PATH}?app_id=10001&version=9.0.0", 400, "unsupported_version"),
    ("an app id twice", f"{PATH}?app_id=10001&app_id=10001&version=2.4.1", 400, "bad_query"),
    ("no such path", "/v2/nothing", 404, "not_found"),
]
"""What is asked, the status it gets, and the code."""


def check(status, headers, body):
    """Everything that a client needs is there, and the operator vouches for it; the answer."""
    equal(status, 200, "the status")
    equal(headers.get("content-type", "").split(";")[0], "application/json", "content-type")
    equal(headers.get("cache-control"), "no-store", "cache-control")
    told = json.loads(body)
    equal(told["version"], "2.4.1", "the version")
    if len(unpadded(told["ticket"])) < 32:
        raise AssertionError("no ticket")
    if told["ticket_expires_ms"] < told["server_time_ms"]:
        raise AssertionError("the ticket has ended")
    if abs(told["server_time_ms"] / 1000 - time.time()) > 60:
        raise AssertionError("the clock is another")
    for way in ("quic", "tcp", "web"):
        equal(told["endpoints"][way], {"host": HOST, "port": PORT}, f"the endpoint of {way}")
    server = native.Server.told(told["operator_key"], told["certificate"], told["tls_pin"])
    known = native.Server(CONNECT)
    equal((server.static, server.pin), (known.static, known.pin), "the server's keys")
    with open(CA) as pem:
        own = sha256(ssl.PEM_cert_to_DER_cert(pem.read()))
    if own not in [unpadded(one).hex() for one in told["web_certificate_hashes"]]:
        raise AssertionError("the web certificate is another")
    return told


def refused(status, headers, body, wanted, code):
    equal(headers.get("cache-control"), "no-store", "cache-control")
    equal(problem(status, headers, body, wanted)["code"], code, "the code")
