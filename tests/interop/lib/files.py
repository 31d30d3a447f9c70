"""How the clients name what they upload, and look at what came of it."""

import base64
import os

from interop import CONVERSATION, FILES, TOKEN, equal

CREATE = FILES
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def metadata(name):
    """Of the tus dialect: as pairs."""
    return {"conversation": CONVERSATION, "upload_id": os.urandom(16).hex(), "filename": name}


def metadata_header(pairs):
    """The same as a header's value."""
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in pairs.items())


AUTH = list(HEADERS.items())
"""As a list, for clients that want one."""


def create(request, size, name):
    """A new upload in the draft's dialect; its URL. `request` is what asks: (method, path, headers, body) to (status, headers, body)."""
    raise NotImplementedError


def offset(request, url):
    """What the server has of it."""
    status, headers, _ = request("HEAD", url, AUTH)
    equal(status, 200, "the status of HEAD")
    return int(headers["upload-offset"])
