"""aioquic as an HTTP/3 client: the bootstrap, and what no honest client sends."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib"))

import bootstrap
import files
from h3 import FRAME_DATA, FRAME_HEADERS, frame, http3, name
from interop import FILES, HANDSHAKE, bounded, case, done, equal, problem, within

MIB = 1 << 20
HEADERS = 40_000
GIB = 1 << 30
RESETS = 2_000
"""Requests that are reset at once, twenty times what a connection may have open."""


async def honest():
    async with http3() as connection:
        with case("the bootstrap over HTTP/3"):
            answer = await connection.request("GET", HANDSHAKE)
            bootstrap.check(answer.status, answer.headers, answer.body)

        for what, path, wanted, code in bootstrap.REFUSED:
            with case(f"{what}: {code}"):
                answer = await connection.request("GET", path)
                bootstrap.refused(answer.status, answer.headers, answer.body, wanted, code)

        with case("fifty requests at once on one connection"):
            numbers = [connection.begin("GET", HANDSHAKE) for _ in range(50)]
            for number in numbers:
                equal((await connection.answer(number)).status, 200, "the status")

        with case("files want a token"):
            answer = await connection.request("POST", files.target(), [("content-length", "0")])
            problem(answer.status, answer.headers, answer.body, 401)

        for path in (f"{FILES}/../../etc/passwd", f"{FILES}/%2e%2e%2f", f"{FILES}/" + "a" * 4000):
            with case(f"no file {path[:30]}"):
                answer = await connection.request("GET", path)
                within(answer.status, range(400, 500), "the status")


async def alive():
    async with http3() as connection:
        equal((await connection.request("GET", HANDSHAKE)).status, 200, "the status after that")


async def hostile(what, most, wanted, do):
    """One thing on a connection of its own: the answer is one of those wanted, memory is bounded, the server lives on."""
    with case(what):
        with bounded(most):
            async with http3() as connection:
                number = await do(connection)
                within(await connection.verdict(number), wanted, "the verdict")
        await alive()


async def headers(connection):
    return connection.begin("GET", HANDSHAKE, [(f"x-{n}", "v") for n in range(HEADERS)])


async def declared(connection):
    return connection.raw(frame(FRAME_HEADERS, bytes(MIB // 2), length=GIB))


async def rapid(connection):
    """Requests that nobody waits for, then one that somebody does. aioquic would reset streams that it may not open yet."""
    quic = connection._quic
    for _ in range(RESETS):
        while quic.get_next_available_stream_id() // 4 >= quic._remote_max_streams_bidi and connection.ended is None:
            await asyncio.sleep(0.001)
        if connection.ended is not None:
            return 0
        number = connection.begin("GET", HANDSHAKE, end=False)
        quic.reset_stream(number, 0x10C)
        connection.transmit()
    return connection.begin("GET", HANDSHAKE)


def raw(data, end=False):
    async def do(connection):
        return connection.raw(data, end)

    return do


async def main():
    await honest()
    excessive = ["431", "H3_EXCESSIVE_LOAD", "H3_MESSAGE_ERROR"]
    await hostile("40,000 header fields: refused, and the server lives on", 32 * MIB, excessive, headers)
    await hostile("a HEADERS frame of 1 GiB: refused before it is there", 32 * MIB, excessive, declared)
    await hostile(
        "DATA before HEADERS: H3_FRAME_UNEXPECTED",
        8 * MIB,
        ["H3_FRAME_UNEXPECTED"],
        raw(frame(FRAME_DATA, b"x")),
    )
    await hostile(
        "a field section of random bytes: QPACK_DECOMPRESSION_FAILED",
        8 * MIB,
        ["QPACK_DECOMPRESSION_FAILED"],
        raw(frame(FRAME_HEADERS, b"\0\0" + b"\xff" * 64), end=True),
    )
    await hostile(
        "a frame of HTTP/2 (SETTINGS' old neighbour 0x06): H3_FRAME_UNEXPECTED",
        8 * MIB,
        ["H3_FRAME_UNEXPECTED"],
        raw(frame(0x06, bytes(8))),
    )
    await hostile(f"rapid reset, {RESETS} requests: bounded", 32 * MIB, ["200", "H3_EXCESSIVE_LOAD"], rapid)

    with case("a second control stream: H3_STREAM_CREATION_ERROR"):
        async with http3() as connection:
            await connection.request("GET", HANDSHAKE)
            quic = connection._quic
            quic.send_stream_data(quic.get_next_available_stream_id(is_unidirectional=True), b"\0")
            connection.transmit()
            equal(name((await connection.end()).error_code), "H3_STREAM_CREATION_ERROR", "the code")


asyncio.run(main())
done()
