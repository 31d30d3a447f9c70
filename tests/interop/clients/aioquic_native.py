"""aioquic speaks the native protocol: ALPN `ntp/2`, three channels, the handshake and sealed frames from the specification alone."""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

from aioquic import tls
from aioquic.quic.events import StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import native
from interop import CONNECT, case, done, equal, sha256, within
from quic import connected

INVITATION = os.environ["NTP_INVITATION"]
EXPORTER = b"EXPORTER-ntproto-v2"


def keep_exporter_secret():
    """aioquic has no TLS exporter (RFC 8446, section 7.5): its secret is derived where the traffic secrets are."""
    derive = tls.KeySchedule.derive_secret

    def also(self, label):
        if label == b"c ap traffic":
            self.exporter_secret = derive(self, b"exp master")
        return derive(self, label)

    tls.KeySchedule.derive_secret = also


def exporter(schedule):
    expand = lambda secret, label, value, length: tls.hkdf_expand_label(  # noqa: E731
        algorithm=schedule.algorithm, secret=secret, label=label, hash_value=value, length=length
    )
    size = schedule.algorithm.digest_size
    secret = expand(schedule.exporter_secret, EXPORTER, schedule.hash_empty_value, size)
    return expand(secret, b"exporter", schedule.hash_empty_value, 32)


async def answer(connection, frames):
    """The next frame on CONTROL."""
    while True:
        event = await connection.next(lambda e: isinstance(e, StreamDataReceived) and e.stream_id == 0)
        for one in frames.take(event.data):
            return one


async def session(server):
    async with connected("ntp/2") as connection:
        quic = connection._quic
        certificate = quic.tls._peer_certificate
        spki = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        with case("ALPN ntp/2, and the pinned certificate"):
            equal(quic.tls.alpn_negotiated, "ntp/2", "the ALPN")
            equal(bytes.fromhex(sha256(spki)), server.pin, "the pin")
            assert isinstance(certificate, x509.Certificate)

        with case("three channels, Noise IK, a grant"):
            streams = [quic.get_next_available_stream_id()]
            client = native.Session(server, INVITATION)
            quic.send_stream_data(streams[0], client.auth_req())
            connection.transmit()
            frames = native.Frames()
            kind, _, channel, sequence, _, payload = await answer(connection, frames)
            equal((kind, channel, sequence), (native.AUTH_RESP, native.CONTROL, 1), "the answer")
            grant = client.auth_resp(payload, exporter(quic.tls.key_schedule), native.QUIC)
            equal(len(grant[1]), 16, "the session id's length")
            equal(grant[3], b"2.4.1", "the version")
            streams += [quic.get_next_available_stream_id() + 4 * n for n in range(2)]
            equal(streams, [0, 4, 8], "the streams")

        with case("a sealed HEARTBEAT comes back sealed"):
            said = native.heartbeat()
            quic.send_stream_data(0, client.seal(native.HEARTBEAT, native.CONTROL, said))
            connection.transmit()
            kind, _, channel, sequence, head, payload = await answer(connection, frames)
            equal(kind, native.HEARTBEAT_ACK, "the answer")
            equal(client.open(channel, sequence, head, payload), said, "what it echoes")

        with case("an orderly CLOSE ends with NORMAL"):
            quic.send_stream_data(0, client.seal(native.CLOSE, native.CONTROL, native.field(1, 0)))
            connection.transmit()
            ended = await connection.end()
            equal(ended.error_code, 0, "the code")


async def refused(data, stream, codes):
    """What a connection ends with that begins like this; frames that come before are looked at, too."""
    async with connected("ntp/2") as connection:
        connection._quic.send_stream_data(stream, data)
        connection.transmit()
        ended = await connection.end()
        within(native.CODES.get(ended.error_code, hex(ended.error_code)), codes, "the code")


async def main():
    keep_exporter_secret()
    server = native.Server(CONNECT)
    await session(server)
    random = os.urandom(96)
    cases = [
        ("bytes that are no frame", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", ["VERSION"]),
        ("a frame with a wrong checksum", native.frame(1, 0, 1, random)[:-1] + b"!", ["PROTOCOL"]),
        ("an AUTH_REQ of random bytes", native.frame(native.AUTH_REQ, native.CONTROL, 1, random), ["HANDSHAKE"]),
        ("a frame that has no place yet", native.frame(16, native.CONTROL, 1, random), ["UNEXPECTED_FRAME"]),
        ("a length of 4 GiB", bytes([2, 1, 0, 0, 255, 255, 255, 255]) + bytes(8), ["TOO_LARGE"]),
    ]
    for what, data, codes in cases:
        with case(f"{what}: {'/'.join(codes)}"):
            await refused(data, 0, codes)


asyncio.run(main())
done()
