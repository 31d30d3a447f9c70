"""A device of the native protocol, over aioquic: QUIC with the ALPN `ntp/2`."""

import asyncio

from aioquic import tls
from aioquic.quic.events import StreamDataReceived

import native
from interop import equal
from quic import Protocol

CHANNELS = (native.CONTROL, native.MESSAGE, native.SYNC)
"""Streams 0, 4 and 8, in this order."""

# aioquic has no TLS exporter (RFC 8446, section 7.5). Its secret is derived where the traffic secrets are.
_derive = tls.KeySchedule.derive_secret


def _derive_also(schedule, label):
    if label == b"c ap traffic":
        schedule.exporter_secret = _derive(schedule, b"exp master")
    return _derive(schedule, label)


tls.KeySchedule.derive_secret = _derive_also


def exporter(schedule, label):
    def expand(secret, label, length):
        return tls.hkdf_expand_label(
            algorithm=schedule.algorithm,
            secret=secret,
            label=label,
            hash_value=schedule.hash_empty_value,
            length=length,
        )

    secret = expand(schedule.exporter_secret, label, schedule.algorithm.digest_size)
    return expand(secret, b"exporter", 32)


class Device(Protocol):
    """Give it to `quic.connected("ntp/2", Device)`; then `sign_in`."""

    def _write(self, channel, data):
        self._quic.send_stream_data(4 * channel, data)
        self.transmit()

    async def _frame(self):
        """The next frame, of any channel."""
        while not self._frames:
            event = await self.next(lambda event: isinstance(event, StreamDataReceived))
            self._frames += self._readers[event.stream_id // 4].take(event.data)
        return self._frames.pop(0)

    async def sign_in(self, server, bootstrap=b""):
        """A new account, with a bootstrap ticket or without. Its grant, as fields."""
        self._frames, self._readers = [], [native.Frames() for _ in CHANNELS]
        self._session = native.Session(server, bootstrap)
        self._request = 0
        self._write(native.CONTROL, self._session.auth_req())
        kind, _, channel, sequence, _, payload = await self._frame()
        equal((kind, channel, sequence), (native.AUTH_RESP, native.CONTROL, 1), "the answer")
        bound = exporter(self._quic.tls.key_schedule, b"EXPORTER-ntproto-v2")
        grant = self._session.auth_resp(payload, bound, native.QUIC)
        self.token = self._session.token
        return grant

    def say(self, kind, channel, plain):
        self._write(channel, self._session.seal(kind, channel, plain))

    async def hear(self):
        """The next frame that is no heartbeat of the server: (kind, plaintext). Heartbeats are answered."""
        while True:
            kind, _, channel, sequence, head, payload = await self._frame()
            plain = self._session.open(channel, sequence, head, payload)
            if kind != native.HEARTBEAT:
                return kind, plain
            self.say(native.HEARTBEAT_ACK, native.CONTROL, plain)

    async def ask(self, packet, body):
        """A request on MESSAGE; the body of its answer."""
        self._request += 1
        self.say(native.MSG_ENCRYPTED_V2, native.MESSAGE, native.request(packet, self._request, body))
        while True:
            kind, plain = await self.hear()
            if kind != native.MSG_ENCRYPTED_V2:
                continue
            for _, flags, number, answer in native.packets(plain):
                if number == self._request and flags & native.RESPONSE:
                    if flags & native.IS_ERROR:
                        raise AssertionError(f"{packet:#06x} is refused: {native.fields(answer)}")
                    return answer

    async def stay(self):
        """Answers heartbeats until it is cancelled."""
        while True:
            async with asyncio.timeout(None):
                event = await self.events.get()
            if isinstance(event, StreamDataReceived):
                self._frames += self._readers[event.stream_id // 4].take(event.data)
            while self._frames:
                kind, _, channel, sequence, head, payload = self._frames.pop(0)
                plain = self._session.open(channel, sequence, head, payload)
                if kind == native.HEARTBEAT:
                    self.say(native.HEARTBEAT_ACK, native.CONTROL, plain)
