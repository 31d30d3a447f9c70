"""The IETF's resumable uploads, each interop version as its drafts have it, by libcurl over HTTP/3, HTTP/2 and HTTP/1.1.

What is asked here was taken from the drafts: 03 is version 5, 04 and 05 are 6, 06 to 08 are 7, 09 to 12 are 8.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

import files
from interop import FILES, case, content, done, equal, sha256
from libcurl import VERSIONS, Client

SIZE = 3 << 20
PART = 1 << 20
TYPES = "https://iana.org/assignments/http-problem-types#"
TYPE = ("Content-Type", "application/partial-upload")


class Draft:
    """A client of one interop version."""

    def __init__(self, client, version):
        self._client, self.version = client, version

    def ask(self, method, path, headers=(), body=None):
        headers = [*files.AUTH, ("Upload-Draft-Interop-Version", self.version), *headers]
        return self._client.request(method, path, headers, body)

    def create(self, complete, body=b"", length=None):
        more = [("Upload-Complete", complete), *([] if length is None else [("Upload-Length", length)])]
        status, headers, body = self.ask("POST", files.target(), more, body)
        equal(status, 201, f"the status of the creation ({body[:200]})")
        return headers

    def append(self, path, offset, complete, body, headers=()):
        typed = [TYPE, ("Upload-Offset", offset), ("Upload-Complete", complete)]
        return self.ask("PATCH", path, [*typed, *headers], body)

    def head(self, path):
        status, headers, _ = self.ask("HEAD", path)
        equal(status, 204, "the status of HEAD")
        equal(headers.get("content-length"), None, "the length of what has no content")
        equal(headers["cache-control"], "no-store", "cache-control")
        return headers

    def stored(self, path, data):
        status, _, body = self._client.request("GET", path, files.AUTH)
        equal((status, sha256(body)), (200, sha256(data)), "what was stored")

    def absent(self, path):
        equal(self._client.request("GET", path, files.AUTH)[0], 404, "the status of what is no file yet")


def in_parts(draft):
    """Parts that are not the last, the offset asked for between them, and one without content that is the last."""
    data = content(SIZE, seed=draft.version)
    taken, whole = (201, 201) if draft.version < 7 else (204, 200)
    made = draft.create("?0", length=SIZE)
    equal((made["upload-complete"], made["location"].startswith(FILES)), ("?0", True), "the answer")
    path = made["location"]
    for begin in range(0, SIZE, PART):
        status, headers, _ = draft.append(path, begin, "?0", data[begin : begin + PART])
        equal((status, headers["upload-complete"]), (taken, "?0"), "the answer")
        told = draft.head(path)
        equal((told["upload-offset"], told["upload-complete"]), (str(begin + PART), "?0"), "what HEAD tells")
        equal(told["upload-length"], str(SIZE), "the length")
    draft.absent(path)
    status, headers, _ = draft.append(path, SIZE, "?1", b"")
    equal((status, headers["upload-complete"]), (whole, "?1"), "the last answer")
    told = draft.head(path)
    equal((told["upload-offset"], told["upload-complete"]), (str(SIZE), "?1"), "what HEAD tells")
    draft.stored(path, data)


def at_once(draft):
    """All of it in the creation; and one whose length nobody knows before its end."""
    data = content(SIZE, seed=9)
    made = draft.create("?1", data)
    equal(made["upload-complete"], "?1", "upload-complete")
    draft.stored(made["location"], data)
    path = draft.create("?0", data[:PART])["location"]
    equal(draft.head(path).get("upload-length"), None, "the length")
    equal(draft.append(path, PART, "?1", data[PART:])[1]["upload-complete"], "?1", "upload-complete")
    draft.stored(path, data)


def limits(draft):
    """As the draft names them."""
    age = {5: None, 6: "expires"}.get(draft.version, "max-age")
    path = draft.create("?0")["location"]
    for headers in (draft.head(path), draft.ask("OPTIONS", FILES)[1]):
        told = headers.get("upload-limit")
        if age is None:
            equal(told, None, "upload-limit")
            continue
        told = dict(one.split("=") for one in told.split(", "))
        equal(sorted(told), sorted(["max-size", age]), "the limits")
        if not 0 < int(told[age]) <= 24 * 60 * 60:
            raise AssertionError(f"{age} is {told[age]}")
    accepted = draft.ask("OPTIONS", FILES)[1]["accept-patch"]
    if TYPE[1] not in accepted:
        raise AssertionError(f"it accepts {accepted}")


def refusals(draft):
    """Another offset, another length, another type, more than was said, more of what is complete."""

    def named(answer, status, kind, since):
        found, headers, body = answer
        equal((found, headers["content-type"]), (status, "application/problem+json"), f"the answer ({body[:200]})")
        told = json.loads(body)
        equal(told["type"], TYPES + kind if draft.version >= since else "about:blank", "the type")
        return headers, told

    path = draft.create("?0", b"hello", length=9)["location"]
    headers, told = named(draft.append(path, 7, "?0", b"x"), 409, "mismatching-upload-offset", 6)
    equal((headers["upload-offset"], told["expected-offset"], told["provided-offset"]), ("5", 5, 7), "the offsets")
    complete = "?0" if draft.version >= 7 else None
    equal(headers.get("upload-complete"), complete, "upload-complete")
    named(draft.append(path, 5, "?1", b"x"), 400, "inconsistent-upload-length", 7)
    named(draft.append(path, 5, "?0", b"x", [("Upload-Length", 8)]), 400, "inconsistent-upload-length", 7)
    untyped = [("Upload-Offset", 5), ("Upload-Complete", "?0"), ("Content-Type", "application/octet-stream")]
    status = draft.ask("PATCH", path, untyped, b"")[0]
    equal(status, 415 if draft.version >= 6 else 201, "the status of another type")
    equal(draft.head(path)["upload-offset"], "5", "the offset")
    equal(draft.append(path, 5, "?1", b"1234")[1]["upload-complete"], "?1", "upload-complete")
    named(draft.append(path, 9, "?1", b""), 400, "completed-upload", 6)
    kind = "inconsistent-upload-length" if draft.version >= 8 else "completed-upload"
    named(draft.append(path, 9, "?0", b"more"), 400, kind, 6)
    draft.stored(path, b"hello1234")

    path = draft.create("?0", length=5)["location"]
    named(draft.append(path, 0, "?0", b"hello, world"), 400, "inconsistent-upload-length", 7)
    status = draft.ask("HEAD", path)[0]
    equal(status, 404 if draft.version >= 8 else 204, "the status of one with too much")


def ended(draft):
    """`DELETE`."""
    path = draft.create("?0", b"hello")["location"]
    equal(draft.ask("DELETE", path)[0], 204, "the status")
    equal(draft.ask("HEAD", path)[0], 404, "the status of what is gone")


CASES = [
    ("an upload in parts is complete when its client says so", in_parts),
    ("all of it at once, and a length that is not known", at_once),
    ("the limits", limits),
    ("refusals", refusals),
    ("an upload is called off", ended),
]

for name, number, told in VERSIONS:
    client = Client(number, told)
    for version in (5, 6, 7, 8):
        for what, run in CASES:
            with case(f"{name}, interop version {version}: {what}"):
                run(Draft(client, version))

done()
