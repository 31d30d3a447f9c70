"""Debian's curl over HTTP/2 and HTTP/1.1: the bootstrap, an upload, and `-C -` after a line that was cut."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

import bootstrap
import files
from curlcli import curl, requests
from cut import cut
from interop import HANDSHAKE, SCRATCH, URL, case, content, done, equal, sha256, within

MIB = 1 << 20
SIZE = 12 * MIB
CUT = 5 * MIB
VERSIONS = [("--http2", "2"), ("--http1.1", "1.1")]


data = content(SIZE, seed=3)
for version, number in VERSIONS:
    request = requests(version)
    with case(f"{version}: the bootstrap"):
        bootstrap.check(*request("GET", HANDSHAKE))
        told = curl(version, "--output", "/dev/null", URL + HANDSHAKE).stderr
        if f'"http_version":"{number}"' not in told:
            raise AssertionError(f"curl used another version: {told[-200:]}")
    for what, path, wanted, code in bootstrap.REFUSED:
        with case(f"{version}: {what}: {code}"):
            bootstrap.refused(*request("GET", path), wanted, code)

    made = None
    with case(f"{version}: an upload in one piece"):
        made = files.create(request, SIZE)
        within(files.chunk(request, made, data, 0)[0], files.STORED, "the status")
        equal(sha256(request("GET", made, files.AUTH)[2]), sha256(data), "what was stored")

    with case(f"{version}: an upload whose line is cut goes on at the confirmed offset"):
        path = files.create(request, SIZE)
        (SCRATCH / "sent").write_bytes(data)
        with cut(up=CUT) as line:
            ranged = [f"Content-Range: bytes 0-{SIZE - 1}/*", f"Authorization: Bearer {files.TOKEN}"]
            arguments = [argument for header in ranged for argument in ("--header", header)]
            broken = curl(version, "--request", "PATCH", *arguments, "--upload-file", SCRATCH / "sent", line.url + path, check=False)
            if broken.returncode == 0:
                raise AssertionError("nothing broke")
        kept = files.offset(request, path)
        if not 0 < kept <= CUT:
            raise AssertionError(f"{kept} bytes are kept")
        within(files.chunk(request, path, data, kept)[0], files.STORED, "the status")
        equal(sha256(request("GET", path, files.AUTH)[2]), sha256(data), "what was stored")

    with case(f"{version}: -C - gets the rest of a download whose line was cut"):
        out = SCRATCH / "download"
        out.unlink(missing_ok=True)
        header = ["--header", f"Authorization: Bearer {files.TOKEN}"]
        with cut(down=CUT) as line:
            through = line.url + made
            broken = curl(version, *header, "--output", out, through, check=False)
            if broken.returncode == 0:
                raise AssertionError("nothing broke")
            had = out.stat().st_size
            if not 0 < had < SIZE:
                raise AssertionError(f"{had} bytes had come")
            rest = curl(version, *header, "--continue-at", "-", "--output", out, through)
            equal(sha256(out.read_bytes()), sha256(data), "what came")
            if f'"size_download":{SIZE - had}' not in rest.stderr:
                raise AssertionError("it got more than the rest")

done()
