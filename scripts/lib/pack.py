"""Writes archives whose bytes depend on their content alone: fixed times, owners, modes and order.

usage: pack.py zip OUT FILE NAME                        one executable file, as AWS Lambda wants `bootstrap`
       pack.py image OUT BINARY ARCH VERSION CA_BUNDLE  an OCI image layout in a tar (OCI image specification 1.1), for
                                                        `skopeo copy oci-archive:OUT …` and `docker load`
       pack.py unpack IMAGE FOLDER                      the files of such an image
"""
import gzip
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

# What a zip can hold at the earliest; nothing here has a time of its own.
EPOCH = (1980, 1, 1, 0, 0, 0)
# The user that distroless images call nonroot.
USER = 65532
HOME = "var/lib/signet"
OCI_ARCH = {"x86_64": "amd64", "arm64": "arm64"}


def write_zip(out: Path, binary: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = 3  # Unix: the next line is a file mode
    entry.external_attr = 0o100755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(entry, binary.read_bytes(), compresslevel=9)


def add(archive: tarfile.TarFile, name: str, data: bytes | None, mode: int, owner: int = 0) -> None:
    """A file, or a folder if there is no data."""
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
    entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = len(data or b""), mode, owner, owner, 0
    archive.addfile(entry, io.BytesIO(data or b""))


def layer(binary: bytes, ca_bundle: bytes) -> bytes:
    """The whole root: one static binary and the little that it reads."""
    files = {
        "etc/group": b"root:x:0:\nnonroot:x:%d:\n" % USER,
        "etc/nsswitch.conf": b"hosts: files dns\n",
        "etc/passwd": b"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%d:%d:nonroot:/%s:/sbin/nologin\n" % (USER, USER, HOME.encode()),
        "etc/ssl/certs/ca-certificates.crt": ca_bundle,
        "usr/bin/signetd": binary,
    }
    folders = {str(parent) for name in [*files, f"{HOME}/x"] for parent in Path(name).parents} - {"."}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(folders | set(files)):
            data = files.get(name)
            if name == HOME:
                add(archive, name, None, 0o750, USER)
            else:
                add(archive, name, data, 0o755 if data is None or name.startswith("usr/bin/") else 0o644)
    return out.getvalue()


def to_json(value: dict) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def write_image(out: Path, binary: Path, arch: str, version: str, ca_bundle: Path) -> None:
    plain = layer(binary.read_bytes(), ca_bundle.read_bytes())
    packed = gzip.compress(plain, compresslevel=9, mtime=0)
    labels = {
        "org.opencontainers.image.title": "signetd",
        "org.opencontainers.image.description": "Signet's control plane",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    config = to_json({
        "architecture": OCI_ARCH[arch],
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "WorkingDir": f"/{HOME}",
            "Entrypoint": ["/usr/bin/signetd"],
            "ExposedPorts": {"8443/tcp": {}, "8080/tcp": {}, "8081/tcp": {}, "9464/tcp": {}},
            "StopSignal": "SIGTERM",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(plain)]},
    })
    manifest = to_json({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        "annotations": labels,
    })
    reference = descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    reference["annotations"] = {"org.opencontainers.image.ref.name": version}
    reference["platform"] = {"architecture": OCI_ARCH[arch], "os": "linux"}
    blobs = {digest(blob).replace(":", "/"): blob for blob in (config, manifest, packed)}
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as archive:
        add(archive, "oci-layout", to_json({"imageLayoutVersion": "1.0.0"}), 0o644)
        add(archive, "index.json", to_json({"schemaVersion": 2, "manifests": [reference]}), 0o644)
        add(archive, "blobs", None, 0o755)
        add(archive, "blobs/sha256", None, 0o755)
        for name in sorted(blobs):
            add(archive, f"blobs/{name}", blobs[name], 0o644)


def unpack(image: Path, folder: Path) -> None:
    with tarfile.open(image) as archive:
        def blob(reference: dict) -> bytes:
            return archive.extractfile("blobs/" + reference["digest"].replace(":", "/")).read()

        index = json.load(archive.extractfile("index.json"))
        manifest = json.loads(blob(index["manifests"][0]))
        files = io.BytesIO(gzip.decompress(blob(manifest["layers"][0])))
        tarfile.open(fileobj=files).extractall(folder)


def descriptor(media_type: str, blob: bytes) -> dict:
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}


def digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def main() -> None:
    match sys.argv[1:]:
        case ["zip", out, binary, name]:
            write_zip(Path(out), Path(binary), name)
        case ["image", out, binary, arch, version, ca_bundle] if arch in OCI_ARCH:
            write_image(Path(out), Path(binary), arch, version, Path(ca_bundle))
        case ["unpack", image, folder]:
            unpack(Path(image), Path(folder))
        case _:
            sys.exit(__doc__)


main()
