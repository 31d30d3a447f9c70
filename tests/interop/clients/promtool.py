"""promtool, Prometheus' own parser, reads what the server tells of itself."""

import os
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

from interop import case, done, equal, run

OPS = f"http://{os.environ['NTP_OPS']}"


def get(path):
    with urllib.request.urlopen(OPS + path, timeout=10) as answer:
        return answer.status, answer.headers, answer.read().decode()


for path in ("/healthz", "/readyz"):
    with case(path):
        equal(get(path)[0], 200, "the status")

with case("promtool accepts /metrics"):
    status, headers, text = get("/metrics")
    equal(status, 200, "the status")
    run("promtool", "check", "metrics", input=text)

with case("what the other clients did is counted"):
    wanted = 'http_request_duration_seconds_count{'
    lines = [line for line in text.splitlines() if line.startswith(wanted) and "/v2/handshake" in line]
    if not lines:
        raise AssertionError("no request to /v2/handshake is counted")

done()
