"""aioquic over WebTransport: a whole session of ours in a session of the web's."""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

import native
from h3 import WebTransport, http3
from interop import CONNECT, HANDSHAKE, ORIGIN, bounded, case, done, equal, within

NO_EXPORTER = bytes(32)


async def frame(connection, number, frames):
    """The next frame on a stream."""
    stream = connection._stream(number)
    while True:
        await connection.until(number, lambda s: s.data)
        data, stream.data = stream.data, b""
        for one in frames.take(data):
            return one
        if not data:
            raise AssertionError("the stream ended before a frame was whole")


async def session(origin):
    async with http3(WebTransport) as connection:
        up = await connection.session(origin=origin)
        client, frames = native.Session(native.Server(CONNECT)), native.Frames()
        control = connection.channel(up, native.CONTROL, client.auth_req())
        kind, _, channel, sequence, _, payload = await frame(connection, control, frames)
        equal((kind, channel, sequence), (native.AUTH_RESP, native.CONTROL, 1), "the answer")
        grant = client.auth_resp(payload, NO_EXPORTER, native.WEB)
        equal(grant[3], b"2.4.1", "the version")

        said = os.urandom(8)
        connection.write(control, client.seal(native.HEARTBEAT, native.CONTROL, said))
        kind, _, channel, sequence, head, payload = await frame(connection, control, frames)
        equal((kind, client.open(channel, sequence, head, payload)), (native.HEARTBEAT_ACK, said), "the answer")

        ask = native.request(0x0502, 1, native.field(1, grant[5]))
        message = connection.channel(up, native.MESSAGE, client.seal(native.MSG_ENCRYPTED_V2, native.MESSAGE, ask))
        kind, _, channel, sequence, head, payload = await frame(connection, message, native.Frames())
        [(packet, flags, number, _)] = native.packets(client.open(channel, sequence, head, payload))
        equal((packet, flags & 3, number), (0x0502, native.RESPONSE, 1), "the answer")

        # HTTP goes on beside it.
        equal((await connection.request("GET", HANDSHAKE)).status, 200, "the status")


async def refused(wanted, **options):
    async with http3(WebTransport) as connection:
        within(await connection.verdict(connection.ask(**options)), wanted, "the verdict")


async def garbage(channel, data):
    """The session ends, by its own stream; nothing else of the connection does."""
    async with http3(WebTransport) as connection:
        up = await connection.session()
        connection.channel(up, channel, data)
        stream = await connection.until(up, lambda s: s.ended)
        equal((stream.ended, connection.ended), (True, None), "the session's and the connection's end")
        equal((await connection.request("GET", HANDSHAKE)).status, 200, "the status after that")


async def main():
    with case("a session from the page that is let in: handshake, heartbeat, a request on MESSAGE"):
        await session(ORIGIN)
    with case("a client that is no browser sends no Origin"):
        await session("")
    for origin in ("https://evil.example", "null", f"{ORIGIN}.evil.example"):
        with case(f"Origin {origin.replace(ORIGIN, 'OURS')} is refused"):
            await refused(["403"], origin=origin)
    with case("no session on another path"):
        await refused(["404"], path="/v2/handshake")
    with case("bytes that are no frame end the session"):
        await garbage(native.CONTROL, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    with case("a channel that there is not ends the session"):
        await garbage(9, b"\0" * 32)
    with case("a hundred sessions asked for on one connection: bounded"):
        with bounded(32 << 20):
            async with http3(WebTransport) as connection:
                first = connection.ask()
                rest = [connection.ask() for _ in range(99)]
                equal(await connection.verdict(first), "200", "the first")
                within(await connection.verdict(rest[-1]), ["429", "503", "H3_REQUEST_REJECTED", "0x3994bd84"], "the last")


asyncio.run(main())
done()
