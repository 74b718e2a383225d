"""Measures how long a Lambda takes from its start to its first request for work, as AWS counts the init phase.

usage: lambda_init.py BOOTSTRAP [RUNS]   with the function's variables in the environment

A stand-in for the Lambda runtime API answers on a free port of 127.0.0.1 and never has work. Prints the median in milliseconds
and the resident memory in MB at that moment.
"""
import os
import statistics
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


class Reached(Exception):
    """The program asked for work."""


class RuntimeApi(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        raise Reached

    def do_POST(self) -> None:
        sys.exit("it reported an error: " + self.rfile.read(int(self.headers["content-length"])).decode())

    def log_message(self, *_: object) -> None:
        pass


class Server(HTTPServer):
    timeout = 30

    def handle_error(self, *_: object) -> None:
        raise

    def handle_timeout(self) -> None:
        sys.exit("it did not ask for work within 30 seconds")


def resident(process: int) -> float:
    with open(f"/proc/{process}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1000


def measure(bootstrap: str, server: Server) -> tuple[float, float]:
    names = {"AWS_LAMBDA_FUNCTION_NAME": "init", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_FUNCTION_VERSION": "1"}
    place = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}", "AWS_LAMBDA_LOG_GROUP_NAME": "-", "AWS_LAMBDA_LOG_STREAM_NAME": "-"}
    started = time.perf_counter()
    process = subprocess.Popen([bootstrap], env=os.environ | names | place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server.handle_request()
    except Reached:
        return (time.perf_counter() - started) * 1000, resident(process.pid)
    finally:
        process.kill()
        process.wait()
    sys.exit("it asked for something else first")


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    server = Server(("127.0.0.1", 0), RuntimeApi)
    runs = [measure(sys.argv[1], server) for _ in range(int(sys.argv[2]) if len(sys.argv) == 3 else 9)]
    milliseconds, megabytes = (statistics.median(column) for column in zip(*runs))
    print(f"{milliseconds:.0f} {megabytes:.1f}")


main()
