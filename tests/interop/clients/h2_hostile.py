"""What no honest client of HTTP/2 and HTTP/1.1 sends, with hyperframe and hpack: each ends in a typed refusal, and the server's memory is
bounded."""

import socket
import ssl
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from interop import CA, HANDSHAKE, HOST, PORT, bounded, case, done, equal, within

MIB = 1 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
RESETS = 20_000
FLOOD = 32 * MIB
HEADERS = 40_000
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED"]
CODES += ["FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"]


def tls(alpn):
    context = ssl.create_default_context(cafile=CA)
    context.set_alpn_protocols([alpn])
    line = context.wrap_socket(socket.create_connection(("127.0.0.1", PORT)), server_hostname=HOST)
    line.settimeout(10)
    equal(line.selected_alpn_protocol(), alpn, "the ALPN")
    return line


class Http2:
    """A connection that sends frames as it is told."""

    def __init__(self):
        self.line = tls("h2")
        self.encoder = Encoder()
        self._read = b""
        self._next = 1
        self.broken = False
        self.write(PREFACE + SettingsFrame(0).serialize() + WindowUpdateFrame(0, window_increment=MIB).serialize())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.line.close()

    def write(self, data):
        """Whether it could be sent: a server that has had enough closes."""
        try:
            self.line.sendall(data)
        except OSError:
            self.broken = True
        return not self.broken

    def stream(self):
        self._next += 2
        return self._next - 2

    def head(self, extra=(), path=HANDSHAKE):
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", f"{HOST}:{PORT}"), (":path", path)]
        return self.encoder.encode([*fields, *extra])

    def get(self, **options):
        stream = self.stream()
        self.write(HeadersFrame(stream, self.head(**options), flags=["END_HEADERS", "END_STREAM"]).serialize())
        return stream

    def frames(self):
        """Frames until the connection ends."""
        while True:
            while len(self._read) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self._read[:9]))
                if len(self._read) < 9 + length:
                    break
                frame.parse_body(memoryview(self._read[9 : 9 + length]))
                self._read = self._read[9 + length :]
                if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                    self.write(SettingsFrame(0, flags=["ACK"]).serialize())
                yield frame
            try:
                data = self.line.recv(65536)
            except TimeoutError:
                raise AssertionError("the server says nothing") from None
            except OSError:
                return
            if not data:
                return
            self._read += data

    def verdict(self, stream):
        """What came of a stream: its status, or why it or the connection ended."""
        decoder, why = Decoder(), "closed"
        for frame in self.frames():
            if isinstance(frame, HeadersFrame):
                status = dict(decoder.decode(frame.data))[":status"]
                if frame.stream_id == stream:
                    return status
            elif isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                return CODES[frame.error_code]
            elif isinstance(frame, GoAwayFrame) and frame.error_code != 0:
                return CODES[frame.error_code]
            elif isinstance(frame, GoAwayFrame):
                why = "GOAWAY NO_ERROR"
        return why


def alive():
    with Http2() as connection:
        equal(connection.verdict(connection.get()), "200", "the status after that")


def hostile(what, wanted, do, most=32 * MIB):
    with case(what):
        with bounded(most), Http2() as connection:
            within(connection.verdict(do(connection)), wanted, "the verdict")
        alive()


def rapid_reset(connection):
    for _ in range(RESETS // 100):
        batch = b""
        for _ in range(100):
            stream = connection.stream()
            batch += HeadersFrame(stream, connection.head(), flags=["END_HEADERS", "END_STREAM"]).serialize()
            batch += RstStreamFrame(stream, error_code=8).serialize()
        if not connection.write(batch):
            break
    return connection.get()


def continuation(size):
    """A field section that never ends, in frames of `size` bytes."""

    def flood(connection):
        stream = connection.stream()
        connection.write(HeadersFrame(stream, connection.head(), flags=["END_STREAM"]).serialize())
        # Literal fields without indexing, each of a frame of its own.
        field = b"\x00" + b"\x01x" + b"\x00" if size < 4 else b"\x00\x01x\x7f" + _varint(size - 7) + b"v" * (size - 7)
        batch = ContinuationFrame(stream, field[:size] if size else b"").serialize() * 16
        for _ in range(FLOOD // max(len(batch), 4096)):
            if not connection.write(batch):
                break
        return stream

    return flood


def _varint(n):
    """The rest of an integer of HPACK with a prefix of 7 bits that is full."""
    n -= 127
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def many_headers(connection):
    block = connection.head([(f"x-{n}", "v") for n in range(HEADERS)])
    stream = connection.stream()
    parts = [block[at : at + 16000] for at in range(0, len(block), 16000)]
    out = HeadersFrame(stream, parts[0], flags=["END_STREAM"]).serialize()
    for n, part in enumerate(parts[1:], 2):
        out += ContinuationFrame(stream, part, flags=["END_HEADERS"] if n == len(parts) else []).serialize()
    connection.write(out)
    return stream


def bomb(connection):
    """One field of 4 KB in the dynamic table, then 16,000 references to it, a byte each: 60 MB."""
    first = connection.head([("x", "v" * 3900)])
    connection.write(HeadersFrame(connection.stream(), first, flags=["END_HEADERS", "END_STREAM"]).serialize())
    stream = connection.stream()
    # Index 62 is the newest entry of the dynamic table.
    block = connection.head() + b"\xbe" * 16000
    connection.write(HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"]).serialize())
    return stream


def control(frame):
    def flood(connection):
        for _ in range(200):
            if not connection.write(frame.serialize() * 500):
                break
        return connection.get()

    return flood


def data_on_nothing(connection):
    connection.write(DataFrame(99, b"x").serialize())
    return 99


def http1(head, wanted):
    line = tls("http/1.1")
    with line:
        answer = b""
        try:
            line.sendall(head)
            while data := line.recv(65536):
                answer += data
                if b"\r\n" in answer:
                    break
        except OSError:
            pass
        status = answer.split(b" ")[1].decode() if answer else "closed"
        within(status, wanted, "the verdict")


calm = ["ENHANCE_YOUR_CALM", "closed"]
hostile(f"rapid reset, {RESETS} requests: ENHANCE_YOUR_CALM", calm, rapid_reset)
refused = [*calm, "431", "PROTOCOL_ERROR", "COMPRESSION_ERROR", "FRAME_SIZE_ERROR"]
hostile("a flood of CONTINUATION, 16 KB each: refused", refused, continuation(16_000))
hostile("a flood of empty CONTINUATION: refused", refused, continuation(0))
hostile("40,000 header fields: refused", refused, many_headers)
hostile("60 MB of headers in 20 KB: refused", refused, bomb)
hostile("100,000 PINGs: bounded", ["200", *calm], control(PingFrame(0, opaque_data=b"pingpong")))
hostile("100,000 SETTINGS: bounded", ["200", *calm], control(SettingsFrame(0)))
hostile("DATA on a stream that is not open: PROTOCOL_ERROR", ["PROTOCOL_ERROR", "STREAM_CLOSED"], data_on_nothing)

host = f"host: {HOST}:{PORT}\r\n"
many = "".join(f"x-{n}: v\r\n" for n in range(HEADERS))
for what, head, wanted in [
    ("40,000 header lines: 431", f"GET {HANDSHAKE} HTTP/1.1\r\n{host}{many}\r\n", ["431", "400", "closed"]),
    ("a head that never ends: refused", f"GET {HANDSHAKE} HTTP/1.1\r\n{host}x: " + "v" * 4 * MIB, ["431", "400", "closed"]),
    ("two lengths: 400", f"POST /v2/files HTTP/1.1\r\n{host}content-length: 1\r\ncontent-length: 2\r\n\r\nxx", ["400", "closed"]),
    (
        "a length and chunks: the length is not believed",
        f"POST /v2/files HTTP/1.1\r\n{host}content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ["400", "401", "closed"],
    ),
    ("no Host: 400", f"GET {HANDSHAKE} HTTP/1.1\r\n\r\n", ["400", "200"]),
]:
    with case(f"HTTP/1.1: {what}"):
        with bounded(32 * MIB):
            http1(head.encode(), wanted)
        alive()

done()
