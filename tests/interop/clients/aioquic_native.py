"""aioquic speaks the native protocol: ALPN `ntp/2`, the channels, the handshake and sealed frames from the specification alone."""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

from cryptography.hazmat.primitives import serialization

import native
from device import Device
from interop import CONNECT, case, done, equal, sha256
from quic import connected

PROFILES = 0x0502


async def session(server):
    async with connected("ntp/2", Device) as device:
        with case("ALPN ntp/2, and the pinned certificate"):
            session = device._quic.tls
            key = session._peer_certificate.public_key()
            spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            equal(session.alpn_negotiated, "ntp/2", "the ALPN")
            equal(bytes.fromhex(sha256(spki)), server.pin, "the pin")

        with case("Noise IK, a grant"):
            grant = await device.sign_in(server)
            equal(len(grant[1]), 16, "the session id's length")
            equal(grant[3], b"2.4.1", "the version")

        with case("a sealed HEARTBEAT comes back sealed"):
            said = os.urandom(8)
            device.say(native.HEARTBEAT, native.CONTROL, said)
            equal(await device.hear(), (native.HEARTBEAT_ACK, said), "the answer")

        with case("a request on MESSAGE is answered"):
            answer = await device.ask(PROFILES, native.field(1, grant[5]))
            assert native.fields(answer), "no profile"

        with case("an orderly CLOSE ends with NORMAL"):
            device.say(native.CLOSE, native.CONTROL, native.field(1, 0))
            equal((await device.end()).error_code, 0, "the code")


async def refused(data, wanted):
    """What a connection ends with that begins like this."""
    async with connected("ntp/2") as connection:
        connection._quic.send_stream_data(0, data)
        connection.transmit()
        code = (await connection.end()).error_code
        equal(native.CODES.get(code, hex(code)), wanted, "the code")


async def main():
    await session(native.Server(CONNECT))
    random = os.urandom(96)
    cases = [
        ("bytes that are no frame", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "VERSION"),
        ("a frame with a wrong checksum", native.frame(1, 0, 1, random)[:-1] + b"!", "PROTOCOL"),
        ("an AUTH_REQ of random bytes", native.frame(native.AUTH_REQ, native.CONTROL, 1, random), "HANDSHAKE"),
        ("a frame that has no place yet", native.frame(16, native.CONTROL, 1, random), "UNEXPECTED_FRAME"),
        ("a length of 4 GiB", bytes([2, 1, 0, 0, 255, 255, 255, 255]) + bytes(8), "TOO_LARGE"),
    ]
    for what, data, wanted in cases:
        with case(f"{what}: {wanted}"):
            await refused(data, wanted)


asyncio.run(main())
done()
