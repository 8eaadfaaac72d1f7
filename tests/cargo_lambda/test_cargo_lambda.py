"""cargo-lambda builds, serves and invokes a function, as docs/local.md says."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTION = "accept-order"
# What accept-order reads at start. Nobody serves the issuer's keys: it has to say so, and calls nothing else.
SETTINGS = {
    "STAGE": "local", "LOG_LEVEL": "info", "SERVICE_NAME": "orderflow", "ORDERS_TABLE": "orders",
    "BREAKERS_TABLE": "breakers", "EXPRESS_DEADLINE_SECONDS": "60", "STANDARD_DEADLINE_SECONDS": "300",
    "BULK_DEADLINE_SECONDS": "3600",
    "QUEUE_URL_PREFIX": "http://127.0.0.1:9/000000000000/orderflow-", "JWT_ISSUER": "http://127.0.0.1:9/auth",
    "JWT_AUDIENCE": "orderflow", "JWKS_URL": "http://127.0.0.1:9/auth/.well-known/jwks.json",
    "TENANT_RATE_PER_SECOND": "50", "EMITTED_COMMAND_VERSION": "1",
}
# Of Amazon Linux 2023, which `provided.al2023` is.
NEWEST_GLIBC = (2, 34)
# The first invocation compiles the function, and with other features than the workspace's all that it stands on: see `watch`.
BUILD_SECONDS, INVOKE_SECONDS = 1800, 1800


@pytest.fixture(scope="module")
def bootstrap():
    # Of the whole workspace, so that features unify as in every other build and dependencies are shared with it.
    run("cargo", "lambda", "build", "--skip-target-check", "--workspace", "--bin", FUNCTION, seconds=BUILD_SECONDS)
    return ROOT / "target/lambda" / FUNCTION / "bootstrap"


def test_build_makes_a_bootstrap(bootstrap):
    assert bootstrap.read_bytes()[:4] == b"\x7fELF"
    assert os.access(bootstrap, os.X_OK)


def test_the_bootstrap_asks_for_no_newer_glibc_than_lambda_has(bootstrap):
    symbols = run("objdump", "-T", str(bootstrap), seconds=60)
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_(\d+\.\d+)", symbols)}
    assert versions and max(versions) <= NEWEST_GLIBC


def test_watch_serves_the_sample_event_to_invoke_and_one_that_succeeds(bootstrap, tmp_path):
    sample = ROOT / "events" / f"{FUNCTION}.json"
    # Nothing but the function itself is needed for this one: no token, no table.
    health = json.loads(sample.read_text())
    health.update(routeKey="GET /healthz", rawPath="/healthz", body=None)
    health["headers"].pop("authorization")
    health["requestContext"]["http"].update(method="GET", path="/healthz")
    healthz = tmp_path / "healthz.json"
    healthz.write_text(json.dumps(health))
    with watch(tmp_path) as port:
        refused, healthy = (
            json.loads(run("cargo", "lambda", "invoke", FUNCTION, "--invoke-address", "127.0.0.1", "--invoke-port",
                           str(port), "--data-file", str(event), seconds=INVOKE_SECONDS))
            for event in (sample, healthz)
        )
    assert (refused["statusCode"], json.loads(refused["body"])["code"]) == (503, "keys_unavailable"), refused
    assert healthy["statusCode"] == 200, healthy


@contextmanager
def watch(tmp_path):
    """`cargo lambda watch` on a free loopback port, stopped with everything it started.

    As `make watch` has it: with the features that the workspace's build has, so that no AWS SDK is compiled a second time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = tmp_path / "function.env"
    settings.write_text("".join(f"{name}={value}\n" for name, value in SETTINGS.items()))
    log_path = tmp_path / "watch.log"
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            ["cargo", "lambda", "watch", "--ignore-changes", "--bin", FUNCTION, "--features", "one-build",
             "--env-file", str(settings),
             "--invoke-address", "127.0.0.1", "--invoke-port", str(port)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            assert process.poll() is None and time.monotonic() < deadline, log_path.read_text()
            time.sleep(0.05)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def listens(port):
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def run(*command, seconds):
    """Runs a command in the project's folder and answers what it wrote to standard output."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
