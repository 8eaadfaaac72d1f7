#!/usr/bin/env python3
"""Starts ministack, the local AWS of this project, as it comes or with five small patches.

    AWS_ENDPOINT_URL=http://127.0.0.1:PORT GATEWAY_PORT=PORT BIND_HOST=127.0.0.1 \\
        python tools/ministack/launch.py [--patched]

Plain, this is the `ministack` command and nothing else. `--patched` changes five things, each in one place: three
because they cap the local rate well below what the project promises, two because records of streams are lost:

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
4. DynamoDB stream mappings honour `ReportBatchItemFailures`. ministack takes an answer that names an unfinished record
   for a success of the whole batch and goes on behind it: the records from there on are never handled. AWS starts again
   at the lowest sequence number named (docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).
5. Where state is kept over a restart (`PERSIST_STATE=1`), the records of DynamoDB streams are kept with it. ministack keeps
   the tables and how far each mapping has read, not the records: what was written and not yet read is never delivered.

They reach into ministack's internals, so they are tied to one version: with another, `--patched` refuses to
start rather than patch something it does not know. `tests/tools/test_ministack_launcher.py` holds them.
"""

from __future__ import annotations

import argparse
import copy
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


def unfinished_records(event: Any, result: dict) -> int:
    """How many of a stream batch's records an answer leaves unfinished: those from the first one it names."""
    records = event.get("Records") if isinstance(event, dict) else None
    body = result.get("body")
    if not records or records[0].get("eventSource") != "aws:dynamodb" or result.get("error") or not isinstance(body, dict):
        return 0
    named = {failure.get("itemIdentifier") for failure in body.get("batchItemFailures") or []}
    numbers = [record.get("dynamodb", {}).get("SequenceNumber") for record in records]
    return next((len(numbers) - at for at, number in enumerate(numbers) if number in named), 0)


def patch_stream_failures(lambda_svc: Any) -> None:
    """Lets a stream mapping go on from the first record that its function did not finish."""
    execute = lambda_svc._execute_function
    if list(inspect.signature(execute).parameters) != ["func", "event"]:
        raise UnknownVersion("ministack's _execute_function has another signature than the one patched here.")
    # One thread polls all streams: it invokes, then moves the position behind the batch.
    unfinished = 0

    def execute_function(func: dict, event: dict) -> dict:
        nonlocal unfinished
        result = execute(func, event)
        left = unfinished_records(event, result)
        if left and left == len(event["Records"]):
            # Nothing was finished: as if it had failed, so that the next try waits a moment.
            return {**result, "error": True}
        unfinished = left or unfinished
        return result

    class Positions(type(lambda_svc._dynamodb_stream_positions)):
        def __setitem__(self, mapping: Any, position: int) -> None:
            nonlocal unfinished
            super().__setitem__(mapping, position - unfinished)
            unfinished = 0

    # Empty still: nothing has started.
    lambda_svc._dynamodb_stream_positions = Positions()
    lambda_svc._execute_function = execute_function


def patch_stream_state(dynamodb: Any) -> None:
    """Keeps the records of streams with the tables they belong to."""
    get_state, load = dynamodb.get_state, dynamodb.load_persisted_state
    kept = ("_stream_records", "_stream_trimmed")

    def state_with_records() -> dict:
        return {**get_state(), **{name: copy.deepcopy(getattr(dynamodb, name)) for name in kept}}

    def load_with_records(data: dict) -> None:
        load(data)
        for name in kept:
            getattr(dynamodb, name).update(data.get(name, {}))

    dynamodb.get_state, dynamodb.load_persisted_state = state_with_records, load_with_records


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
    lambda_svc = importlib.import_module("ministack.services.lambda_svc")
    patch_fifo_concurrency(lambda_svc)
    patch_stream_failures(lambda_svc)
    patch_stream_state(importlib.import_module("ministack.services.dynamodb"))


def main(argv: list[str]) -> None:
    """Parses our one option and hands over to ministack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patched", action="store_true", help="apply the five patches described in this file")
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
