"""Files to and from our server, nginx, Caddy and the tus project's own server, in turns, by one client: libcurl.

Each side keeps its fastest turn. `cargo xtask interop bench` runs it, on a machine that has nothing else to do. The servers write to the same
disk. Ours hashes what comes and answers when it is durable; nginx and tus write to the page cache, and answer then.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

from curl_cffi import Curl, CurlHttpVersion, CurlInfo, CurlOpt

import files
from interop import CA, HOST, SCRATCH, URL, content, equal, run, within

MIB = 1 << 20
SIZE = 256 * MIB
TURNS = 5
HTTP2, HTTP3 = CurlHttpVersion.V2_0, CurlHttpVersion.V3ONLY

NGINX = """
{user} daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/nginx.log; events {{}}
http {{
    access_log off; sendfile on; client_max_body_size 1g;
    client_body_temp_path {root}/t; proxy_temp_path {root}/t; fastcgi_temp_path {root}/t; uwsgi_temp_path {root}/t; scgi_temp_path {root}/t;
    server {{
        listen 127.0.0.1:{port} ssl http2; ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
        root {root}/www; location / {{ dav_methods PUT; }}
    }}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
    storage file_system {root}/caddy
}}
https://localhost:{port} {{
    bind 127.0.0.1
    tls {root}/cert.pem {root}/key.pem
    root * {root}/www
    file_server
}}
"""
TUS = """
import fs from 'node:fs';
import http2 from 'node:http2';
import { FileStore } from '@tus/file-store';
import { Server } from '@tus/server';
const tus = new Server({ path: '/files', relativeLocation: true, datastore: new FileStore({ directory: process.argv[3] }) });
const [key, cert] = ['key.pem', 'cert.pem'].map((name) => fs.readFileSync(name));
http2.createSecureServer({ key, cert, allowHTTP1: true }, (q, r) => tus.handle(q, r)).listen(Number(process.argv[2]), '127.0.0.1');
"""


def free():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def started(port, *command, cwd):
    with open(cwd / f"{Path(command[0]).name}.out", "w") as out:
        process = subprocess.Popen([str(a) for a in command], cwd=cwd, stdout=out, stderr=out)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None:
                raise AssertionError(f"{command[0]} ended with {process.returncode}: see {out.name}")
            time.sleep(0.1)
        yield f"https://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait()


class Client:
    """One connection of libcurl's, warm."""

    def __init__(self, version, ca):
        self._curl, self._version, self._ca = Curl(), version, ca

    def request(self, method, url, headers=(), body=None):
        """(status, headers, body), and seconds from the first byte sent to the last received."""
        curl, told, out = self._curl, [], BytesIO()
        curl.reset()
        for option, value in [
            (CurlOpt.URL, url.encode()),
            (CurlOpt.HTTP_VERSION, self._version),
            (CurlOpt.CAINFO, str(self._ca).encode()),
            (CurlOpt.CUSTOMREQUEST, method.encode()),
            (CurlOpt.TIMEOUT, 120),
            (CurlOpt.BUFFERSIZE, 512 * 1024),
            (CurlOpt.UPLOAD_BUFFERSIZE, 2 * MIB),
            (CurlOpt.HEADERFUNCTION, told.append),
            (CurlOpt.WRITEDATA, out),
        ]:
            curl.setopt(option, value)
        if method == "HEAD":
            curl.setopt(CurlOpt.NOBODY, 1)
        if body is not None:
            curl.setopt(CurlOpt.POSTFIELDSIZE_LARGE, len(body))
            curl.setopt(CurlOpt.POSTFIELDS, body)
        lines = [f"{k}: {v}".encode() for k, v in headers]
        curl.setopt(CurlOpt.HTTPHEADER, [*lines, b"Expect:"])
        curl.perform()
        self.took = curl.getinfo(CurlInfo.TOTAL_TIME) - curl.getinfo(CurlInfo.PRETRANSFER_TIME)
        pairs = [line.decode().strip().split(":", 1) for line in told]
        found = {pair[0].lower(): pair[1].strip() for pair in pairs if len(pair) == 2}
        return curl.getinfo(CurlInfo.RESPONSE_CODE), found, out.getvalue()

    def download(self, url, headers=()):
        status, _, body = self.request("GET", url, headers)
        equal((status, len(body)), (200, SIZE), "the answer")
        return self.took


data = content(SIZE)


def ours_up(client):
    def request(method, path, *more):
        return client.request(method, URL + path, *more)

    path = files.create(request, SIZE)
    within(files.chunk(request, path, data, 0)[0], files.STORED, "the status")
    ours_up.url = URL + path
    return client.took


def nginx_up(base):
    def up(client):
        within(client.request("PUT", f"{base}/up", (), data)[0], (201, 204), "the status")
        return client.took

    return up


def tus_up(base):
    def up(client):
        version = ("tus-resumable", "1.0.0")
        _, headers, _ = client.request("POST", f"{base}/files", [version, ("upload-length", SIZE)], b"")
        up.url = base + headers["location"] if headers["location"].startswith("/") else headers["location"]
        more = [version, ("upload-offset", 0), ("content-type", "application/offset+octet-stream")]
        equal(client.request("PATCH", up.url, more, data)[0], 204, "the status")
        return client.took

    return up


def race(title, sides):
    """Turns; megabytes a second, and beside the first peer."""
    best = {name: float("inf") for name, *_ in sides}
    for _ in range(TURNS):
        for name, client, act in sides:
            best[name] = min(best[name], act(client))
    print(f"\n{title}, {SIZE // MIB} MiB, best of {TURNS}")
    first = best[sides[1][0]] if len(sides) > 1 else None
    for name, took in best.items():
        ratio = f"{first / took:>6.2f} × {sides[1][0]}" if first else ""
        print(f"  {name:<20} {SIZE / took / 1e6:>8.0f} MB/s {ratio}", flush=True)


def main():
    root = SCRATCH / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / "www").mkdir(parents=True)
    (root / "tus").mkdir()
    (root / "www" / "file").write_bytes(data)
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-keyout", root / "key.pem", "-out", root / "cert.pem", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
    )
    theirs = root / "cert.pem"
    ports = [free() for _ in range(3)]
    # Its worker would be somebody else, who may not write here.
    user = "user root;" if os.getuid() == 0 else ""
    (root / "nginx.conf").write_text(NGINX.format(root=root, port=ports[0], user=user))
    (root / "Caddyfile").write_text(CADDY.format(root=root, port=ports[1]))
    (root / "tus.mjs").write_text(TUS)
    # Node looks for modules beside the script.
    (root / "node_modules").symlink_to(Path(os.environ["NTP_PEERS"]) / "node_modules")
    with contextlib.ExitStack() as stack:
        nginx = stack.enter_context(started(ports[0], "nginx", "-c", root / "nginx.conf", cwd=root))
        caddy = ["caddy", "run", "--config", root / "Caddyfile", "--adapter", "caddyfile"]
        caddy = stack.enter_context(started(ports[1], *caddy, cwd=root))
        tus = stack.enter_context(started(ports[2], "node", "tus.mjs", ports[2], root / "tus", cwd=root))
        tus_side = tus_up(tus)
        race(
            "upload over HTTP/2",
            [
                ("ours", Client(HTTP2, CA), ours_up),
                ("nginx", Client(HTTP2, theirs), nginx_up(nginx)),
                ("tus's server", Client(HTTP2, theirs), tus_side),
            ],
        )
        ours = lambda client: client.download(ours_up.url, files.AUTH)  # noqa: E731
        race(
            "download over HTTP/2",
            [
                ("ours", Client(HTTP2, CA), ours),
                ("nginx", Client(HTTP2, theirs), lambda client: client.download(f"{nginx}/file")),
            ],
        )
        race(
            "download over HTTP/3",
            [
                ("ours", Client(HTTP3, CA), ours),
                ("Caddy", Client(HTTP3, theirs), lambda client: client.download(f"{caddy}/file")),
            ],
        )
        race("upload over HTTP/3", [("ours", Client(HTTP3, CA), ours_up)])
    shutil.rmtree(root)


main()
