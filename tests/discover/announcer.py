"""Announces _bramble._tcp services until its standard input ends; an argument is one, as JSON."""

import asyncio
import json
import socket
import sys

from zeroconf import IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

TYPE = "_bramble._tcp.local."


def service(number: int, told: dict) -> ServiceInfo:
    return ServiceInfo(
        TYPE,
        f"instance {number}.{TYPE}",
        port=told["port"],
        addresses=[socket.inet_aton(told["address"])],
        properties=told["properties"],
        server=f"host-{number}.local.",
    )


async def main() -> None:
    services = [service(number, json.loads(one)) for number, one in enumerate(sys.argv[1:])]
    async with AsyncZeroconf(ip_version=IPVersion.V4Only) as lan:
        # The first wait is for probes that nobody may answer, the second for the announcements.
        for task in await asyncio.gather(*map(lan.async_register_service, services)):
            await task
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
