"""Who the other clients act for: signs in, makes a group, prints its token and conversation as a line of JSON, and stays until standard
input closes."""

import asyncio
import base64
import json
import os
import sys

import native
from device import Device
from interop import CONNECT
from quic import connected

GROUP_CREATE = 0x0601


async def main():
    async with connected("ntp/2", Device, limit=None) as device:
        grant = await device.sign_in(native.Server(CONNECT))
        body = native.field(1, "interop") + native.field(5, os.urandom(16))
        state = native.fields(native.fields(await device.ask(GROUP_CREATE, body))[1])
        group = native.fields(state[1])[1]
        conversation = base64.urlsafe_b64encode(bytes(8) + group.to_bytes(8)).rstrip(b"=").decode()
        told = {"uin": grant[5], "token": device.token, "conversation": conversation}
        print(json.dumps(told), flush=True)
        stay = asyncio.create_task(device.stay())
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        stay.cancel()


asyncio.run(main())
