"""Debian's gtlsclient: ngtcp2 and GnuTLS. It sends no headers of ours and checks no certificate: the bootstrap, and QUIC's own features."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

import bootstrap
from interop import HANDSHAKE, PORT, SCRATCH, URL, case, done, equal, run


def get(*options, count=1):
    """Asks for the bootstrap; what is printed."""
    # The file is named by the path's end, query included.
    where = SCRATCH / "answers"
    where.mkdir(exist_ok=True)
    for old in where.iterdir():
        old.unlink()
    arguments = ["--exit-on-all-streams-close", "--no-quic-dump", "--no-http-dump", "--timeout=5s", f"--download={where}", f"--nstreams={count}"]
    told = run("gtlsclient", *arguments, *options, "--sni=localhost", "127.0.0.1", PORT, URL + HANDSHAKE)
    [body] = where.iterdir()
    return told.stderr + told.stdout, body.read_bytes()


def header(told, name):
    """The value of a header of the answer, as it prints it: `[name: value]`."""
    begin = f"[{name}: "
    found = [line for line in told.splitlines() if begin in line]
    if not found:
        raise AssertionError(f"no {name} in the answer")
    return found[-1].split(begin, 1)[1].split("]")[0]


def checked(*options, count=1):
    told, body = get(*options, count=count)
    headers = {name: header(told, name) for name in ("content-type", "cache-control")}
    bootstrap.check(int(header(told, ":status")), headers, body)
    return told


with case("the bootstrap over HTTP/3"):
    checked()

with case("twenty requests at once"):
    told, _ = get(count=20)
    equal(told.count("[:status: 200]"), 20, "answers")

for cipher in ("AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"):
    with case(f"with {cipher}"):
        checked(f"--ciphers=NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+{cipher}")

for group in ("X25519", "SECP256R1", "SECP384R1"):
    with case(f"with the group {group}"):
        checked(f"--groups=-GROUP-ALL:+GROUP-{group}")

with case("a version of QUIC that nobody speaks: version negotiation"):
    checked("--version=0x1a2a3a4a", "--preferred-versions=v1", "--other-versions=v1")

with case("a key update before the request"):
    checked("--key-update=50ms", "--delay-stream=200ms")

with case("the client's address changes before the request"):
    checked("--change-local-addr=50ms", "--delay-stream=200ms")

with case("the NAT gives it another port"):
    checked("--change-local-addr=50ms", "--nat-rebinding", "--delay-stream=200ms")

with case("every tenth packet is lost, each way"):
    checked("--tx-loss=0.1", "--rx-loss=0.1", count=5)

with case("a TLS session is resumed"):
    kept = [f"--session-file={SCRATCH / 'session'}", f"--tp-file={SCRATCH / 'parameters'}"]
    checked(*kept)
    checked(*kept, "--disable-early-data")

done()
