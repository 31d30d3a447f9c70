"""A line that breaks: a TCP proxy in front of the server that cuts one connection after so many bytes, and lets the next ones through."""

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

from interop import HOST, PORT

READING = 10
"""Seconds that the server may take to read what went through before the cut."""


def unread(near):
    """Bytes that the server has not read of the connection from this port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(end.rsplit(":", 1)[1], 16) for end in fields[1:3]]
        if ports == [PORT, near]:
            return int(fields[4].split(":")[1], 16)
    return 0


class Cut:
    """Counts what goes through, both ways. `up` and `down` say after how many bytes the first connection that gets there is cut."""

    def __init__(self, up=None, down=None):
        self._limits = {"up": up, "down": down}
        self._lock = threading.Lock()
        self.bytes = {"up": 0, "down": 0}
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"https://{HOST}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", PORT))
                passed = {"up": 0, "down": 0}
                for way, source, sink in (("up", near, far), ("down", far, near)):
                    threading.Thread(target=self._pump, args=(way, source, sink, passed), daemon=True).start()

    def _pump(self, way, source, sink, passed):
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                with self._lock:
                    passed[way] += len(data)
                    self.bytes[way] += len(data)
                    limit = self._limits[way]
                    cut = limit is not None and passed[way] > limit
                    if cut:
                        self._limits[way] = None
                        self.cuts += 1
                if cut:
                    if way == "up":
                        self._settle(sink)
                    for end in (source, sink):
                        # Not an orderly end: a reset, as from a network that is gone.
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        end.shutdown(socket.SHUT_RDWR)
                        end.close()
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    @staticmethod
    def _settle(sink):
        """A reset takes with it what the server has not read yet: how much that is would depend on how busy the machine is."""
        near, end = sink.getsockname()[1], time.monotonic() + READING
        while unread(near) > 0 and time.monotonic() < end:
            time.sleep(0.01)


@contextlib.contextmanager
def cut(**limits):
    proxy = Cut(**limits)
    try:
        yield proxy
        if any(limits.values()) and proxy.cuts != 1:
            raise AssertionError(f"the line was cut {proxy.cuts} times, not once: nothing was tried")
    finally:
        proxy.close()
