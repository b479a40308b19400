#!/usr/bin/env python3
"""Relays TCP connections from a port of this host into a network namespace.

It listens first, in the namespace it was started in, then enters the other and dials from there.
Usage: relay.py LISTEN_ADDRESS LISTEN_PORT NAMESPACE_FILE TARGET_ADDRESS TARGET_PORT
It prints one line, `ready`, when it accepts connections.
"""

import asyncio
import ctypes
import os
import socket
import sys

CLONE_NEWNET = 0x40000000
CHUNK_BYTES = 256 * 1024
DIAL_SECONDS = 10


def enter_namespace(path):
    """Moves this thread into the network namespace that the file names; sockets made before stay outside."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), path)


async def copy(reader, writer):
    """Copies one direction to its end, and passes the end on: a half-close stays a half-close."""
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def relay(near_reader, near_writer, target):
    """One connection, both directions; if one breaks, both are reset."""
    far_writer = None
    try:
        dial = asyncio.open_connection(*target, limit=CHUNK_BYTES)
        far_reader, far_writer = await asyncio.wait_for(dial, DIAL_SECONDS)
        async with asyncio.TaskGroup() as both:
            both.create_task(copy(near_reader, far_writer))
            both.create_task(copy(far_reader, near_writer))
        near_writer.close()
        far_writer.close()
    except (OSError, asyncio.TimeoutError, ExceptionGroup):
        near_writer.transport.abort()
        if far_writer is not None:
            far_writer.transport.abort()


async def main(listen_address, listen_port, namespace, target_address, target_port):
    try:
        listener = socket.create_server((listen_address, int(listen_port)), backlog=1024)
    except OSError as error:
        sys.exit(f"cannot listen at {listen_address}:{listen_port}: {os.strerror(error.errno)}; name another port")
    enter_namespace(namespace)
    target = (target_address, int(target_port))
    server = await asyncio.start_server(
        lambda reader, writer: relay(reader, writer, target), sock=listener, limit=CHUNK_BYTES
    )
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
