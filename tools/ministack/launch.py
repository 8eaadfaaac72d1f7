#!/usr/bin/env python3
"""Starts ministack, the local AWS of this project, as it comes or with three small patches.

    AWS_ENDPOINT_URL=http://127.0.0.1:PORT GATEWAY_PORT=PORT BIND_HOST=127.0.0.1 \\
        python tools/ministack/launch.py [--patched]

Plain, this is the `ministack` command and nothing else. `--patched` changes three things, each in one place,
because they cap the local rate well below what the project promises:

1. `TCP_NODELAY` on the Lambda runtime API. ministack answers the runtime's long poll with two small writes
   (headers, then the event); with Nagle's algorithm the second waits for the client's delayed acknowledgement,
   about 40 ms an invocation.
2. FIFO event source mappings honour `ScalingConfig.MaximumConcurrency`. ministack invokes one FIFO batch at a
   time, "serial until the poller splits batches by MessageGroupId". Its receive already withholds every group
   that has a message in flight, so two batches never share a group and order inside a group is kept. Without a
   MaximumConcurrency a FIFO mapping stays serial.
3. The same application is served by uvicorn with httptools, a parser in C, instead of hypercorn with h11, one in
   Python: in both, an AWS call costs more in the HTTP server than in the service, 0.8 ms of processor time
   against 0.4 ms for a DynamoDB put of 1.5 kB. No behaviour of a service changes.

They reach into ministack's internals, so they are tied to one version: with another, `--patched` refuses to
start rather than patch something it does not know. `tests/tools/test_ministack_launcher.py` holds them.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import socketserver
import sys
from importlib.metadata import version
from typing import Any

PINNED_VERSION = "1.5.33"


class UnknownVersion(RuntimeError):
    """The installed ministack is not the one that the patches were written against."""


def check_version(installed: str) -> None:
    """Refuses any ministack other than the pinned one."""
    if installed != PINNED_VERSION:
        raise UnknownVersion(
            f"--patched is written for ministack {PINNED_VERSION}, found {installed}. "
            "Install the pinned one (`make setup`) or start without --patched."
        )


def patch_nodelay() -> None:
    """Sends small answers at once. ministack's runtime API servers derive from this class."""
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True


def patch_fifo_concurrency(lambda_svc: Any) -> None:
    """Lets a FIFO mapping run as many batches at once as its MaximumConcurrency says; without one, a single batch."""
    original = lambda_svc._sqs_esm_concurrency
    expected = ["esm", "func_rec", "config", "queue"]
    if list(inspect.signature(original).parameters) != expected:
        raise UnknownVersion("ministack's _sqs_esm_concurrency has another signature than the one patched here.")

    def concurrency(esm: dict, func_rec: dict, config: dict, queue: dict | None = None) -> int:
        wanted = (esm.get("ScalingConfig") or {}).get("MaximumConcurrency")
        if (queue or {}).get("is_fifo") and wanted:
            # Asked as if for a standard queue: the limit, capped by reserved concurrency.
            return original(esm, func_rec, config, None)
        return original(esm, func_rec, config, queue)

    lambda_svc._sqs_esm_concurrency = concurrency


async def serve_with_uvicorn(app: Any, config: Any) -> None:
    """Serves what ministack hands to hypercorn, on the same address."""
    import uvicorn

    host, port = config.bind[0].rsplit(":", 1)
    server = uvicorn.Server(uvicorn.Config(
        app, host=host, port=int(port), http="httptools", ws="none", lifespan="on", access_log=False,
        log_level=config.loglevel.lower(), timeout_keep_alive=int(config.keep_alive_timeout),
        # An open long poll does not hold up the end.
        timeout_graceful_shutdown=1,
    ))
    await server.serve()


def patch_server() -> None:
    """ministack imports hypercorn's `serve` when it starts: it gets ours."""
    importlib.import_module("hypercorn.asyncio").serve = serve_with_uvicorn


def apply_patches() -> None:
    """Applies the patches to the ministack of this process."""
    check_version(version("ministack"))
    patch_nodelay()
    patch_server()
    patch_fifo_concurrency(importlib.import_module("ministack.services.lambda_svc"))


def main(argv: list[str]) -> None:
    """Parses our one option and hands over to ministack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patched", action="store_true", help="apply the three patches described in this file")
    options = parser.parse_args(argv)
    if options.patched:
        try:
            apply_patches()
        except UnknownVersion as refused:
            sys.exit(f"error: {refused}")
    # ministack reads its own options from the command line; ours are not among them.
    sys.argv = ["ministack"]
    from ministack.app import main as ministack

    ministack()


if __name__ == "__main__":
    main(sys.argv[1:])
