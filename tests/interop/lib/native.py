"""The native protocol from its specification alone, in Python: the handshake, the key schedule, sealed frames.

Nothing here was taken from the Rust code: chapters Frames, Handshake, Key schedule, Sealed payload. It is what a client needs to be let in
and to be understood, and no more.
"""

import base64
import struct
import time
from urllib.parse import parse_qs, urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interop import equal, unpadded

CONTROL, MESSAGE, SYNC = 0, 1, 2
AUTH_REQ, AUTH_RESP, HEARTBEAT, HEARTBEAT_ACK, MSG_ENCRYPTED_V2, ERROR, CLOSE = 1, 2, 3, 4, 16, 32, 33
KEY_EPOCH = 0x02
QUIC, WEB = 1, 3
"""Numbers of transports in the key schedule."""

CODES = {0: "NORMAL", 1: "PROTOCOL", 2: "UNEXPECTED_FRAME", 3: "VERSION", 4: "TOO_LARGE", 32: "HANDSHAKE"}

RESPONSE, IS_ERROR = 1, 2
"""Flags of packets."""


def _sha256(data):
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize()


def _hmac(key, data):
    mac = hmac.HMAC(key, hashes.SHA256())
    mac.update(data)
    return mac.finalize()


def _expand(key, info, length):
    out, block, n = b"", b"", 0
    while len(out) < length:
        n += 1
        block = _hmac(key, block + info + bytes([n]))
        out += block
    return out[:length]


def _public(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC32C = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def frame(kind, channel, sequence, payload, flags=0):
    head = struct.pack(">BBBBIQ", 2, kind, flags, channel, len(payload), sequence)
    return head + payload + struct.pack(">I", crc32c(head + payload))


class Frames:
    """Bytes of one channel in, frames out: (kind, flags, channel, sequence, header, payload)."""

    def __init__(self):
        self._bytes = b""

    def take(self, data):
        self._bytes += data
        while len(self._bytes) >= 16:
            version, kind, flags, channel, length, sequence = struct.unpack(">BBBBIQ", self._bytes[:16])
            equal(version, 2, "the frame's version")
            if len(self._bytes) < 20 + length:
                return
            head, payload = self._bytes[:16], self._bytes[16 : 16 + length]
            (crc,) = struct.unpack(">I", self._bytes[16 + length : 20 + length])
            equal(crc, crc32c(head + payload), "the frame's checksum")
            self._bytes = self._bytes[20 + length :]
            yield kind, flags, channel, sequence, head, payload


# Protobuf, as much as the handshake takes.


def _varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def fields(data):
    """Of a message without repeated fields: number to value."""
    found, at = {}, 0

    def varint():
        nonlocal at
        n, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n

    while at < len(data):
        tag = varint()
        value = varint()
        if tag & 7 == 2:
            at, value = at + value, data[at : at + value]
        found[tag >> 3] = value
    return found


class Server:
    """What a connect string says: `ntp://ADDRESS/?operator=…&pin=…&cert=…`."""

    def __init__(self, connect):
        query = parse_qs(urlsplit(connect).query)
        self._take(*(query[name][0] for name in ("operator", "cert", "pin")))

    @classmethod
    def told(cls, operator, certificate, pin):
        """From the same three as the bootstrap tells them."""
        server = cls.__new__(cls)
        server._take(operator, certificate, pin)
        return server

    def _take(self, operator, certificate, pin):
        certificate = fields(unpadded(certificate))
        signed = b"ntproto server-cert v1" + certificate[1]
        Ed25519PublicKey.from_public_bytes(unpadded(operator)).verify(certificate[2], signed)
        body = fields(certificate[1])
        now = int(time.time() * 1000)
        if not body[3] <= now < body[4]:
            raise AssertionError("the server's certificate is not valid now")
        self.static = body[1]
        self.pin = unpadded(pin)


class Session:
    """A client of handshake A: Noise_IK_25519_AESGCM_SHA256. A new device of a new account, by open registration."""

    def __init__(self, server, bootstrap=b""):
        name = b"Noise_IK_25519_AESGCM_SHA256"
        self._h = name.ljust(32, b"\0")
        self._ck = self._h
        self._cipher, self._n = None, 0
        self._mix(b"ntproto/2.4.1")
        self._mix(server.static)
        self._server = X25519PublicKey.from_public_bytes(server.static)
        self._ephemeral = X25519PrivateKey.generate()
        self._device = X25519PrivateKey.generate()
        self._signing = Ed25519PrivateKey.generate()
        self._keys = {}
        self._bootstrap = bootstrap

    def _mix(self, data):
        self._h = _sha256(self._h + data)

    def _mix_key(self, secret):
        out = _expand(_hmac(self._ck, secret), b"", 64)
        self._ck, self._cipher, self._n = out[:32], AESGCM(out[32:]), 0

    def _nonce(self):
        self._n += 1
        return struct.pack(">IQ", 0, self._n - 1)

    def _encrypt(self, plain):
        sealed = self._cipher.encrypt(self._nonce(), plain, self._h)
        self._mix(sealed)
        return sealed

    def _decrypt(self, sealed):
        plain = self._cipher.decrypt(self._nonce(), sealed, self._h)
        self._mix(sealed)
        return plain

    def auth_req(self):
        """The first frame."""
        e = _public(self._ephemeral)
        self._mix(e)
        self._mix_key(self._ephemeral.exchange(self._server))
        s = self._encrypt(_public(self._device))
        self._mix_key(self._device.exchange(self._server))
        # The credential is empty. A bootstrap ticket is signed too, and shown.
        signed = b"ntproto ticket-pop v1" + _sha256(b"")
        signed += (_sha256(self._bootstrap) if self._bootstrap else b"") + self._h
        request = b"".join([
            field(5, b""),
            field(6, _public(self._signing)),
            field(7, _sha256(b"interop")),
            field(8, int(time.time() * 1000)),
            field(9, "2.4.1"),
            field(10, "quic"),
            field(10, "web"),
            field(11, self._signing.sign(signed)),
            field(12, 10001),
            field(13, "interop"),
            field(15, self._bootstrap) if self._bootstrap else b"",
        ])
        return frame(AUTH_REQ, CONTROL, 1, e + s + self._encrypt(request))

    def auth_resp(self, payload, exporter, transport):
        """The server's answer; the grant as fields. From here on frames are sealed."""
        e, sealed = payload[:32], payload[32:]
        ephemeral = X25519PublicKey.from_public_bytes(e)
        self._mix(e)
        self._mix_key(self._ephemeral.exchange(ephemeral))
        self._mix_key(self._device.exchange(ephemeral))
        answer = fields(self._decrypt(sealed))
        if 1 not in answer:
            raise AssertionError(f"refused: {answer}")
        split = _expand(_hmac(self._ck, b""), b"", 64)
        bound = _sha256(self._h + exporter + bytes([transport]))
        ms = _hmac(b"QQNT-KEY-2024", split)
        for direction in (b"c2s", b"s2c"):
            for channel in (CONTROL, MESSAGE, SYNC):
                label = lambda what: b"ntproto/2.4.1 " + direction + what + bytes([channel, 0]) + bound  # noqa: E731, B023
                key, iv = _expand(ms, label(b" key"), 32), _expand(ms, label(b" iv"), 12)
                # Frame sequence 1 of CONTROL went in the clear, both ways.
                self._keys[direction, channel] = [AESGCM(key), iv, 0, 1 if channel == CONTROL else 0]
        grant = fields(answer[1])
        # Base64url without padding: the session id, then the key that HTTP requests show.
        token = grant[1] + _expand(ms, b"ntproto/2.4.1 http token\0" + bound, 32)
        self.token = base64.urlsafe_b64encode(token).rstrip(b"=").decode()
        return grant

    def seal(self, kind, channel, plain):
        """One frame."""
        keys = self._keys[b"c2s", channel]
        keys[2] += 1
        keys[3] += 1
        aead, iv, number, sequence = keys
        counter = struct.pack(">Q", number)
        nonce = bytes(a ^ b for a, b in zip(iv, b"\0\0\0\0" + counter))
        head = struct.pack(">BBBBIQ", 2, kind, 0, channel, 36 + len(plain), sequence)
        return frame(kind, channel, sequence, counter + nonce + aead.encrypt(nonce, plain, head + counter))

    def open(self, channel, sequence, head, payload):
        """What a sealed frame says."""
        keys = self._keys[b"s2c", channel]
        aead, iv, number, last = keys
        counter = struct.pack(">Q", number + 1)
        nonce = bytes(a ^ b for a, b in zip(iv, b"\0\0\0\0" + counter))
        equal(payload[:8], counter, "msg_seq")
        equal(payload[8:20], nonce, "the nonce")
        equal(sequence, last + 1, "the frame's sequence")
        try:
            plain = aead.decrypt(nonce, payload[20:], head + counter)
        except InvalidTag as why:
            raise AssertionError("a frame of the server does not open") from why
        keys[2], keys[3] = number + 1, sequence
        return plain


def request(packet, number, body):
    """A packet that is answered."""
    return struct.pack(">HHII", packet, 0, number, len(body)) + body


def packets(plain):
    """Of a frame of MESSAGE or SYNC: (packet, flags, request id, body)."""
    while plain:
        packet, flags, number, length = struct.unpack(">HHII", plain[:12])
        begin = 12 + (4 if flags & 4 else 0) + (25 if flags & 8 else 0)
        yield packet, flags, number, plain[begin : begin + length]
        plain = plain[begin + length :]
