"""What every Python client here shares: what `cargo xtask interop` tells it, and how it says what came of it.

A case is one line on standard output, `ok WHAT` or `FAIL WHAT: WHY`; everything else goes to standard error.
"""

import base64
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

HOST = "localhost"
PORT = int(os.environ["NTP_PORT"])
"""UDP and TCP."""
URL = f"https://{HOST}:{PORT}"
CA = os.environ["NTP_CA"]
"""The server's web certificate, as PEM: it signed itself."""
TOKEN = os.environ.get("NTP_TOKEN", "")
"""Of a session that lives as long as these tests."""
CONVERSATION = os.environ.get("NTP_CONVERSATION", "")
CONNECT = os.environ.get("NTP_CONNECT", "")
PID = int(os.environ.get("NTP_PID", "0"))
SCRATCH = Path(os.environ["NTP_SCRATCH"])
"""A folder of this client's own."""
ORIGIN = os.environ.get("NTP_ORIGIN", "")
"""The web page that the server lets in."""
HANDSHAKE = "/v2/handshake?app_id=10001&version=2.4.1"
FILES = "/v2/files"

_failed = 0


@contextlib.contextmanager
def case(what):
    """One thing that is tried. What it raises is its failure; the others are tried all the same."""
    global _failed
    try:
        yield
    except Exception as why:  # noqa: BLE001: whatever it is, it is the verdict
        _failed += 1
        traceback.print_exc()
        line = " ".join(str(why).split())[:300] or type(why).__name__
        print(f"FAIL {what}: {line}", flush=True)
    else:
        print(f"ok {what}", flush=True)


def done():
    """Ends the program: with 1 if a case failed."""
    sys.exit(1 if _failed else 0)


def equal(found, wanted, what="value"):
    if found != wanted:
        raise AssertionError(f"{what} is {found!r}, not {wanted!r}")


def within(found, allowed, what="value"):
    if found not in allowed:
        raise AssertionError(f"{what} is {found!r}, not one of {allowed!r}")


def content(size, seed=1):
    """Bytes that nothing compresses, the same for the same seed."""
    # By pieces: one number can't have as many bits as the largest file.
    made, piece = random.Random(seed), 1 << 20
    return b"".join(made.randbytes(min(piece, size - at)) for at in range(0, size, piece))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def unpadded(text):
    """Base64 of either alphabet, padded or not."""
    text = text.replace("-", "+").replace("_", "/")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def resident():
    """Bytes of memory that the server holds."""
    status = Path(f"/proc/{PID}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def bounded(most):
    """Whatever happens inside, the server's memory grows by less than `most` bytes."""
    before = resident()
    yield
    grown = resident() - before
    if grown > most:
        raise AssertionError(f"the server grew by {grown >> 20} MiB")


def run(*arguments, timeout=30, check=True, **options):
    """A program, to its end; its output as text."""
    done = subprocess.run(
        [str(a) for a in arguments], capture_output=True, text=True, errors="replace", timeout=timeout, **options
    )
    if check and done.returncode != 0:
        tail = (done.stderr or done.stdout)[-300:]
        raise AssertionError(f"{arguments[0]} ended with {done.returncode}: {tail}")
    return done


def killed_after(path, size, *arguments, timeout=20):
    """Starts a program and kills it as soon as `path` has `size` bytes."""
    process = subprocess.Popen([str(a) for a in arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + timeout
    try:
        while not path.exists() or path.stat().st_size < size:
            if process.poll() is not None:
                raise AssertionError(f"{arguments[0]} ended with {process.returncode} before it could be killed")
            if time.monotonic() > end:
                raise AssertionError(f"{arguments[0]}: {path.name} does not grow")
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()


def problem(status, headers, body, wanted_status=None):
    """RFC 9457: what went wrong, with a code; returns it."""
    kind = headers.get("content-type", "").split(";")[0]
    equal(kind, "application/problem+json", "content-type")
    told = json.loads(body)
    equal(told["status"], status, "status in the body")
    if wanted_status is not None:
        equal(status, wanted_status, "status")
    if not told.get("code"):
        raise AssertionError(f"no code in {told}")
    return told
