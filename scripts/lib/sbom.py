"""Writes a CycloneDX 1.5 software bill of materials of one of our binaries: every crate that is compiled into it, with its
version, licence and checksum, and the C library, which is linked in.

usage: sbom.py METADATA LOCKFILE PACKAGE GLIBC_VERSION > OUT

Not cargo-cyclonedx: it writes next to each Cargo.toml of the workspace, does not include the C library, and takes
minutes to install.

METADATA is the output of `cargo metadata --filter-platform TARGET`. Without times and random numbers: the same
sources give the same bytes.
"""
import json
import sys
import tomllib
from pathlib import Path


def linked(metadata: dict, root: str) -> dict[str, list[str]]:
    """Package id → ids of what it links, for all that `root` reaches over normal dependencies."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found: dict[str, list[str]] = {}
    waiting = [root]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        normal = [dep["pkg"] for dep in nodes[package]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
        found[package] = [dep for dep in normal if not is_macro(metadata, dep)]
        waiting.extend(found[package])
    return found


def is_macro(metadata: dict, package: str) -> bool:
    """Procedural macros run in the compiler; nothing of them is in the binary."""
    targets = next(p["targets"] for p in metadata["packages"] if p["id"] == package)
    return any("proc-macro" in target["kind"] for target in targets)


def component(package: dict, checksums: dict[tuple[str, str], str]) -> dict:
    name, version = package["name"], package["version"]
    entry = {
        "type": "library",
        "bom-ref": reference(package),
        "name": name,
        "version": version,
        "licenses": [{"expression": " OR ".join(part.strip() for part in package["license"].split("/"))}],
        "purl": f"pkg:cargo/{name}@{version}",
    }
    if checksum := checksums.get((name, version)):
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def reference(package: dict) -> str:
    return f"cargo:{package['name']}@{package['version']}"


def glibc(version: str) -> dict:
    return {
        "type": "library",
        "bom-ref": f"glibc@{version}",
        "name": "glibc",
        "version": version,
        "licenses": [{"license": {"id": "LGPL-2.1-or-later"}}],
        "purl": f"pkg:generic/glibc@{version}",
    }


def main() -> None:
    metadata = json.loads(Path(sys.argv[1]).read_text())
    lock = tomllib.loads(Path(sys.argv[2]).read_text())
    checksums = {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}
    packages = {package["id"]: package for package in metadata["packages"]}
    root = next(p for p in metadata["packages"] if p["name"] == sys.argv[3])
    c_library = glibc(sys.argv[4])
    graph = linked(metadata, root["id"])
    others = [packages[package] for package in graph if package != root["id"]]
    links = {reference(packages[p]): sorted({reference(packages[dep]) for dep in deps}) for p, deps in graph.items()}
    links[reference(root)].append(c_library["bom-ref"])
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**component(root, checksums), "type": "application"}},
        "components": sorted([component(p, checksums) for p in others] + [c_library], key=lambda c: c["bom-ref"]),
        "dependencies": [{"ref": ref, "dependsOn": links[ref]} for ref in sorted(links)],
    }
    json.dump(bom, sys.stdout, indent=1, sort_keys=True)
    print()


main()
