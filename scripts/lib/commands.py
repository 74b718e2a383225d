"""The commands of the documents, but for `principal`'s, which services/principal/tests checks: each is one that exists, with options that it has.

usage: commands.py DOCUMENT… (FOLDER-OF-OUR-BINARIES in BIN)

An AWS command goes through the AWS CLI itself up to the request, which is not sent: name, options and parameters are checked against AWS's service
models, what --query picks against the answer's, and that some role of infra/modules/operators (or somebody named below) may do it. Of the
others each option has to be in the command's own help. What stands at a prompt has to be shell, too.
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="eu-central-1", AWS_CONFIG_FILE="/dev/null")
os.environ.pop("AWS_ENDPOINT_URL", None)

import awscli.clidriver  # noqa: E402
import jmespath  # noqa: E402
from botocore import xform_name  # noqa: E402
from botocore.utils import ArgumentGenerator  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
POLICIES = ROOT / "infra/modules/operators/policies.tf"
# The Python package is version 1 of the AWS CLI. What only version 2 has, checked by this list: command → its options.
ONLY_IN_2 = {("logs", "tail"): {"--since", "--follow", "--format", "--filter-pattern", "--log-stream-names", "--log-stream-name-prefix"}}
# This too: how version 2 is told that a payload is plain text, as it always is in version 1.
ONLY_IN_2_OPTION = "--cli-binary-format raw-in-base64-out"
# What is no business of our roles, and whose it is.
OTHERS = {
    "iam:GetRole": "the account's administrator, who creates the foundation",
    "ecr:GetAuthorizationToken": "who pushes images: the account's administrator, or a CI",
    "kms:CreateAlias": "a key administrator (infra/modules/ca-keys)",
    "kms:ListAliases": "Terraform's role (infra/modules/foundation), which destroys",
    "kms:ScheduleKeyDeletion": "Terraform's role (infra/modules/foundation), which destroys",
    "sts:GetCallerIdentity": "everybody: AWS asks for no permission",
    "iam:PutRolePolicy": "who administers the account's IAM: our roles change no role",
    "servicequotas:RequestServiceQuotaIncrease": "who runs the account: it is for all that is in it",
}
# Operation → the action that allows it, where they are not of one name.
ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction", "logs:tail": "logs:FilterLogEvents"}
PREFIXES = {"monitoring": "cloudwatch"}
# What variables and placeholders stand for where an option needs a certain form.
VARIABLES = {"VERSION": "01a20162-dddb-7cee-ae65-9e2b1f73318d", "$batch": '{"signet-prod-principals": [{"PutRequest": {"Item": {"pk": {"S": "acme#crawler-1"}}}}]}'}
OURS = ("signet-agent", "signetd")


class Sent(BaseException):
    """A request that is complete; instead of its sending."""


def lines(text: str) -> Iterator[tuple[str, bool]]:
    """Commands, and whether each stands at a prompt (or in the text)."""
    for line in text.splitlines():
        if line.startswith("$ "):
            yield line[2:].split("  #")[0], True
    for code in text.split("`")[1::2]:
        if "\n" not in code:
            yield code, False


def calls(line: str) -> Iterator[list[str]]:
    """The words of each simple command in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;()<>&")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|;()<>&"):
            if words:
                yield words
            words = []
        elif words or word not in ("do", "while", "then", "if"):
            words.append(VARIABLES.get(word, word))


class Aws:
    def __init__(self) -> None:
        self.driver = awscli.clidriver.create_clidriver()
        self.driver.session.register("before-call", self.sent)
        self.allowed = set(re.findall(r'"([a-z0-9-]+:[A-Za-z]+\*?)"', POLICIES.read_text()))
        self.model = None

    def sent(self, model, **_) -> None:
        self.model = model
        raise Sent

    def check(self, words: list[str]) -> str | None:
        """What is wrong with `aws WORDS…`."""
        command, options = tuple(words[:2]), {word for word in words if word.startswith("--")}
        if not options and command not in ONLY_IN_2:
            names = self.driver.session.get_service_model(command[0]).operation_names
            return None if command[1] in {xform_name(name, "-") for name in names} else "there is no such command"
        if command in ONLY_IN_2:
            unknown = options - ONLY_IN_2[command]
            return f"unknown: {unknown}" if unknown else self.permitted(":".join(command))
        words = shlex.split(shlex.join(words).replace(ONLY_IN_2_OPTION, ""))
        try:
            self.driver.main(words)
            return "the AWS CLI refuses it, see above"
        except SystemExit:
            return "the AWS CLI refuses it, see above"
        except Sent:
            model = self.model
        service = PREFIXES.get(model.service_model.signing_name, model.service_model.signing_name)
        return self.aliases(words, model) or self.query(words, model) or self.permitted(f"{service}:{model.name}")

    @staticmethod
    def aliases(words: list[str], model) -> str | None:
        """KMS takes an alias for a key in some calls only; its documentation says which."""
        for option, member in [("--key-id", "KeyId"), ("--target-key-id", "TargetKeyId")]:
            named = option in words and words[words.index(option) + 1].startswith("alias/")
            if named and "alias name" not in model.input_shape.members[member].documentation:
                return f"{model.name} takes a key's id or ARN, and no alias"
        return None

    @staticmethod
    def query(words: list[str], model) -> str | None:
        if "--query" not in words:
            return None
        query = words[words.index("--query") + 1]
        answer = ArgumentGenerator().generate_skeleton(model.output_shape)
        picked = jmespath.search(query, answer)
        empty = picked is None or picked == [] or (isinstance(picked, list) and None in picked)
        return f"--query {query} picks nothing of {model.name}'s answer: {picked}" if empty else None

    def permitted(self, operation: str) -> str | None:
        action = ACTIONS.get(operation, operation)
        return None if action in self.allowed or action in OTHERS else f"none of our roles may {action}: {POLICIES.relative_to(ROOT)}"


def by_help(words: list[str], program: str) -> str | None:
    """What is wrong with a command whose help names its subcommands and options."""
    terraform = words[0] == "terraform"
    own = [word for word in words[1:] if not word.startswith("-chdir=")]
    sub = [] if not own or own[0].startswith("-") else own[:1]
    asked = subprocess.run([program, *sub, "-help" if terraform else "--help"], capture_output=True, text=True, env=os.environ | {"TF_CLI_CONFIG_FILE": "/dev/null"})
    options = {word.split("=")[0] for word in own if word.startswith("-")}
    unknown = [option for option in options if not re.search(rf"(^|[\s,\[]){re.escape(option)}\b", asked.stdout)]
    return f"unknown: {[*sub, *unknown]}" if asked.returncode or unknown or (terraform and not sub) else None


def problem(words: list[str], aws: Aws) -> str | None:
    if words[0] == "aws":
        return aws.check(words[1:])
    return by_help(words, words[0] if words[0] == "terraform" else os.path.join(os.environ["BIN"], words[0]))


def main() -> None:
    aws, wrong, seen = Aws(), [], dict.fromkeys(("aws", "terraform", *OURS), 0)
    for document in map(pathlib.Path, sys.argv[1:]):
        for line, at_prompt in lines(document.read_text()):
            if at_prompt and subprocess.run(["bash", "-n", "-c", line]).returncode:
                wrong.append(f"{document}: no shell: {line}")
                continue
            if not at_prompt and line.split(" ")[0] not in seen:
                continue
            for words in calls(line):
                words[0] = words[0].split("=$")[-1]
                if words[0] in seen and len(words) > 1:
                    seen[words[0]] += 1
                    found = problem(words, aws)
                    if found:
                        wrong.append(f"{document}: {shlex.join(words)}\n  {found}")
    if min(seen.values()) == 0 or seen["aws"] < 30:
        wrong.append(f"only these were found: {seen}")
    print("\n".join(wrong) or f"commands that exist: {seen}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
