"""Debian's curl, as a program."""

import files
from interop import CA, SCRATCH, URL, run, within


def curl(*arguments, check=True):
    told = "%{stderr}%{json}"
    return run("curl", "--silent", "--show-error", "--cacert", CA, "--max-time", 25, "--write-out", told, *arguments, check=check)


def requests(version):
    """What `files` asks with."""

    def request(method, path, headers=(), body=None):
        arguments = [version, "--dump-header", SCRATCH / "head", "--output", SCRATCH / "body", "--path-as-is"]
        arguments += ["--head"] if method == "HEAD" else ["--request", method]
        for name, value in headers:
            arguments += ["--header", f"{name}: {value}"]
        if body is not None:
            (SCRATCH / "sent").write_bytes(body)
            arguments += ["--upload-file", SCRATCH / "sent"]
        (SCRATCH / "body").write_bytes(b"")
        curl(*arguments, URL + path)
        # The last block of headers: an earlier one is `100 Continue`.
        block = (SCRATCH / "head").read_text().strip().replace("\r", "").split("\n\n")[-1]
        status, *lines = block.splitlines()
        found = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
        return int(status.split()[1]), found, (SCRATCH / "body").read_bytes()

    return request


def stored(data):
    """Uploads a file; its path."""
    request = requests("--http1.1")
    path = files.create(request, len(data))
    within(files.chunk(request, path, data, 0)[0], files.STORED, "the status of the upload")
    return path
