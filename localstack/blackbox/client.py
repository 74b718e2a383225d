"""A foreign gRPC client, built from our .proto files by grpcio's own compiler, against a running signetd.

usage: client.py PROTO_DIR ADDRESS CREDENTIALS_DIR FOREIGN_TENANT
Exits 0 only if every answer was what the API promises.
"""
import pathlib
import sys
import tempfile

import grpc
import grpc_tools
from grpc_tools import protoc


def compile_protos(proto_dir: pathlib.Path) -> None:
    out = tempfile.mkdtemp()
    google = str(pathlib.Path(grpc_tools.__file__).parent / "_proto")
    files = sorted(str(p.relative_to(proto_dir)) for p in proto_dir.glob("signet/v1/*.proto"))
    command = ["protoc", f"-I{proto_dir}", f"-I{google}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    if protoc.main(command) != 0:
        sys.exit("our .proto files do not compile with grpcio-tools")
    sys.path.insert(0, out)


def expect(code: grpc.StatusCode, reason: bytes, call, request) -> None:
    try:
        call(request, timeout=10)
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
        if error.code() is not code or reason not in details:
            sys.exit(f"expected {code} with {reason!r}, got {error.code()}: {error.details()} {details!r}")
        print(f"  {code.name}, ErrorInfo reason {reason.decode()}: {error.details()}")
        return
    sys.exit(f"expected {code}, but the call succeeded")


def main() -> None:
    proto_dir, address, credentials_dir, foreign = sys.argv[1:]
    compile_protos(pathlib.Path(proto_dir))
    from signet.v1 import certificates_pb2, certificates_pb2_grpc, principals_pb2, principals_pb2_grpc, trust_pb2, trust_pb2_grpc

    folder = pathlib.Path(credentials_dir)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=(folder / "ca.pem").read_bytes(),
        private_key=(folder / "key.pem").read_bytes(),
        certificate_chain=(folder / "cert.pem").read_bytes(),
    )
    with grpc.secure_channel(address, credentials) as channel:
        principals = principals_pb2_grpc.PrincipalServiceStub(channel)
        me = principals.WhoAmI(principals_pb2.WhoAmIRequest(), timeout=10)
        print(f"  we are {me.spiffe_id}, until {me.not_after.ToJsonString()}")
        own = principals.GetPrincipal(principals_pb2.GetPrincipalRequest(), timeout=10)
        if own.principal_id != me.principal_id or own.status != principals_pb2.PRINCIPAL_STATUS_ACTIVE:
            sys.exit(f"GetPrincipal answered {own}")
        bundle = trust_pb2_grpc.TrustServiceStub(channel).GetTrustBundle(trust_pb2.GetTrustBundleRequest(), timeout=10)
        if not bundle.anchor_der or not bundle.root_der:
            sys.exit("the trust bundle is empty")
        denied = grpc.StatusCode.PERMISSION_DENIED
        expect(denied, b"CALLER_TYPE_DENIED", principals.ListPrincipals, principals_pb2.ListPrincipalsRequest())
        request = principals_pb2.GetPrincipalRequest(tenant_id=foreign, principal_id=me.principal_id)
        expect(grpc.StatusCode.NOT_FOUND, b"NOT_FOUND", principals.GetPrincipal, request)
        renew = certificates_pb2_grpc.CertificateServiceStub(channel).RenewCertificate
        request = certificates_pb2.RenewCertificateRequest(csr_der=b"\0" * 1000, request_id="r-1")
        expect(grpc.StatusCode.INVALID_ARGUMENT, b"csr_der", renew, request)


if __name__ == "__main__":
    main()
