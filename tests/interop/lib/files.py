"""How the clients begin what they upload, and look at what came of it."""

import os

from interop import CONVERSATION, FILES, TOKEN, equal, within

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
AUTH = list(HEADERS.items())
"""As a list, for clients that want one."""
STORED = (200, 204)
"""What a chunk may be answered with."""


def target():
    """Where a new upload is created; each has a name of its own."""
    return f"{FILES}?conversation={CONVERSATION}&upload_id={os.urandom(12).hex()}"


def metadata(name):
    """The same in the tus dialect's metadata, which may have more."""
    return {"conversation": CONVERSATION, "upload_id": os.urandom(12).hex(), "filename": name}


def create(request, size):
    """A new upload in the draft's dialect; its path. `request` is what asks: (method, target, headers, body) to (status, headers, body)."""
    status, headers, body = request("POST", target(), [*AUTH, ("Upload-Length", size)], b"")
    equal(status, 201, f"the status of the creation ({body[:200]})")
    equal(headers["upload-offset"], "0", "the offset")
    path = headers["location"]
    if not path.startswith(f"{FILES}/"):
        raise AssertionError(f"it is at {path}")
    return path


def chunk(request, path, data, begin, end=None):
    """The bytes from `begin` to `end` by `PATCH` with `Content-Range`; its answer."""
    end = len(data) if end is None else end
    headers = [*AUTH, ("Content-Range", f"bytes {begin}-{end - 1}/*"), ("Content-Type", "application/octet-stream")]
    return request("PATCH", path, headers, data[begin:end])


def offset(request, path):
    """What the server has of it."""
    status, headers, _ = request("HEAD", path, AUTH)
    within(status, STORED, "the status of HEAD")
    return int(headers["upload-offset"])
