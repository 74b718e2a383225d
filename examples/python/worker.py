"""A worker that calls the control plane every few seconds, and goes on with each new certificate without a restart.

Standard output: a line for each call. Exit codes: 0 told to stop, 1 other, 2 usage, 4 refused, 6 unavailable (--once).
"""
import argparse
import logging
import pathlib
import signal
import sys
import time

from identity import Identity, SignetError, Unavailable, log, principals_grpc, principals_pb2


def who_am_i(identity: Identity) -> None:
    stub = principals_grpc.PrincipalServiceStub(identity.channel)
    me = identity.call(stub.WhoAmI, principals_pb2.WhoAmIRequest())
    print(f"called spiffe_id={me.spiffe_id} serial={me.serial_number}", flush=True)


def work(identity: Identity, every: float, once: bool, renew: bool) -> None:
    identity.open()
    if renew:
        identity.renew()
    while True:
        try:
            identity.keep()
            who_am_i(identity)
        except Unavailable as error:
            if once:
                raise
            log.warning("%s; going on", error)
        if once:
            return
        time.sleep(every)


def main() -> int:
    arguments, path = argparse.ArgumentParser(description=__doc__), pathlib.Path
    arguments.add_argument("--server", required=True, help="https://host:port of the control plane")
    arguments.add_argument("--anchors", required=True, type=path, help="its anchors, PEM, from an operator")
    arguments.add_argument("--folder", required=True, type=path, help="where key and certificate are kept")
    arguments.add_argument("--token-file", type=path, help="a join token, for the first certificate")
    arguments.add_argument("--every", type=float, default=5, help="seconds between two calls")
    arguments.add_argument("--once", action="store_true", help="one call, then end")
    arguments.add_argument("--renew", action="store_true", help="renew at once, too")
    given = arguments.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        identity = Identity(given.server, given.anchors, given.folder, given.token_file)
        work(identity, given.every, given.once, given.renew)
    except SignetError as error:
        log.error("%s", error)
        return error.exit_code
    except OSError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
