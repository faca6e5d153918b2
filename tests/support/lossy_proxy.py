"""A proxy in front of an API server that loses answers: the request was carried out, and the client never hears of it."""

import logging
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from whimbrel_lab.controlplane.users import Access

_SILENT = logging.getLogger("lossy-proxy")
_SILENT.disabled = True  # a lost answer is a connection that the server complains of
HOP_BY_HOP = frozenset({"connection", "host", "keep-alive", "transfer-encoding", "content-length", "content-encoding"})


@dataclass
class LossyProxy:
    """Plain HTTP on loopback; whoever asks brings his own token."""

    url: str = ""
    lost: Counter[str] = field(default_factory=Counter)
    """How many answers were lost, by the name given to `lose`."""
    _wanted: dict[str, tuple[str, re.Pattern[str], int]] = field(default_factory=dict)

    def lose(self, name: str, method: str, path: str, times: int = 1) -> None:
        """Lose the next answers to requests whose path matches."""
        self._wanted[name] = method, re.compile(path), times

    def loses(self, method: str, path: str) -> bool:
        """Whether this answer is to be lost; counts it."""
        for name, (wanted, pattern, times) in self._wanted.items():
            if wanted == method and pattern.fullmatch(path) and self.lost[name] < times:
                self.lost[name] += 1
                return True
        return False

    @property
    def still_to_lose(self) -> list[str]:
        """What was never asked for often enough."""
        return [name for name, (_, _, times) in self._wanted.items() if self.lost[name] < times]


@asynccontextmanager
async def lossy_proxy(upstream: Access) -> AsyncIterator[LossyProxy]:
    """A proxy of a server for as long as the context lasts."""
    proxy = LossyProxy()
    connector = aiohttp.TCPConnector(limit=0, ssl=upstream.tls or True)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
            target = upstream.url + request.raw_path
            async with session.request(
                request.method, target, headers=headers, data=await request.read() or None
            ) as found:
                if proxy.loses(request.method, request.path):
                    await found.read()
                    assert request.transport is not None
                    request.transport.abort()
                    return web.Response(status=502)
                kept = {k: v for k, v in found.headers.items() if k.lower() not in HOP_BY_HOP - {"content-encoding"}}
                response = web.StreamResponse(status=found.status, headers=kept)
                await response.prepare(request)
                async for chunk in found.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        runner = web.ServerRunner(web.Server(answer, access_log=None, logger=_SILENT), shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[-1][1]}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
