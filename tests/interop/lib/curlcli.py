"""Debian's curl, as a program."""

import files
from interop import CA, SCRATCH, URL, run, within


def curl(*arguments, check=True):
    told = "%{stderr}%{json}"
    return run("curl", "--silent", "--show-error", "--cacert", CA, "--max-time", 25, "--write-out", told, *arguments, check=check)


def requests(version):
    """What `files` asks with."""

    def request(method, path, headers=(), body=None):
        url = path if path.startswith("https:") else URL + path
        arguments = [version, "--dump-header", SCRATCH / "head", "--output", SCRATCH / "body", "--path-as-is"]
        arguments += ["--head"] if method == "HEAD" else ["--request", method]
        for name, value in headers:
            arguments += ["--header", f"{name}: {value}"]
        if body is not None:
            (SCRATCH / "sent").write_bytes(body)
            arguments += ["--upload-file", SCRATCH / "sent"]
        (SCRATCH / "body").write_bytes(b"")
        curl(*arguments, url)
        # The last block of headers: an earlier one is `100 Continue`.
        block = (SCRATCH / "head").read_text().strip().replace("\r", "").split("\n\n")[-1]
        status, *lines = block.splitlines()
        found = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
        return int(status.split()[1]), found, (SCRATCH / "body").read_bytes()

    return request


def stored(data, name):
    """Uploads a file; its URL."""
    request = requests("--http1.1")
    url = files.create(request, len(data), name)
    ranged = ("Content-Range", f"bytes 0-{len(data) - 1}/*")
    within(request("PATCH", url, [*files.AUTH, ranged], data)[0], (200, 201, 204), "the status of the upload")
    return url
