"""wget and aria2: downloads over HTTP/1.1 whose line is cut, and in four pieces at once."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

import files
from curlcli import stored
from cut import cut
from interop import CA, SCRATCH, URL, case, content, done, equal, run, sha256

MIB = 1 << 20
SIZE = 24 * MIB
CUT = 5 * MIB
TOKEN = f"Authorization: Bearer {files.TOKEN}"

data = content(SIZE, seed=4)
out = SCRATCH / "download"


def fresh():
    for old in (out, Path(f"{out}.aria2")):
        old.unlink(missing_ok=True)


def came(line=None, again=4 * MIB):
    equal(sha256(out.read_bytes()), sha256(data), "what came")
    if line is not None and line.bytes["down"] > SIZE + again:
        raise AssertionError(f"{line.bytes['down']} bytes came for {SIZE}")


def wget(url, *options, check=True):
    return run("wget", "--no-verbose", f"--ca-certificate={CA}", f"--header={TOKEN}", "--timeout=10", *options, "-O", out, url, check=check)


def aria2(url, *options):
    common = [f"--ca-certificate={CA}", f"--header={TOKEN}", "--no-conf", "--allow-overwrite=true", "--timeout=10"]
    names = [f"--dir={SCRATCH}", "--out=download", "--file-allocation=none", "--retry-wait=1", "--summary-interval=0"]
    return run("aria2c", *common, *names, *options, url)


with case("a file is uploaded"):
    path = stored(data)

with case("wget: a download"):
    fresh()
    wget(URL + path)
    came()

with case("wget -c: the rest after a line that was cut"):
    fresh()
    with cut(down=CUT) as line:
        broken = wget(line.url + path, "--tries=1", check=False)
        if broken.returncode == 0:
            raise AssertionError("nothing broke")
        if not 0 < out.stat().st_size < SIZE:
            raise AssertionError(f"{out.stat().st_size} bytes had come")
        wget(line.url + path, "-c")
        came(line)

with case("wget: its own retries"):
    fresh()
    with cut(down=CUT) as line:
        wget(line.url + path, "--tries=3", "--waitretry=0")
        came(line)

with case("aria2 -x4: four ranges at once"):
    fresh()
    aria2(URL + path, "-x4", "-s4", "-k1M")
    came()

with case("aria2 -x4: one of four is cut"):
    fresh()
    with cut(down=2 * MIB) as line:
        aria2(line.url + path, "-x4", "-s4", "-k1M", "--max-tries=5")
        # It also hangs up on a range that another connection took over, with as much on the way as the sockets hold.
        came(line, again=SIZE)

done()
