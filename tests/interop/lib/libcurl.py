"""Requests by curl-cffi, over the HTTP version that was asked for and no other."""

from io import BytesIO

from curl_cffi import Curl, CurlHttpVersion, CurlInfo, CurlOpt

from interop import CA, URL, equal

VERSIONS = [
    ("HTTP/3 only", CurlHttpVersion.V3ONLY, 30),
    ("HTTP/2", CurlHttpVersion.V2_0, 3),
    ("HTTP/1.1", CurlHttpVersion.V1_1, 2),
]
"""What is asked for, and what curl must say that it used."""


class Client:
    """One handle, so that requests share a connection."""

    def __init__(self, version, number):
        self._curl = Curl()
        self._version, self._number = version, number

    def request(self, method, path, headers=(), body=None, most=30):
        """(status, headers, body)."""
        curl, told, out = self._curl, [], BytesIO()
        curl.reset()
        curl.setopt(CurlOpt.URL, (URL + path).encode())
        curl.setopt(CurlOpt.HTTP_VERSION, self._version)
        curl.setopt(CurlOpt.CAINFO, CA.encode())
        curl.setopt(CurlOpt.PATH_AS_IS, 1)
        curl.setopt(CurlOpt.TIMEOUT, most)
        curl.setopt(CurlOpt.CUSTOMREQUEST, method.encode())
        if method == "HEAD":
            curl.setopt(CurlOpt.NOBODY, 1)
        if body is not None:
            curl.setopt(CurlOpt.POSTFIELDSIZE_LARGE, len(body))
            curl.setopt(CurlOpt.POSTFIELDS, body)
            # Not what curl says of a POST.
            if not any(k.lower() == "content-type" for k, _ in headers):
                headers = [*headers, ("content-type", "application/octet-stream")]
        curl.setopt(CurlOpt.HTTPHEADER, [f"{k}: {v}".encode() for k, v in headers])
        curl.setopt(CurlOpt.HEADERFUNCTION, told.append)
        curl.setopt(CurlOpt.WRITEDATA, out)
        curl.perform()
        equal(curl.getinfo(CurlInfo.HTTP_VERSION), self._number, "curl's HTTP version")
        lines = [line.decode().strip().split(":", 1) for line in told]
        found = {line[0].lower(): line[1].strip() for line in lines if len(line) == 2}
        return curl.getinfo(CurlInfo.RESPONSE_CODE), found, out.getvalue()
