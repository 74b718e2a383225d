"""Writes archives whose bytes depend on their content alone: fixed times, owners, modes and order.

usage: pack.py zip OUT FILE NAME              one executable file, as AWS Lambda wants `bootstrap`
       pack.py tar OUT FOLDER NAME            what is in FOLDER, as folder NAME
       pack.py image OUT NAME ARCH VERSION CA_BUNDLE BINARY… [-- LIBRARY…]
                                              an OCI image layout in a tar (OCI image specification 1.1), for
                                              `skopeo copy oci-archive:OUT …`; NAME is one of IMAGES below. The first BINARY
                                              is what it runs. LIBRARY: what binaries that are not static load
       pack.py unpack IMAGE FOLDER            the files of such an image
       pack.py config IMAGE                   its environment and what it runs, a line of shell words each
"""
import gzip
import hashlib
import io
import json
import os
import shlex
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

# What a zip can hold at the earliest; nothing here has a time of its own.
EPOCH = (1980, 1, 1, 0, 0, 0)
# The user that distroless images call nonroot.
USER = 65532
OCI_ARCH = {"x86_64": "amd64", "arm64": "arm64"}
# 1 where it shall be quick.
LEVEL = int(os.environ.get("PACK_LEVEL", "9"))


class Image(NamedTuple):
    """What an image is for, and its only folder that its user may write."""

    description: str
    home: str
    ports: tuple[int, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ("PATH=/usr/bin",)


PORTS = (8443, 8080, 8081, 9464)
IMAGES = {
    "signetd": Image("Signet's control plane", "var/lib/signet", PORTS),
    "signet": Image(
        "Signet's control plane with its command line, for one host or a cluster without AWS",
        "var/lib/signet",
        PORTS,
        environment=("PATH=/usr/bin", "SIGNET_HOME=/var/lib/signet/contexts"),
    ),
    "signet-agent": Image(
        "Renews certificates, and delivers them as files or by SPIFFE's Workload API", "var/lib/signet-agent", command=("run",)
    ),
}


def write_zip(out: Path, binary: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = 3  # Unix: the next line is a file mode
    entry.external_attr = 0o100755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(entry, binary.read_bytes(), compresslevel=LEVEL)


def add(archive: tarfile.TarFile, name: str, data: bytes | None, mode: int, owner: int = 0) -> None:
    """A file, or a folder if there is no data."""
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
    entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = len(data or b""), mode, owner, owner, 0
    archive.addfile(entry, io.BytesIO(data or b""))


def write_tar(out: Path, folder: Path, name: str) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, name, None, 0o755)
        for path in sorted(folder.rglob("*")):
            data = None if path.is_dir() else path.read_bytes()
            executable = data is None or path.stat().st_mode & 0o100
            add(archive, f"{name}/{path.relative_to(folder)}", data, 0o755 if executable else 0o644)
    out.write_bytes(gzip.compress(plain.getvalue(), compresslevel=LEVEL, mtime=0))


def layer(home: str, ca_bundle: bytes, binaries: list[Path], libraries: list[Path]) -> bytes:
    """The whole root: static binaries and the little that they read."""
    files = {
        "etc/group": b"root:x:0:\nnonroot:x:%d:\n" % USER,
        "etc/nsswitch.conf": b"hosts: files dns\n",
        "etc/passwd": b"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%d:%d:nonroot:/%s:/sbin/nologin\n" % (USER, USER, home.encode()),
        "etc/ssl/certs/ca-certificates.crt": ca_bundle,
    }
    executables = {f"usr/bin/{path.name}": path.read_bytes() for path in binaries}
    executables |= {str(path.absolute()).lstrip("/"): path.read_bytes() for path in libraries}
    files |= executables
    folders = {str(parent) for name in [*files, f"{home}/x"] for parent in Path(name).parents} - {"."}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(folders | set(files)):
            data = files.get(name)
            if name == home:
                add(archive, name, None, 0o750, USER)
            else:
                add(archive, name, data, 0o755 if data is None or name in executables else 0o644)
    return out.getvalue()


def to_json(value: dict) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def write_image(out: Path, name: str, arch: str, version: str, ca_bundle: Path, binaries: list[Path], libraries: list[Path]) -> None:
    image = IMAGES[name]
    plain = layer(image.home, ca_bundle.read_bytes(), binaries, libraries)
    packed = gzip.compress(plain, compresslevel=LEVEL, mtime=0)
    labels = {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.description": image.description,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    config = to_json({
        "architecture": OCI_ARCH[arch],
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "WorkingDir": f"/{image.home}",
            "Entrypoint": [f"/usr/bin/{binaries[0].name}"],
            "Cmd": list(image.command),
            "Env": list(image.environment),
            "ExposedPorts": {f"{port}/tcp": {} for port in image.ports},
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


def read_image(image: Path) -> tuple[dict, bytes]:
    """Its configuration, and its only layer."""
    with tarfile.open(image) as archive:

        def blob(reference: dict) -> bytes:
            return archive.extractfile("blobs/" + reference["digest"].replace(":", "/")).read()

        index = json.load(archive.extractfile("index.json"))
        manifest = json.loads(blob(index["manifests"][0]))
        return json.loads(blob(manifest["config"]))["config"], gzip.decompress(blob(manifest["layers"][0]))


def unpack(image: Path, folder: Path) -> None:
    tarfile.open(fileobj=io.BytesIO(read_image(image)[1])).extractall(folder)


def print_config(image: Path) -> None:
    config, _ = read_image(image)
    print(shlex.join(config["Env"]))
    print(shlex.join(config["Entrypoint"] + config["Cmd"]))


def descriptor(media_type: str, blob: bytes) -> dict:
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}


def digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def main() -> None:
    match sys.argv[1:]:
        case ["zip", out, binary, name]:
            write_zip(Path(out), Path(binary), name)
        case ["tar", out, folder, name]:
            write_tar(Path(out), Path(folder), name)
        case ["image", out, name, arch, version, ca_bundle, *files] if name in IMAGES and arch in OCI_ARCH and files:
            end = files.index("--") if "--" in files else len(files)
            binaries, libraries = ([Path(file) for file in part] for part in (files[:end], files[end + 1 :]))
            write_image(Path(out), name, arch, version, Path(ca_bundle), binaries, libraries)
        case ["unpack", image, folder]:
            unpack(Path(image), Path(folder))
        case ["config", image]:
            print_config(Path(image))
        case _:
            sys.exit(__doc__)


main()
