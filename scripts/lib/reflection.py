"""gRPC reflection of a running signetd, by grpcio's client: both versions for an admin, none for others.

usage: reflection.py ADDRESS ANCHORS ADMIN_CERT ADMIN_KEY OTHER_PEM
"""
import pathlib
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

# The messages of both versions are the same, and so is their encoding.
SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def services(channel: grpc.Channel, reflection: str) -> list[str]:
    call = channel.stream_stream(
        f"/{reflection}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    answers = call(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10)
    return sorted(service.name for service in next(answers).list_services_response.service)


def refusal(channel: grpc.Channel, reflection: str) -> str:
    try:
        found = services(channel, reflection)
    except grpc.RpcError as error:
        return error.code().name
    sys.exit(f"{reflection} is open to others than admins: {found}")


def main() -> None:
    address, *files = sys.argv[1:]
    anchors, certificate, key, other = (pathlib.Path(name).read_bytes() for name in files)
    admin = grpc.secure_channel(address, grpc.ssl_channel_credentials(anchors, key, certificate))
    worker = grpc.secure_channel(address, grpc.ssl_channel_credentials(anchors, other, other))
    stranger = grpc.secure_channel(address, grpc.ssl_channel_credentials(anchors))
    for reflection in SERVICES:
        found = services(admin, reflection)
        if "signet.v1.CertificateService" not in found or not set(SERVICES) <= set(found):
            sys.exit(f"{reflection} does not list all services: {found}")
        print(f"{reflection}: {len(found)} services; a worker: {refusal(worker, reflection)}, no certificate: {refusal(stranger, reflection)}")
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(admin))
    method = pool.FindServiceByName("signet.v1.CertificateService").FindMethodByName("RenewCertificate")
    print(f"grpcio's descriptor database: {method.full_name}({method.input_type.name}) returns {method.output_type.name}")


if __name__ == "__main__":
    main()
