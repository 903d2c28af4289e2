"""A TCP proxy in front of one Kafka broker that can hold back single requests and responses.

Kafka frames every request and response with its length; a request starts with api key, version and
correlation id, a response with the correlation id. A rule looks at each request of one api key and says
what becomes of it: pass, hold the request, hold the response, or drop the request for good. What is held
holds up what comes behind it on the same connection, as a network would; a held request reaches the
broker even when the client has hung up meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading

from rig import HANG_S

PRODUCE, FETCH, END_TXN, TXN_OFFSET_COMMIT = 0, 1, 26, 28
PASS, HOLD_REQUEST, HOLD_RESPONSE, DROP = range(4)
MAX_FRAME = 64 << 20


class Proxy:
    """`with Proxy(listen_port, broker_port) as p: p.rules[END_TXN] = rule`.

    rule() -> (what, seconds) is called from the proxy's own thread.
    """

    def __init__(self, listen_port: int, broker_port: int) -> None:
        self.listen_port, self.broker_port = listen_port, broker_port
        self.rules: dict = {}
        self.counts = [0, 0, 0, 0]
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> "Proxy":
        self.thread.start()
        start = asyncio.start_server(self.serve, "127.0.0.1", self.listen_port)
        self.server = asyncio.run_coroutine_threadsafe(start, self.loop).result(HANG_S)
        return self

    def __exit__(self, *why) -> None:
        asyncio.run_coroutine_threadsafe(self.stop(), self.loop).result(HANG_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    async def stop(self) -> None:
        self.server.close()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
        held: dict[int, float] = {}  # correlation id -> seconds that its response waits
        down = asyncio.ensure_future(self.responses(up_reader, writer, held))
        try:
            await self.requests(reader, up_writer, held)
        finally:
            down.cancel()
            up_writer.close()
            writer.close()

    async def requests(self, reader, writer, held) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await read_frame(reader)
                api_key, _, correlation = struct.unpack_from(">hhi", frame, 4)
                rule = self.rules.get(api_key)
                what, seconds = rule() if rule else (PASS, 0)
                self.counts[what] += rule is not None
                if what == DROP:
                    await asyncio.sleep(seconds)
                    return
                if what == HOLD_RESPONSE:
                    held[correlation] = seconds
                if what == HOLD_REQUEST:
                    await asyncio.sleep(seconds)
                writer.write(frame)
                await writer.drain()

    async def responses(self, reader, writer, held) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await read_frame(reader)
                correlation, = struct.unpack_from(">i", frame, 4)
                await asyncio.sleep(held.pop(correlation, 0))
                writer.write(frame)
                await writer.drain()
        writer.close()


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    length, = struct.unpack(">i", head)
    if not 0 <= length <= MAX_FRAME:
        raise OSError(f"a frame of {length} bytes")
    return head + await reader.readexactly(length)
