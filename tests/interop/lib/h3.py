"""HTTP/3 and WebTransport by aioquic."""

import asyncio
from dataclasses import dataclass, field

from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import StopSendingReceived, StreamDataReceived, StreamReset

from interop import HOST, ORIGIN, PORT
from quic import Protocol, connected

ALPN = H3_ALPN[0]

FRAME_DATA, FRAME_HEADERS = 0x00, 0x01
CODES = {
    0x100: "H3_NO_ERROR",
    0x101: "H3_GENERAL_PROTOCOL_ERROR",
    0x102: "H3_INTERNAL_ERROR",
    0x103: "H3_STREAM_CREATION_ERROR",
    0x104: "H3_CLOSED_CRITICAL_STREAM",
    0x105: "H3_FRAME_UNEXPECTED",
    0x106: "H3_FRAME_ERROR",
    0x107: "H3_EXCESSIVE_LOAD",
    0x108: "H3_ID_ERROR",
    0x109: "H3_SETTINGS_ERROR",
    0x10A: "H3_MISSING_SETTINGS",
    0x10B: "H3_REQUEST_REJECTED",
    0x10C: "H3_REQUEST_CANCELLED",
    0x10D: "H3_REQUEST_INCOMPLETE",
    0x10E: "H3_MESSAGE_ERROR",
    0x200: "QPACK_DECOMPRESSION_FAILED",
    0x201: "QPACK_ENCODER_STREAM_ERROR",
}


def name(code):
    return CODES.get(code, hex(code))


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes


@dataclass
class Stream:
    """What came on a stream so far."""

    headers: list = None
    data: bytes = b""
    ended: bool = False
    reset: int = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Http3(Protocol):
    """A client connection. `webtransport` says whether its settings offer that."""

    webtransport = False

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic, enable_webtransport=self.webtransport)
        self.streams = {}
        self.channels = set()

    def quic_event_received(self, event):
        super().quic_event_received(event)
        if isinstance(event, (StreamReset, StopSendingReceived)):
            stream = self._stream(event.stream_id)
            if isinstance(event, StreamReset) or stream.reset is None:
                stream.reset = event.error_code
            stream.changed.set()
        # aioquic takes what comes on streams of ours for frames of HTTP/3.
        if getattr(event, "stream_id", None) in self.channels:
            stream = self._stream(event.stream_id)
            if isinstance(event, StreamDataReceived):
                stream.data += event.data
                stream.ended |= event.end_stream
                stream.changed.set()
            return
        for one in self.http.handle_event(event):
            stream = self._stream(one.stream_id) if hasattr(one, "stream_id") else None
            if isinstance(one, HeadersReceived) and stream.headers is None:
                stream.headers = one.headers
            elif isinstance(one, DataReceived):
                stream.data += one.data
            if stream is not None:
                stream.ended |= getattr(one, "stream_ended", False)
                stream.changed.set()
        if self.ended is not None:
            for stream in self.streams.values():
                stream.changed.set()

    def _stream(self, number):
        return self.streams.setdefault(number, Stream())

    def begin(self, method, path, headers=(), end=True, pseudo=()):
        """Opens a request; its stream's number."""
        number = self._quic.get_next_available_stream_id()
        self._stream(number)
        head = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", f"{HOST}:{PORT}".encode()),
            (b":path", path.encode()),
            *pseudo,
        ]
        head += [(k.lower().encode(), str(v).encode()) for k, v in headers]
        self.http.send_headers(number, head, end_stream=end)
        self.transmit()
        return number

    def raw(self, data, end=False):
        """A bidirectional stream with these bytes; its number."""
        number = self._quic.get_next_available_stream_id()
        self._stream(number)
        self._quic.send_stream_data(number, data, end_stream=end)
        self.transmit()
        return number

    def body(self, number, data, end=True):
        self.http.send_data(number, data, end_stream=end)
        self.transmit()

    async def until(self, number, ready, timeout=10):
        """Waits for a stream to become as wanted; it may also be reset, and the connection end."""
        stream = self._stream(number)
        async with asyncio.timeout(timeout):
            while not (ready(stream) or stream.reset is not None or self.ended is not None):
                stream.changed.clear()
                await stream.changed.wait()
        return stream

    async def answer(self, number, timeout=10):
        """The whole answer on a stream."""
        stream = await self.until(number, lambda s: s.headers is not None and s.ended, timeout)
        # A server that has answered in full may still say that it does not want the rest of the request.
        if not (stream.headers is not None and stream.ended):
            why = f"stream reset: {name(stream.reset)}" if stream.reset is not None else f"connection ended: {self.ended}"
            raise AssertionError(why)
        headers = {k.decode(): v.decode() for k, v in stream.headers}
        return Answer(int(headers.pop(":status")), headers, stream.data)

    async def request(self, method, path, headers=(), body=None, timeout=10):
        number = self.begin(method, path, headers, end=body is None)
        if body is not None:
            self.body(number, body)
        return await self.answer(number, timeout)

    async def verdict(self, number, timeout=10):
        """What came of a bad request: a status, the code of the stream's reset, or that of the connection's end."""
        stream = await self.until(number, lambda s: s.headers is not None, timeout)
        if stream.headers is not None:
            return dict(stream.headers)[b":status"].decode()
        # The end of the connection says more than that of the stream.
        return name(stream.reset if self.ended is None else self.ended.error_code)


class WebTransport(Http3):
    """The same, for sessions on `/v2/session`."""

    webtransport = True

    def ask(self, origin=ORIGIN, path="/v2/session"):
        """Asks for a session; the number of its stream."""
        pseudo = [(b":protocol", b"webtransport")]
        headers = [("sec-webtransport-http3-draft", "draft02")]
        if origin:
            headers.append(("origin", origin))
        return self.begin("CONNECT", path, headers, end=False, pseudo=pseudo)

    async def session(self, **options):
        """A session that is up."""
        number = self.ask(**options)
        verdict = await self.verdict(number)
        if verdict != "200":
            raise AssertionError(f"the session is refused: {verdict}")
        return number

    def channel(self, session, channel, data):
        """A channel of the session: a stream that begins with its number."""
        number = self.http.create_webtransport_stream(session)
        self.channels.add(number)
        self._stream(number)
        self._quic.send_stream_data(number, bytes([channel]) + data)
        self.transmit()
        return number

    def write(self, number, data):
        self._quic.send_stream_data(number, data)
        self.transmit()


def http3(protocol=Http3, **options):
    """A connection. The three streams of HTTP/3 are there, the server's settings soon."""
    options.setdefault("max_datagram_frame_size", 65536)
    return connected(ALPN, protocol, **options)


def frame(kind, payload, length=None):
    """One frame of HTTP/3; `length` is what it says of itself, which may be a lie."""
    length = len(payload) if length is None else length
    return encode_uint_var(kind) + encode_uint_var(length) + payload
