"""tuspy: the tus dialect, with a line that is cut in the middle of a chunk."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

import files
from cut import cut
from interop import CA, FILES, SCRATCH, URL, case, content, done, equal, sha256, within

MIB = 1 << 20
SIZE = 12 * MIB
CHUNK = 4 * MIB

CUT = 2 * MIB

# tuspy says only whether to verify; requests takes from here what to verify by.
os.environ["REQUESTS_CA_BUNDLE"] = CA
path = SCRATCH / "content"
data = content(SIZE)
path.write_bytes(data)


def uploader(base, **options):
    client = TusClient(base + FILES, headers=files.HEADERS)
    options = {"file_path": str(path), "chunk_size": CHUNK, "metadata": files.metadata("a file"), "retries": 0} | options
    return client.uploader(**options)


def stored(url):
    answer = requests.get(url, headers=files.HEADERS, verify=CA, timeout=20)
    equal(answer.status_code, 200, "the status of the download")
    equal(sha256(answer.content), sha256(data), "what was stored")


def offset(url):
    head = requests.head(url, headers=files.HEADERS | {"Tus-Resumable": "1.0.0"}, verify=CA, timeout=20)
    within(head.status_code, files.STORED, "the status of HEAD")
    return int(head.headers["Upload-Offset"])


with case("OPTIONS tells version and extensions"):
    answer = requests.options(URL + FILES, headers=files.HEADERS, verify=CA, timeout=20)
    equal(answer.headers["Tus-Version"], "1.0.0", "Tus-Version")
    extensions = set(answer.headers["Tus-Extension"].split(","))
    missing = {"creation", "checksum", "expiration", "termination"} - extensions
    equal(missing, set(), "what is missing")

with case("an upload in chunks"):
    done_ = uploader(URL)
    done_.upload()
    stored(done_.url)

with case("a checksum with each chunk"):
    done_ = uploader(URL, upload_checksum=True)
    done_.upload()
    stored(done_.url)

with case("a line that is cut in a chunk; what had come is kept, and a new uploader goes on from there"):
    with cut(up=CUT) as line:
        broken = uploader(line.url)
        try:
            broken.upload()
            raise AssertionError("nothing broke")
        except (TusUploadFailed, TusCommunicationError):
            pass
        kept = offset(broken.url)
        if not 0 < kept <= CUT:
            raise AssertionError(f"{kept} bytes are kept")
        again = uploader(line.url, url=broken.url)
        equal(again.offset, kept, "where it goes on")
        again.upload()
        stored(again.url)
        if line.bytes["up"] > SIZE + CHUNK:
            raise AssertionError(f"{line.bytes['up']} bytes were sent")

with case("the same with tuspy's own retries"):
    with cut(up=CUT) as line:
        broken = uploader(line.url, retries=3, retry_delay=0)
        broken.upload()
        stored(broken.url)

with case("a wrong checksum: 460, and the offset stays"):
    begun = uploader(URL, upload_checksum=True)
    begun.upload_chunk()
    headers = files.HEADERS | {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": str(CHUNK),
        "Content-Type": "application/offset+octet-stream",
        "Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    }
    answer = requests.patch(begun.url, data=data[CHUNK : CHUNK + 1000], headers=headers, verify=CA, timeout=20)
    equal(answer.status_code, 460, "the status")
    equal(offset(begun.url), CHUNK, "the offset")

with case("termination"):
    begun = uploader(URL)
    begun.upload_chunk()
    headers = files.HEADERS | {"Tus-Resumable": "1.0.0"}
    equal(requests.delete(begun.url, headers=headers, verify=CA, timeout=20).status_code, 204, "the status")
    gone = requests.head(begun.url, headers=headers, verify=CA, timeout=20).status_code
    if gone not in (404, 410):
        raise AssertionError(f"HEAD is answered with {gone}")

done()
