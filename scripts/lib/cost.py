"""What an environment costs a month, from Terraform plans and infra/prices.json.

usage: cost.py plan PLAN             prints what PLAN costs idle (terraform show -json, or a run of terraform test -json -verbose)
       cost.py tables TEST [--check] COST.md from the sizes' test: the tables between its marks; --check only compares
"""
import json
import math
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "infra/COST.md"
PRICES = json.loads((ROOT / "infra/prices.json").read_text())
HOURS, MINUTES, SECONDS = 730, 730 * 60, 730 * 3600

# services/control-plane polls each of four shards four times a second, a strong read of one unit each; and the secret once a minute.
FEED_READS = 16
# Two a minute: a root over all seals, and the minute's checkpoint. Their record and what sealing reads: estimated.
SEAL_SIGNATURES, SEAL_WRITES, SEAL_READS = 2, 10, 10
# Runs of the schedule's tasks, half a GB for a second each: see infra/modules/rotate/schedules.tf.
RUNS = 730 * (6 + 12 + 5)
PUBLICATIONS = 730 * 6
# Container Insights reports so many metrics of a cluster with one service (CloudWatch, "Amazon ECS Container Insights metrics").
INSIGHTS = 25
# GB of log: a node's line `health` every 30 s, and the rest of an idle environment; and for each renewal three calls and their flow log.
HEALTH_GB, IDLE_GB, RENEWAL_GB = 0.6e-6, 0.2, 2.0e-6

# What a size may cost idle, in dollars.
BUDGETS = {"tiny": 60}

# The loads of the second table: size, tenants, principals, whether each tenant has a CA of its own, connected at once.
LOADS = [("small", 1, 100), ("small", 100, 10_000), ("large", 10_000, 1_000_000)]
# A certificate of 24 h is renewed at half its life. A record of 2 kB is kept for 30 days after, two audit events of 0.6 kB for 400 days.
# An index entry, of which a certificate has two and an event one, is its keys, and 100 bytes that AWS adds.
RENEWALS = HOURS / 12
CERTIFICATE_KB, CERTIFICATE_DAYS, AUDIT_KB, AUDIT_MONTHS, INDEX_KB = 2, 31, 1.2, 400 / 30.4, 0.25


class Plan:
    """A plan's resources that will exist after it."""

    def __init__(self, document: dict):
        changes = [it for it in document["resource_changes"] if it.get("mode") == "managed" and it["change"].get("after")]
        self.resources = [(it["type"], it["address"], it["change"]["after"]) for it in changes]

    def of(self, kind: str, where=lambda it: True) -> list[dict]:
        return [after for found, _, after in self.resources if found == kind and where(after)]

    def named(self, kind: str, name: str) -> int:
        """How many `kind.name` there are, whatever the module and the index."""
        return sum(1 for found, address, _ in self.resources if found == kind and f"{kind}.{name}" in address)

    def nodes(self) -> int:
        return sum(it["min_capacity"] for it in self.of("aws_appautoscaling_target"))


def fargate(plan: Plan) -> float:
    task = plan.of("aws_ecs_task_definition")[0]
    kind = "arm" if task["runtime_platform"][0]["cpu_architecture"] == "ARM64" else "x86"
    hour = int(task["cpu"]) / 1024 * PRICES[f"fargate_{kind}_cpu_hour"] + int(task["memory"]) / 1024 * PRICES[f"fargate_{kind}_gb_hour"]
    return plan.nodes() * hour * HOURS


def addresses(plan: Plan) -> int:
    public = plan.of("aws_ecs_service", lambda it: it["network_configuration"][0]["assign_public_ip"])
    facing = plan.of("aws_lb", lambda it: not it["internal"])
    return (plan.nodes() if public else 0) + (plan.named("aws_subnet", "public") if facing else 0)


def endpoints(plan: Plan) -> int:
    """Network interfaces: one a zone."""
    return len(plan.of("aws_vpc_endpoint", lambda it: it["vpc_endpoint_type"] == "Interface")) * plan.named("aws_subnet", "private")


def alarm_metrics(plan: Plan) -> int:
    return sum(sum(1 for query in it["metric_query"] if query["metric"]) or 1 for it in plan.of("aws_cloudwatch_metric_alarm"))


def metrics(plan: Plan) -> int:
    """Those that report when nothing happens: of the line `health`, and Container Insights."""
    filters = plan.of("aws_cloudwatch_log_metric_filter", lambda it: it.get("pattern") == '{ $.message = "health" }')
    insights = plan.of("aws_ecs_cluster", lambda it: any(setting["value"] == "enabled" for setting in it["setting"]))
    return len({it["metric_transformation"][0]["name"] for it in filters}) + (INSIGHTS if insights else 0)


def web_acl(plan: Plan) -> float:
    return sum(PRICES["web_acl"] + len(it["rule"]) * PRICES["web_acl_rule"] for it in plan.of("aws_wafv2_web_acl"))


def idle(plan: Plan) -> dict[str, float]:
    """Row → dollars a month."""
    keys, nodes = len(plan.of("aws_kms_key")), plan.nodes()
    alarms, reported, dashboards = alarm_metrics(plan), metrics(plan), len(plan.of("aws_cloudwatch_dashboard"))
    log_gb = IDLE_GB + nodes * 2 * MINUTES * HEALTH_GB
    return {
        "load balancer": len(plan.of("aws_lb")) * PRICES["load_balancer_hour"] * HOURS,
        "public addresses": addresses(plan) * PRICES["public_address_hour"] * HOURS,
        "interface endpoints": endpoints(plan) * PRICES["interface_endpoint_hour"] * HOURS,
        "Fargate": fargate(plan),
        "KMS keys": keys * PRICES["kms_key"],
        "KMS signatures of seals": SEAL_SIGNATURES * MINUTES * PRICES["kms_signature"],
        "feed polling": nodes * FEED_READS * SECONDS * PRICES["dynamodb_read_unit"],
        "sealing": MINUTES * (SEAL_WRITES * PRICES["dynamodb_write_unit"] + SEAL_READS * PRICES["dynamodb_read_unit"]),
        "alarms": alarms * PRICES["alarm_metric"],
        "metrics": reported * PRICES["metric"],
        "dashboard": dashboards * PRICES["dashboard"],
        "web ACL": web_acl(plan),
        "logs": log_gb * PRICES["log_gb"],
        "secret": len(plan.of("aws_secretsmanager_secret")) * PRICES["secret"] + nodes * MINUTES * PRICES["secret_request"],
        "scheduled tasks": RUNS * (0.5 * PRICES["lambda_gb_second"] + PRICES["lambda_request"]),
    }


def units() -> dict[str, tuple[int, int]]:
    """Operation → write and read units, from the table that scripts/capacity measures."""
    rows = re.findall(r"^ *\| (join token|enrollment|renewal|revocation) \| \d+ \| (\d+) \| (\d+) \|$", PAGE.read_text(), re.M)
    return {name: (int(write), int(read)) for name, write, read in rows}


def load(plan: Plan, tenants: int, principals: int) -> dict[str, float]:
    renewals = principals * RENEWALS
    write, read = units()["renewal"]
    certificates_gb = principals * 2 * CERTIFICATE_DAYS * CERTIFICATE_KB / 1e6
    audit_gb = renewals * AUDIT_MONTHS * AUDIT_KB / 1e6
    indexes_gb = (principals * 2 * CERTIFICATE_DAYS + renewals * AUDIT_MONTHS) * 2 * INDEX_KB / 1e6
    # A bundle in two forms and a CRL of each CA are asked for at each publication, a CRL is signed daily; each key's policy is read hourly.
    asked, signed, policies = 3 * tenants * PUBLICATIONS, tenants * HOURS / 24, tenants * HOURS
    # One unit carries 100,000 connections; a tenth of the principals is connected.
    balancer = math.floor(principals / 10 / 100_000) * PRICES["load_balancer_unit_hour"] * HOURS
    rows = idle(plan)
    return {
        "CA keys, and the environment's own": rows.pop("KMS keys") + tenants * PRICES["kms_key"],
        "KMS signatures": rows.pop("KMS signatures of seals") + (renewals + signed) * PRICES["kms_signature"],
        "`key-policies`: GetKeyPolicy": policies * PRICES["kms_request"],
        "DynamoDB requests": rows.pop("sealing") + renewals * (write * PRICES["dynamodb_write_unit"] + read * PRICES["dynamodb_read_unit"]),
        "DynamoDB storage and point-in-time recovery": (certificates_gb + audit_gb + indexes_gb) * PRICES["dynamodb_gb"]
        + (certificates_gb + audit_gb) * PRICES["dynamodb_recovery_gb"],
        "feed polling": rows.pop("feed polling"),
        "`publish`: S3, and what it reads": asked * PRICES["s3_get"] + signed * PRICES["s3_put"] + 2 * tenants * PUBLICATIONS * PRICES["dynamodb_read_unit"],
        "Fargate": rows.pop("Fargate"),
        "load balancer": rows.pop("load balancer") + balancer,
        "interface endpoints": rows.pop("interface endpoints"),
        "CloudWatch: alarms, metrics, dashboard": rows.pop("alarms") + rows.pop("metrics") + rows.pop("dashboard"),
        "logs": rows.pop("logs") + renewals * RENEWAL_GB * PRICES["log_gb"],
        "secret, scheduled tasks, web ACL": sum(rows.values()),
    }


def private_ca(tenants: int, certificates: float) -> tuple[float, float]:
    short = (tenants + 1) * PRICES["private_ca_short_lived"] + certificates * PRICES["private_ca_short_lived_certificate"]
    general, left = (tenants + 1) * PRICES["private_ca_general"], certificates
    for count, price in PRICES["private_ca_general_certificate"]:
        general += min(left, count or left) * price
        left -= min(left, count or left)
    return short, general


def dollars(value: float) -> str:
    """Rounded as such numbers are known: to a dollar, from 1,000 on to three digits."""
    digits = max(0, len(str(int(value))) - 3)
    return f"{round(value / 10**digits) * 10**digits:,}" if value >= 0.5 else ("0" if value == 0 else f"{value:.1f}")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def idle_table(plans: dict[str, Plan]) -> str:
    costs = {size: idle(plan) for size, plan in plans.items()}
    rows = [[row, *(dollars(costs[size][row]) for size in plans)] for row in costs["tiny"]]
    facts = {
        "nodes": lambda plan: f"{plan.nodes()} × {int(plan.of('aws_ecs_task_definition')[0]['cpu']) / 1024:g} vCPU, {int(plan.of('aws_ecs_task_definition')[0]['memory']) / 1024:g} GB",
        "zones": lambda plan: str(plan.named("aws_subnet", "private") or plan.named("aws_subnet", "public")),
        "alarms, on metrics": lambda plan: f"{len(plan.of('aws_cloudwatch_metric_alarm'))}, {alarm_metrics(plan)}",
    }
    head = [[fact, *(of(plan) for plan in plans.values())] for fact, of in facts.items()]
    total = [["**idle**", *(f"**{dollars(sum(costs[size].values()))}**" for size in plans)]]
    return table(["", *(f"`{size}`" for size in plans)], head + rows + total)


def load_table(plans: dict[str, Plan]) -> str:
    costs = [load(plans[size], tenants, principals) for size, tenants, principals in LOADS]
    head = ["", *(f"{tenants:,} tenant{'s'[:tenants - 1]}, {principals:,} principals, `{size}`" for size, tenants, principals in LOADS)]
    renewals = [principals * RENEWALS for _, _, principals in LOADS]
    rows = [
        ["certificates a month (24 h, renewed at half life)", *(dollars(it) for it in renewals)],
        ["signatures a second, mean", *(f"{it / SECONDS:.2g}" for it in renewals)],
        *([row, *(dollars(cost[row]) for cost in costs)] for row in costs[0]),
        ["**Signet**", *(f"**{dollars(sum(cost.values()))}**" for cost in costs)],
    ]
    own_keys = [tenants * (PRICES["kms_key"] + HOURS * PRICES["kms_request"]) for _, tenants, _ in LOADS]
    rows.append(["with one shared CA for all tenants", *(dollars(sum(cost.values()) - keys) for cost, keys in zip(costs, own_keys))])
    events = [it + tenants * HOURS for it, (_, tenants, _) in zip(renewals, LOADS)]
    rows.append(["if the account has a second trail of management events, more", *(dollars(it * PRICES["second_trail_event"]) for it in events)])
    rows.append(["if GuardDuty is on, more", *(dollars(it * PRICES["guardduty_event"]) for it in events)])
    peers = [private_ca(tenants, it) for it, (_, tenants, _) in zip(renewals, LOADS)]
    rows.append(["AWS Private CA, short-lived mode, one CA a tenant", *(dollars(short) for short, _ in peers)])
    rows.append(["AWS Private CA, general purpose, one CA a tenant", *(dollars(general) for _, general in peers)])
    return table(head, rows)


def runs(path: str) -> dict[str, Plan]:
    lines = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
    return {line["@testrun"]: Plan(line["test_plan"]) for line in lines if "test_plan" in line}


def tables(path: str, check: bool) -> int:
    plans = runs(path)
    for size, budget in BUDGETS.items():
        assert sum(idle(plans[size]).values()) <= budget, f"{size} costs more than {budget} dollars idle"
    text = wanted = PAGE.read_text()
    for name, content in (("idle", idle_table(plans)), ("load", load_table(plans))):
        wanted, found = re.subn(rf"(<!-- scripts/cost: {name} -->\n\n).*?(\n\n<!-- end -->)", lambda marks: marks[1] + content + marks[2], wanted, flags=re.S)
        assert found == 1, f"infra/COST.md has no mark {name}"
    if text == wanted:
        return 0
    if check:
        print("infra/COST.md differs from the plans and infra/prices.json: run scripts/cost", file=sys.stderr)
        return 1
    PAGE.write_text(wanted)
    print("infra/COST.md: written", file=sys.stderr)
    return 0


def main(arguments: list[str]) -> int:
    match arguments:
        case ["plan", path]:
            rows = idle(Plan(json.loads(pathlib.Path(path).read_text())))
            print(table([f"idle, list prices of {PRICES['region']}, {PRICES['date']}", "USD a month"], [[row, dollars(cost)] for row, cost in rows.items() if cost]))
            print(f"\ntotal: {dollars(sum(rows.values()))}")
            return 0
        case ["tables", path, *rest]:
            return tables(path, rest == ["--check"])
    print(__doc__, file=sys.stderr)
    return 2


sys.exit(main(sys.argv[1:]))
