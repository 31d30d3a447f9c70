"""Writes the certificate that the server shows to the web, as PEM, to the file NTP_CA."""

import os
import socket
import ssl

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.set_alpn_protocols(["h2", "http/1.1"])
with socket.create_connection(("127.0.0.1", int(os.environ["NTP_PORT"])), timeout=10) as line:
    with context.wrap_socket(line, server_hostname="localhost") as tls:
        pem = ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True))
with open(os.environ["NTP_CA"], "w") as out:
    out.write(pem)
