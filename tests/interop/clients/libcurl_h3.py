"""curl-cffi: libcurl with HTTP/3 (`--http3-only`), HTTP/2 and HTTP/1.1. The bootstrap, and the draft's dialect of uploads."""

import asyncio
import base64
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

import bootstrap
import files
import native
from device import Device
from interop import FILES, HANDSHAKE, case, content, done, equal, problem, sha256, unpadded, within
from libcurl import VERSIONS, Client
from quic import connected

MIB = 1 << 20
SIZE = 9 * MIB
CHUNK = 2 * MIB
EARLY = 6 * MIB
"""What a server reads before it refuses, and a little less: it may be 8 MiB."""
def upload(client):
    """The draft's: created, then `PATCH` with `Content-Range: bytes a-b/*`, chunk by chunk on one connection."""
    data = content(SIZE)
    path = files.create(client.request, SIZE)
    for begin in range(0, SIZE, CHUNK):
        end = min(begin + CHUNK, SIZE)
        status, headers, body = files.chunk(client.request, path, data, begin, end)
        within(status, files.STORED, f"the status of the chunk at {begin} ({body[:200]})")
        equal(headers["upload-offset"], str(end), "the offset")
    equal(headers["upload-complete"], "?1", "upload-complete")
    equal(headers["etag"], f'"{sha256(data)}"', "the tag")
    status, headers, body = client.request("GET", path, files.AUTH)
    equal(status, 200, "the status of the download")
    equal(sha256(body), sha256(data), "what was stored")
    return path, data


def resumed(client):
    """A chunk that leaves a gap, one that overlaps, one beyond the end: each is refused and tells the offset; then it goes on."""
    data = content(SIZE, seed=2)
    path = files.create(client.request, SIZE)
    within(files.chunk(client.request, path, data, 0, CHUNK)[0], files.STORED, "the status")
    for begin, end, code in ((2 * CHUNK, 3 * CHUNK, "offset_ahead"), (CHUNK - 1, 2 * CHUNK, "offset_behind")):
        status, headers, body = files.chunk(client.request, path, data, begin, end)
        told = problem(status, headers, body, 409)
        equal((told["code"], told["offset"]), (code, CHUNK), "the refusal")
        equal(files.offset(client.request, path), CHUNK, "the offset")
    status, headers, body = files.chunk(client.request, path, data + b"more", CHUNK)
    equal(problem(status, headers, body, 416)["code"], "beyond_length", "the refusal")
    # Bytes up to the length may have come to stay.
    kept = files.offset(client.request, path)
    within(kept, range(CHUNK, SIZE + 1), "the offset")
    if kept < SIZE:
        within(files.chunk(client.request, path, data, kept)[0], files.STORED, "the status")
    equal(sha256(client.request("GET", path, files.AUTH)[2]), sha256(data), "what was stored")


def digests(client):
    """A chunk whose digest is another one leaves nothing; the right one is taken."""
    data = content(CHUNK, seed=5)
    path = files.create(client.request, CHUNK)

    def request(digest):
        named = base64.b64encode(bytes.fromhex(digest)).decode()
        more = [*files.AUTH, ("Content-Range", f"bytes 0-{CHUNK - 1}/*"), ("Content-Digest", f"sha-256=:{named}:")]
        return client.request("PATCH", path, more, data)

    told = problem(*request(sha256(b"another")), 400)
    equal((told["code"], told["offset"]), ("digest_mismatch", 0), "the refusal")
    within(request(sha256(data))[0], files.STORED, "the status")


def ranges(client, path, data):
    """Of a download: 206, the tag, `If-Range`, what can't be given."""
    status, headers, body = client.request("GET", path, [*files.AUTH, ("range", "bytes=1000-1999")])
    equal((status, body), (206, data[1000:2000]), "the answer")
    equal(headers["content-range"], f"bytes 1000-1999/{SIZE}", "content-range")
    tag = headers["etag"]
    if not tag.startswith('"'):
        raise AssertionError(f"the tag {tag} is weak")
    status, _, body = client.request("GET", path, [*files.AUTH, ("range", "bytes=-100")])
    equal((status, body), (206, data[-100:]), "the last bytes")
    ranged = [*files.AUTH, ("range", "bytes=5-"), ("if-range", tag)]
    equal(client.request("GET", path, ranged)[0], 206, "with If-Range")
    ranged[-1] = ("if-range", '"another"')
    equal(client.request("GET", path, ranged)[0], 200, "with another tag")
    status, headers, _ = client.request("GET", path, [*files.AUTH, ("range", f"bytes={SIZE}-")])
    equal((status, headers["content-range"]), (416, f"bytes */{SIZE}"), "behind the end")


for name, version, number in VERSIONS:
    client = Client(version, number)
    with case(f"{name}: the bootstrap"):
        bootstrap.check(*client.request("GET", HANDSHAKE))
    for what, path, wanted, code in bootstrap.REFUSED:
        with case(f"{name}: {what}: {code}"):
            bootstrap.refused(*client.request("GET", path), wanted, code)
    made = None
    with case(f"{name}: an upload in chunks, downloaded again"):
        made = upload(client)
    with case(f"{name}: gaps and overlaps are refused, and the offset stays true"):
        resumed(client)
    with case(f"{name}: a chunk is held against its digest"):
        digests(client)
    with case(f"{name}: ranges"):
        ranges(client, *made)
    with case(f"{name}: an upload that is refused is no broken stream"):
        ranged = ("content-range", f"bytes 0-{EARLY - 1}/*")
        problem(*client.request("PATCH", f"{FILES}/{'A' * 22}", [ranged], content(EARLY)), 401)



async def four_steps(told):
    server = native.Server.told(told["operator_key"], told["certificate"], told["tls_pin"])
    async with connected("ntp/2", Device) as device:
        grant = await device.sign_in(server, unpadded(told["ticket"]))
        equal(len(grant[1]), 16, "the session id's length")


with case("the draft's four steps: curl's engine for the first, the ticket shown and signed in a native handshake"):
    asyncio.run(four_steps(bootstrap.check(*Client(*VERSIONS[0][1:]).request("GET", HANDSHAKE))))

done()
