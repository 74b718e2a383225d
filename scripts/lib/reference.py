"""Pages of the book that are made from what they describe: commands' own help, sample configurations, the API's .proto and OpenAPI files, metrics.

Each function returns pages; of several, the first is their parent.
"""
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]


class Page(NamedTuple):
    path: str
    title: str
    text: str


# Commands


def help_of(binary: Path, words: tuple[str, ...]) -> str:
    asked = subprocess.run([binary, *words, "--help"], capture_output=True, text=True, check=True, timeout=60)
    # Its values are those of this machine.
    return re.sub(r"(\[env: \w+=).*\]", r"\1]", "\n".join(line.rstrip() for line in asked.stdout.splitlines()))


def subcommands(text: str) -> list[str]:
    listed = re.search(r"^Commands:\n((?:  .*\n|\n)+)", text + "\n", re.M)
    return [name for name in re.findall(r"^  (\S+)", listed[1] if listed else "", re.M) if name != "help"]


def tree(binary: Path) -> dict[tuple[str, ...], str]:
    """The help of each command, in the order of their parents' lists."""
    found = {(): help_of(binary, ())}
    level = [()]
    with ThreadPoolExecutor(4) as pool:
        while level:
            level = [(*words, name) for words in level for name in subcommands(found[words])]
            found.update(zip(level, pool.map(lambda words: help_of(binary, words), level)))
    return found


def block(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def own_part(text: str) -> str:
    """Without what all commands have."""
    return text.split("\nGlobal options:")[0]


def principal(binaries: Path) -> list[Page]:
    found = tree(binaries / "principal")
    groups = [words for words in found if len(words) == 1]
    lists = "".join(f"* [`principal {name}`](principal-{name}.html)\n" for (name,) in groups)
    first = f"# principal\n\nThe command line. Global options are here only; each command has them.\n\n{lists}\n{block(found[()])}"
    pages = [Page("reference/principal.md", "principal", first)]

    def below(words: tuple[str, ...]) -> list[tuple[str, ...]]:
        children = [other for other in found if other[:-1] == words and other]
        return [words, *(deeper for child in children for deeper in below(child))]

    for group in groups:
        parts = [f"{'#' if words == group else '##'} principal {' '.join(words)}\n\n{block(own_part(found[words]))}" for words in below(group)]
        pages.append(Page(f"reference/principal-{group[0]}.md", f"principal {group[0]}", "\n".join(parts)))
    return pages


def program(binaries: Path, name: str, manual: str) -> list[Page]:
    found = tree(binaries / name)
    parts = [f"# {name}\n\n{manual}\n\n{block(found[()])}"]
    parts += [f"## {name} {' '.join(words)}\n\n{block(text)}" for words, text in found.items() if words]
    sample = subprocess.run([binaries / name, "sample"], capture_output=True, text=True, check=True, timeout=60).stdout
    parts.append(f"## Configuration\n\n`{name} sample` prints this file. It documents every key, with its default.\n\n{block(sample, 'toml')}")
    return [Page(f"reference/{name}.md", name, "\n".join(parts))]


# The API


def cell(text: str) -> str:
    """Text for a cell of a table; outside of backticks nothing of it is HTML."""
    text = " ".join(text.split()).replace("|", "\\|")
    return "".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(re.split(r"(`[^`]*`)", text)))


def table(head: list[str], rows: list[list[str]]) -> str:
    return "".join("| " + " | ".join(cells) + " |\n" for cells in [head, ["---"] * len(head), *rows])


class Proto:
    """One .proto file, with its comments."""

    def __init__(self, file: dict) -> None:
        self.file = file
        self.name = Path(file["name"]).stem
        places = file["sourceCodeInfo"]["location"]
        self.comments = {tuple(place.get("path", [])): place.get("leadingComments", "") + place.get("trailingComments", "") for place in places}
        self.head = "".join(next((place.get("leadingComments", "") for place in places if place.get("path") == [2]), ""))

    def comment(self, *path: int) -> str:
        return cell(self.comments.get(path, ""))


def descriptors(image: Path) -> list[Proto]:
    files = json.loads(image.read_text())["file"]
    return [Proto(file) for file in files if file.get("package") == "signet.v1"]


def homes(protos: list[Proto]) -> dict[str, str]:
    """Where each type is described."""
    found = {}
    for proto in protos:
        for kind in proto.file.get("messageType", []) + proto.file.get("enumType", []):
            found[f".signet.v1.{kind['name']}"] = f"api-{proto.name}.html#{kind['name'].lower()}"
    return found


def linked(name: str, where: dict[str, str]) -> str:
    short = name.split(".")[-1]
    return f"[`{short}`]({where[name]})" if name in where else f"`{short}`"


def type_of(field: dict, message: dict, where: dict[str, str]) -> str:
    nested = {f".signet.v1.{message['name']}.{one['name']}": one for one in message.get("nestedType", [])}
    if (entry := nested.get(field.get("typeName", ""))) and entry.get("options", {}).get("mapEntry"):
        return "map of " + " to ".join(type_of(part, entry, where) for part in entry["field"])
    plain = linked(field["typeName"], where) if "typeName" in field else f"`{field['type'].removeprefix('TYPE_').lower()}`"
    return ("repeated " if field.get("label") == "LABEL_REPEATED" else "") + plain


def message_of(proto: Proto, message: dict, path: tuple[int, ...], where: dict[str, str], depth: int = 3) -> str:
    parts = [f"{'#' * depth} {message['name']}\n\n{proto.comment(*path)}\n"]
    oneofs = [one["name"] for one in message.get("oneofDecl", [])]
    rows = []
    for number, field in enumerate(message.get("field", [])):
        of = f" (one of `{oneofs[field['oneofIndex']]}`)" if "oneofIndex" in field and not field.get("proto3Optional") else ""
        rows.append([f"`{field['name']}`", type_of(field, message, where) + of, proto.comment(*path, 2, number)])
    parts.append(table(["field", "type", ""], rows) if rows else "No fields.\n")
    for number, nested in enumerate(message.get("nestedType", [])):
        if not nested.get("options", {}).get("mapEntry"):
            parts.append(message_of(proto, nested, (*path, 3, number), where, depth + 1))
    for number, nested in enumerate(message.get("enumType", [])):
        parts.append(enum_of(proto, nested, (*path, 4, number), depth + 1))
    return "\n".join(parts)


def enum_of(proto: Proto, enum: dict, path: tuple[int, ...], depth: int = 3) -> str:
    rows = [[f"`{value['name']}`", str(value.get("number", 0)), proto.comment(*path, 2, number)] for number, value in enumerate(enum["value"])]
    return f"{'#' * depth} {enum['name']}\n\n{proto.comment(*path)}\n\n" + table(["value", "number", ""], rows)


def callers_of(method: dict) -> tuple[str, str, str]:
    rule = method["options"]["[signet.v1.authorization]"]
    callers = ", ".join(caller.removeprefix("CALLER_").lower() for caller in rule["callers"])
    return rule["permission"], callers, "yes" if rule.get("mutates") else ""


def service_of(proto: Proto, service: dict, index: int, where: dict[str, str]) -> str:
    parts = [f"## {service['name']}\n\n{proto.comment(6, index)}\n"]
    for number, method in enumerate(service["method"]):
        permission, callers, mutates = callers_of(method)
        stream = "stream of " if method.get("serverStreaming") else ""
        parts.append(
            f"### {method['name']}\n\n{proto.comment(6, index, 2, number)}\n\n"
            f"{linked(method['inputType'], where)} → {stream}{linked(method['outputType'], where)}. Permission `{permission}`; "
            f"callers: {callers}.{' Changes state.' if mutates else ''}\n"
        )
    return "\n".join(parts)


def grpc(image: Path) -> list[Page]:
    protos = descriptors(image)
    where = homes(protos)
    rows = [
        [f"[`{method['name']}`](api-{proto.name}.html#{method['name'].lower()})", f"`{permission}`", callers, mutates]
        for proto in protos
        for service in proto.file.get("service", [])
        for method in service["method"]
        for permission, callers, mutates in [callers_of(method)]
    ]
    text = "Package `signet.v1`. A call needs a caller of one of these types who has the permission: [who may do what](repository:AUTHORIZATION.md).\n\n"
    pages = [Page("reference/api.md", "gRPC API", f"# gRPC API\n\n{text}" + table(["method", "permission", "callers", "changes state"], rows))]
    for proto in protos:
        parts = [f"# {proto.name}.proto\n\n{cell(proto.head)}\n"]
        parts += [service_of(proto, service, index, where) for index, service in enumerate(proto.file.get("service", []))]
        kinds = [enum_of(proto, enum, (5, index)) for index, enum in enumerate(proto.file.get("enumType", []))]
        kinds += [message_of(proto, message, (4, index), where) for index, message in enumerate(proto.file.get("messageType", []))]
        pages.append(Page(f"reference/api-{proto.name}.md", f"{proto.name}.proto", "\n".join([*parts, "## Messages\n", *kinds])))
    return pages


def resolve(node: dict, document: dict) -> tuple[dict, str]:
    """What a $ref names, and its name."""
    if "$ref" not in node:
        return node, ""
    path = node["$ref"].removeprefix("#/").split("/")
    for key in path:
        document = document[key]
    return document, path[-1]


def schema_name(schema: dict, document: dict) -> str:
    found, name = resolve(schema, document)
    if name:
        return f"[`{name}`](#{name.lower()})"
    if "oneOf" in found:
        return " or ".join(schema_name(one, document) for one in found["oneOf"])
    if "const" in found:
        return f"`{found['const']}`"
    if found.get("type") == "array":
        return "array of " + schema_name(found.get("items", {}), document)
    return str(found.get("type", "any"))


def members(schema: dict, document: dict) -> str:
    schema, _ = resolve(schema, document)
    if "properties" not in schema:
        return ""
    required = schema.get("required", [])
    rows = []
    for name, member in schema["properties"].items():
        found, _ = resolve(member, document)
        rows.append([f"`{name}`" + (" (required)" if name in required else ""), schema_name(member, document), cell(found.get("description", ""))])
    return table(["member", "type", ""], rows) + "\n"


def operation(path: str, verb: str, found: dict, document: dict) -> str:
    parts = [f"## {verb.upper()} `{path}`\n\n{found['summary']}.\n\n{found.get('description', '')}\n"]
    for parameter in found.get("parameters", []):
        parameter, _ = resolve(parameter, document)
        parts.append(f"* `{parameter['name']}` in the {parameter['in']}: {cell(parameter.get('description', schema_name(parameter['schema'], document)))}\n")
    for kind, content in found.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        parts.append(f"Body, `{kind}`: {schema_name(schema, document)}\n\n{'' if '$ref' in schema else members(schema, document)}")
    rows = []
    for status, answer in found["responses"].items():
        answer, _ = resolve(answer, document)
        kinds = ", ".join(f"`{kind}` {schema_name(content.get('schema', {}), document)}" for kind, content in answer.get("content", {}).items())
        rows.append([str(status), cell(answer["description"]), kinds])
    parts.append(table(["status", "meaning", "body"], rows))
    for status, answer in found["responses"].items():
        for content in resolve(answer, document)[0].get("content", {}).values() if str(status) == "200" else []:
            if "$ref" not in content.get("schema", {}) and (answered := members(content["schema"], document)):
                parts.append(f"Members of the answer:\n\n{answered}")
    return "\n".join(parts)


def http(name: str) -> list[Page]:
    document = yaml.safe_load((ROOT / f"proto/openapi/{name}.yaml").read_text())
    title = document["info"]["title"]
    source = f"Machines read [the OpenAPI document](repository:proto/openapi/{name}.yaml)."
    parts = [f"# {title}\n\n{document['info']['description']}\n{source}\n"]
    for path, found in document["paths"].items():
        parts += [operation(path, verb, found[verb], document) for verb in ("get", "post", "put", "delete") if verb in found]
    schemas = document.get("components", {}).get("schemas", {})
    if schemas:
        parts.append("## Schemas\n")
    for schema, found in schemas.items():
        what = cell(found.get("description", "")) or ("" if "properties" in found else schema_name(found, document))
        parts.append(f"### {schema}\n\n{what}\n\n{members(found, document)}")
    return [Page(f"reference/http-{name}.md", title, "\n".join(parts))]


# Metrics


def metrics_in(sources: list[str], prefix: str) -> dict[str, str]:
    """Name → help. Each program has its metrics in tables, and a few by a line of `# HELP`, with the name in it or in a variable."""
    text = re.sub(r"\s+", " ", "".join((ROOT / source).read_text() for source in sources))
    # The tables come first, and code that counts by the same names after them.
    found = {prefix + name: words for name, words in reversed(re.findall(r'\( ?"([a-z_]+)", (?:"[a-z]+", )?"([^"]+)"', text))}
    named = dict(re.findall(r'let (\w+) = "(signet_\w+)"', text))
    for variables, names in re.findall(r'let \(([a-z, ]+)\) = \(("signet_[^)]+)\)', text):
        named |= zip(variables.split(", "), re.findall(r"\w+", names))
    for name, words in re.findall(r"# HELP \{?(\w+)\}? ([^\\\"{]+)", text):
        found[named.get(name, name)] = words
    return {name: words for name, words in found.items() if name.startswith("signet_")}


def metrics() -> list[Page]:
    parts = ["# Metrics\n\nEach program serves them at `/metrics` of its private listener, for Prometheus. [Rules, alerts and a dashboard](repository:infra/monitoring/README.md).\n"]
    names = set()
    for name, sources, prefix in [
        ("signetd", ["services/control-plane/src/metrics.rs"], ""),
        ("signet-agent", ["services/agent/src/metrics.rs"], "signet_agent_"),
        ("signet-gateway", ["services/gateway/src/metrics.rs", "services/gateway/src/private.rs"], "signet_gateway_"),
    ]:
        found = metrics_in(sources, prefix)
        names |= found.keys()
        parts.append(f"## {name}\n\n" + table(["metric", "what"], [[f"`{one}`", cell(found[one])] for one in sorted(found)]))
    asked = {word for file in ("signet.rules.yaml", "dashboard.json") for word in re.findall(r"\bsignet_[a-z_]+", (ROOT / "infra/monitoring" / file).read_text())}
    missing = {word for word in asked if re.sub(r"_(bucket|sum|count)$", "", word) not in names}
    assert not missing, f"infra/monitoring asks for metrics that the book does not find in the sources: {sorted(missing)}"
    return [Page("reference/metrics.md", "Metrics", "\n".join(parts))]


def pages(binaries: Path, image: Path) -> dict[str, list[Page]]:
    """By the title of the chapter in docs/SUMMARY.md that has no file."""
    manuals = {
        "signetd": "The control plane. [How its host is hardened](repository:scripts/harden/README.md); [what to do when something is wrong](repository:runbooks/README.md).",
        "signet-agent": "[What it does, and recipes](repository:services/agent/README.md).",
        "signet-gateway": "[What it does with a request](repository:services/gateway/README.md).",
    }
    made = {"principal": principal(binaries), "gRPC API": grpc(image), "Metrics": metrics()}
    made |= {name: program(binaries, name, manual) for name, manual in manuals.items()}
    made |= {title: http(name) for title, name in {"HTTP: enrollment": "enrollment", "HTTP: OAuth": "oauth", "HTTP: AuthZEN": "authzen", "HTTP: security events": "security-events"}.items()}
    return made
