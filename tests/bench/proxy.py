"""A long line: passes TCP on, later and no faster than a household's.

Every byte arrives `delay` later, and all connections together move no more than
`rate` bytes a second in each direction. A connection holds back no more than
`WINDOW` bytes, as a sender does that waits for acknowledgements. Requests (of
HTTP) and bytes are counted.
"""

import asyncio
import threading
import time

WINDOW = 1 << 20
READ = 64 << 10
HEAD = b" HTTP/1.1\r\n"


class Direction:
    def __init__(self, rate):
        self.rate = rate
        self.bytes = 0
        self.free_at = 0.0

    def pass_at(self, count):
        """When the last of these bytes has left."""
        self.bytes += count
        self.free_at = max(self.free_at, time.monotonic()) + count / self.rate
        return self.free_at


class Line:
    """Listens on a port of loopback from `start` to `stop`, in a thread of its own."""

    def __init__(self, target, round_trip_s, bytes_per_s):
        self.target = target
        self.delay = round_trip_s / 2
        self.up, self.down = Direction(bytes_per_s), Direction(bytes_per_s)
        self.requests = 0
        self.port = None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()
        self._ready.wait()
        return self

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def counts(self):
        return {"requests": self.requests, "up": self.up.bytes, "down": self.down.bytes}

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _connection(self, near_in, near_out):
        # A handshake is one round trip.
        await asyncio.sleep(2 * self.delay)
        far_in, far_out = await asyncio.open_connection(*self.target)
        await asyncio.gather(self._pass(near_in, far_out, self.up, True), self._pass(far_in, near_out, self.down, False))

    async def _pass(self, source, sink, direction, counting):
        on_the_way, room = asyncio.Queue(), asyncio.Semaphore(WINDOW // READ)

        async def deliver():
            while (item := await on_the_way.get()) is not None:
                due, data = item
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                sink.write(data)
                await sink.drain()
                room.release()

        delivering = asyncio.ensure_future(deliver())
        tail = b""
        try:
            while True:
                await room.acquire()
                data = await source.read(READ)
                if not data:
                    break
                if counting:
                    self.requests += (tail + data).count(HEAD)
                    tail = data[-(len(HEAD) - 1):]
                on_the_way.put_nowait((direction.pass_at(len(data)) + self.delay, data))
            on_the_way.put_nowait(None)
            await delivering
        except OSError:
            delivering.cancel()
        finally:
            sink.close()
