"""An identity of Signet in a folder: enrolls, renews when the control plane says so, and has a gRPC channel.

Keys are made here and stay here. One process at a time has the folder: two that renew one certificate look like a
victim and its thief, and the control plane locks out both (CLONE_DETECTED).
"""
import base64
import datetime
import fcntl
import hashlib
import http.client
import json
import logging
import os
import pathlib
import random
import socket
import ssl
import sys
import time
import uuid
from urllib.parse import urlsplit

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# grpcio-tools compiles the .proto files when they are first asked for.
sys.path.insert(0, os.environ.get("SIGNET_PROTO", str(pathlib.Path(__file__).resolve().parents[2] / "proto")))
certificates_pb2, certificates_grpc = grpc.protos_and_services("signet/v1/certificates.proto")
principals_pb2, principals_grpc = grpc.protos_and_services("signet/v1/principals.proto")

SECONDS = 10
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}
log = logging.getLogger("signet")


class SignetError(Exception):
    """A failure; `reason` is one of proto/REASONS.md, or the name of a TLS alert."""

    exit_code = 1

    def __init__(self, reason: str, text: str, retry_after: float = 0):
        super().__init__(f"{reason}: {text}" + (f" (again in {retry_after:.0f} s)" if retry_after else ""))
        self.reason, self.retry_after = reason, retry_after


class Misused(SignetError):
    """Something is missing or in the way on this machine."""

    exit_code = 2


class Refused(SignetError):
    """The control plane said no. Asking again does not help."""

    exit_code = 4


class Untrusted(SignetError):
    """The server is not the one that the anchors are for."""

    exit_code = 4


class Unavailable(SignetError):
    """No answer, or one that says: later."""

    exit_code = 6


class Identity:
    def __init__(self, server: str, anchors: pathlib.Path, folder: pathlib.Path, token_file: pathlib.Path | None):
        url = urlsplit(server)
        self.host, self.port = url.hostname, url.port or 443
        self.folder, self.first_anchors, self.token_file = folder, anchors, token_file
        self.channel: grpc.Channel | None = None
        # How far the control plane's clock is ahead, seconds.
        self.ahead = 0.0

    def open(self) -> None:
        """Takes up what is in the folder, or enrolls."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.lock = open(self.folder / "lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misused("FOLDER_BUSY", f"another process has {self.folder}") from None
        if (self.folder / "identity.pem").exists():
            self._take_up()
        else:
            self._enroll()

    def keep(self) -> bool:
        """What is due for the certificate; call it every few seconds. True: it is a new one now."""
        if self._expired():
            if self._clock() < self.retry_at:
                raise Unavailable("CERTIFICATE_EXPIRED", "the next try to renew it out of band is not due yet")
            return self.renew()
        if not self.confirmed:
            self._confirm()
        if self._clock() >= self.ask_at:
            self._ask()
        return self._clock() >= max(self.due, self.retry_at) and self.renew()

    def call(self, method, request):
        """A call of a generated stub of `channel`, with its failures as errors of this module."""
        try:
            return method(request, timeout=SECONDS)
        except grpc.RpcError as error:
            failure = error
        status = rpc_status.from_call(failure)
        details = list(status.details) if status else []
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in details:
            detail.Unpack(info) or detail.Unpack(retry)
        words = info.reason or failure.code().name, failure.details()
        if failure.code() not in PASSING:
            raise Refused(*words)
        if not details:
            self._look_at_handshake()
        raise Unavailable(*words, retry.retry_delay.ToTimedelta().total_seconds())

    # The first certificate and the next ones.

    def _enroll(self) -> None:
        if not self.token_file:
            raise Misused("NO_TOKEN", f"{self.folder} has no certificate yet: give a join token with --token-file")
        # The file ends with a line feed, which is no part of the token.
        token = self.token_file.read_text().strip()
        purpose = "enroll " + hashlib.sha256(token.encode()).hexdigest()
        key, request_id = self._pending(purpose)
        body = {"request_id": request_id, "proof": {"join_token": token}, "csr_pem": csr(key).decode()}
        self._store(key, self._post("/v1/enroll", body))
        log.info("enrolled serial=%s", self.serial)

    def renew(self) -> bool:
        """At once, whatever the window is."""
        key, request_id = self._pending("renew " + self.serial)
        try:
            if self._expired():
                issued = self._renew_out_of_band(key, request_id)
            else:
                stub = certificates_grpc.CertificateServiceStub(self.channel)
                der = csr(key, serialization.Encoding.DER)
                request = certificates_pb2.RenewCertificateRequest(csr_der=der, request_id=request_id)
                answer = self.call(stub.RenewCertificate, request)
                issued = {"chain_pem": pem(answer.chain_der), "roots_pem": pem(answer.root_der)}
                issued["trust_anchors_pem"] = pem(answer.trust_anchor_der)
        except Unavailable as error:
            self.failures += 1
            self.retry_at = self._clock() + max(error.retry_after, random.uniform(0.5, 1) * min(2**self.failures, 300))
            raise
        before = self.serial
        self._store(key, issued)
        log.info("renewed serial=%s before=%s", self.serial, before)
        return True

    def _renew_out_of_band(self, key, request_id: str) -> dict:
        """No handshake takes an expired certificate, so a signature with its key speaks for us."""
        request, now = csr(key), int(self._clock())
        # The environment's trust domain suffix: the SPIFFE ID's host without the tenant.
        names = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        suffix = urlsplit(names.get_values_for_type(x509.UniformResourceIdentifier)[0]).hostname.split(".", 1)[1]
        request_der = x509.load_pem_x509_csr(request).public_bytes(serialization.Encoding.DER)
        digests = [self.leaf.fingerprint(hashes.SHA256()).hex(), hashlib.sha256(request_der).hexdigest()]
        lines = ["signet-out-of-band-renewal-v1", suffix, *digests, request_id, str(now)]
        signature = self.key.sign("".join(line + "\n" for line in lines).encode(), ec.ECDSA(hashes.SHA256()))
        signed = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        certificate = self.leaf.public_bytes(serialization.Encoding.PEM).decode()
        body = {"request_id": request_id, "certificate_pem": certificate, "csr_pem": request.decode()}
        return self._post("/v1/renew", body | {"sign_time": signed, "signature": base64.b64encode(signature).decode()})

    def _confirm(self) -> None:
        """The certificate before this one will not be used again, so a later use of it is a thief's."""
        request = certificates_pb2.ConfirmCertificateRequest(request_id=str(uuid.uuid4()))
        answer = self.call(certificates_grpc.CertificateServiceStub(self.channel).ConfirmCertificate, request)
        if answer.serial_number != self.serial:
            raise SignetError("WRONG_CERTIFICATE", "the connection still has the certificate before")
        self.confirmed = True

    def _ask(self) -> None:
        """When to renew: an operator may steer that."""
        sent = time.time()
        stub = certificates_grpc.CertificateServiceStub(self.channel)
        info = self.call(stub.GetRenewalInfo, certificates_pb2.GetRenewalInfoRequest())
        self.ahead = info.server_time.ToMilliseconds() / 1000 - (sent + time.time()) / 2
        self.ask_at = self._clock() + info.retry_after_seconds * random.uniform(0.5, 1.5)
        start, end = info.window_start.ToMilliseconds() / 1000, info.window_end.ToMilliseconds() / 1000
        self.due = min(start + (end - start) * self.place, self.ends - self.lifetime / 6)
        self._write("bundle.pem", pem(info.trust_anchor_der))
        reason = certificates_pb2.RenewalReason.Name(info.reason)
        due = datetime.datetime.fromtimestamp(self.due, datetime.timezone.utc)
        log.info("renewal due=%s reason=%s", due.isoformat("T", "seconds"), reason)

    # What is kept.

    def _pending(self, purpose: str):
        """The key and request id for `purpose`, on disk before they are sent: a lost answer is asked for again."""
        path = self.folder / "pending.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        if kept.get("purpose") != purpose:
            key = ec.generate_private_key(ec.SECP256R1())
            kept = {"purpose": purpose, "request_id": str(uuid.uuid4()), "key_pem": key_pem(key)}
            self._write("pending.json", json.dumps(kept))
        return serialization.load_pem_private_key(kept["key_pem"].encode(), None), kept["request_id"]

    def _store(self, key, issued: dict) -> None:
        # Whoever knows the server's own anchors (path length 0) trusts no root, which vouches for tenants, too.
        known = x509.load_pem_x509_certificates(issued["roots_pem"].encode())
        own = [c for c in known if c.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0]
        self._write("anchors.pem", pem(c.public_bytes(serialization.Encoding.DER) for c in own or known))
        self._write("bundle.pem", issued["trust_anchors_pem"])
        # Key and chain are one file, so that one rename replaces both.
        self._write("identity.pem", key_pem(key) + issued["chain_pem"])
        (self.folder / "pending.json").unlink(missing_ok=True)
        self._take_up()

    def _take_up(self) -> None:
        text = (self.folder / "identity.pem").read_bytes()
        self.key = serialization.load_pem_private_key(text, None)
        self.leaf = x509.load_pem_x509_certificates(text)[0]
        self.serial = f"{self.leaf.serial_number:032x}"
        self.ends = self.leaf.not_valid_after_utc.timestamp()
        self.lifetime = self.ends - self.leaf.not_valid_before_utc.timestamp()
        # Its place in any window: at random, and the same one after a restart.
        self.place = int.from_bytes(self.leaf.fingerprint(hashes.SHA256())[:8]) / 2**64
        self.confirmed, self.failures, self.ask_at, self.retry_at = False, 0, 0.0, 0.0
        # Until the control plane has said better.
        self.due = self.ends - self.lifetime / 3
        old = self.channel
        # A TLS session that is resumed still has the old certificate: new credentials have no sessions.
        credentials = grpc.ssl_channel_credentials((self.folder / "anchors.pem").read_bytes(), text, text)
        self.channel = grpc.secure_channel(f"{self.host}:{self.port}", credentials)
        if old:
            old.close()

    def _write(self, name: str, text: str) -> None:
        """Whole or not at all, and for this user only."""
        path, part = self.folder / name, self.folder / (name + ".part")
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    # HTTPS and TLS.

    def _tls(self) -> ssl.SSLContext:
        own = self.folder / "anchors.pem"
        return ssl.create_default_context(cafile=own if own.exists() else self.first_anchors)

    def _post(self, path: str, body: dict) -> dict:
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=SECONDS, context=self._tls())
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        except ssl.SSLCertVerificationError as error:
            raise Untrusted("SERVER_CERTIFICATE_NOT_TRUSTED", error.verify_message) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("UNREACHABLE", f"{self.host}:{self.port}: {error}") from None
        finally:
            connection.close()
        if answer.status == 200:
            return json.loads(text)
        # A gateway in between may answer, too, with no JSON.
        is_ours = answer.getheader("content-type", "").startswith("application/problem+json")
        problem = json.loads(text) if is_ours else {}
        text = f"{problem.get('detail', '')} {problem.get('correlation_id', '')}"
        words = problem.get("reason") or f"HTTP_{answer.status}", text
        if answer.status == 429 or answer.status >= 500:
            raise Unavailable(*words, float(answer.getheader("retry-after", 0)))
        raise Refused(*words)

    def _look_at_handshake(self) -> None:
        """TLS 1.3 refuses a certificate after the client's part of the handshake; gRPC shows a lost connection only."""
        context = self._tls()
        context.load_cert_chain(self.folder / "identity.pem")
        try:
            with socket.create_connection((self.host, self.port), SECONDS) as tcp:
                with context.wrap_socket(tcp, server_hostname=self.host) as tls:
                    tls.sendall(b"HEAD / HTTP/1.1\r\nhost: signet\r\n\r\n")
                    tls.recv(1)
        except ssl.SSLCertVerificationError as error:
            raise Untrusted("SERVER_CERTIFICATE_NOT_TRUSTED", error.verify_message) from None
        except ssl.SSLError as error:
            if "_ALERT_" in error.reason:
                raise Refused(error.reason.split("_ALERT_")[1], "TLS refused our certificate") from None
        except OSError:
            pass

    def _clock(self) -> float:
        return time.time() + self.ahead

    def _expired(self) -> bool:
        return self._clock() >= self.ends


def csr(key, encoding=serialization.Encoding.PEM) -> bytes:
    """Names are the control plane's to give; only the key counts."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(encoding)


def key_pem(key) -> str:
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, *form).decode()


def pem(certificates) -> str:
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in certificates)
