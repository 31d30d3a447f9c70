"""aioquic, set up for this server."""

import asyncio
import contextlib
import ssl

from aioquic.asyncio import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated

from interop import CA, HOST, PORT


class Protocol(QuicConnectionProtocol):
    """Keeps events in a queue, for tests that are told from top to bottom."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.events = asyncio.Queue()
        self.ended = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.ended = event
        self.events.put_nowait(event)

    async def next(self, wanted, timeout=5):
        """The next event for which `wanted` is true; what comes before it is dropped."""
        async with asyncio.timeout(timeout):
            while True:
                event = await self.events.get()
                if wanted(event):
                    return event
                if isinstance(event, ConnectionTerminated):
                    raise AssertionError(f"the server ended the connection: {event.error_code:#x} {event.reason_phrase}")

    async def end(self, timeout=5):
        """The end of the connection."""
        if self.ended is not None:
            return self.ended
        return await self.next(lambda event: isinstance(event, ConnectionTerminated), timeout)


def configuration(alpn, **options):
    # `ntp/2` has a certificate of its own, which is pinned and not signed by anybody.
    mode = ssl.CERT_NONE if alpn == "ntp/2" else ssl.CERT_REQUIRED
    made = QuicConfiguration(is_client=True, alpn_protocols=[alpn], verify_mode=mode, server_name=HOST, **options)
    if alpn != "ntp/2":
        made.load_verify_locations(CA)
    return made


@contextlib.asynccontextmanager
async def connected(alpn, protocol=Protocol, limit=60, **options):
    """A connection whose handshake is complete; what is done with it takes `limit` seconds at most."""
    made = configuration(alpn, **options)
    async with asyncio.timeout(limit):
        async with connect("127.0.0.1", PORT, configuration=made, create_protocol=protocol) as connection:
            yield connection
