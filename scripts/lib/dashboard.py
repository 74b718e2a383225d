"""What infra/monitoring asks of Prometheus, asked of one that watches a real run.

usage: dashboard.py check URL              every metric that a rule or panel names was scraped, with its help; every rule is evaluated
                                           without an error and tested; every panel shows something
       dashboard.py draw URL FILE SECONDS  the panels of that time as a PNG, near to what Grafana shows
"""
import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "infra/monitoring"
RULES = [rule for group in yaml.safe_load((FOLDER / "signet.rules.yaml").read_text())["groups"] for rule in group["rules"]]
PANELS = [panel for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"] if panel["type"] != "row"]


def ask(url: str, path: str, **arguments: object) -> dict:
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}", timeout=20) as answer:
        return json.load(answer)["data"]


def expressions() -> list[str]:
    return [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]


def of_this_run(expression: str, seconds: int = 10) -> str:
    """Grafana's own variable, and hours that this run does not last."""
    return expression.replace("$__rate_interval", f"{seconds}s")


def check(url: str) -> None:
    named = {word for text in expressions() for word in re.findall(r"\bsignet_[a-z_]+", text)}
    helped = {name: entry[0] for name, entry in ask(url, "metadata").items()}
    for name in sorted(named):
        metric = re.sub(r"_(bucket|sum|count)$", "", name)
        assert metric in helped, f"{name} is in infra/monitoring, and no program has it"
    silent = [name for name, entry in helped.items() if name.startswith("signet_") and not entry["help"]]
    assert not silent, f"without a help: {silent}"
    evaluated = [rule for group in ask(url, "rules")["groups"] for rule in group["rules"]]
    assert len(evaluated) == len(RULES)
    bad = [(rule["name"], rule.get("lastError")) for rule in evaluated if rule["health"] != "ok"]
    assert not bad, bad
    firing = [rule["name"] for rule in evaluated if rule.get("state") == "firing"]
    assert not firing, f"these fire in a run where all is well: {firing}"
    tests = (FOLDER / "signet.rules.test.yaml").read_text()
    untested = [rule["alert"] for rule in RULES if "alert" in rule and f'alertname="{rule["alert"]}"' not in tests]
    assert not untested, f"no test in signet.rules.test.yaml: {untested}"
    missing = [rule["annotations"]["runbook"] for rule in RULES if "alert" in rule and not (FOLDER.parents[1] / rule["annotations"]["runbook"]).exists()]
    assert not missing, missing
    for panel in PANELS:
        for target in panel["targets"]:
            found = ask(url, "query", query=of_this_run(target["expr"], 30))["result"]
            assert any(not math.isnan(float(one["value"][1])) for one in found), f"{panel['title']} shows nothing: {target['expr']}"
    print(f"{len(named)} metrics, {len(RULES)} rules, {len(PANELS)} panels: all there")


def legend(template: str, labels: dict) -> str:
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), template)


def draw(url: str, file: Path, seconds: int) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 8, "axes.titlesize": 9, "axes.titleweight": "bold", "axes.spines.top": False, "axes.spines.right": False})
    end = time.time()
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in PANELS)
    figure = plt.figure(figsize=(16, rows * 0.44), dpi=80)
    grid = figure.add_gridspec(rows, 24, hspace=7, wspace=4, left=0.035, right=0.985, top=0.95, bottom=0.05)
    figure.suptitle(f"Signet: infra/monitoring/dashboard.json, {seconds} s of ./scripts/metrics-round", x=0.04, ha="left", weight="bold", size=11)
    for panel in PANELS:
        at = panel["gridPos"]
        axes = figure.add_subplot(grid[at["y"] : at["y"] + at["h"] - (panel["type"] != "stat"), at["x"] : at["x"] + at["w"]])
        axes.set_title(panel["title"], loc="left")
        unit = panel["fieldConfig"]["defaults"]["unit"]
        if panel["type"] == "stat":
            value = float(ask(url, "query", query=of_this_run(panel["targets"][0]["expr"]))["result"][0]["value"][1])
            text = f"{value / 86400:.1f} days" if unit == "s" else f"{value:.0f}"
            axes.text(0.5, 0.4, text, ha="center", va="center", size=17, color="#1f6f43", transform=axes.transAxes)
            axes.axis("off")
            continue
        for target in panel["targets"]:
            query = of_this_run(target["expr"])
            for one in ask(url, "query_range", query=query, start=end - seconds, end=end, step=max(1, seconds // 240))["result"]:
                points = [(float(at_) - end, float(value)) for at_, value in one["values"] if value != "NaN"]
                axes.plot(*zip(*points), linewidth=1.1, label=legend(target["legendFormat"], one["metric"]))
        axes.set_ylim(bottom=0)
        axes.set_title({"s": "s", "reqps": "per second", "cps": "per second"}.get(unit, ""), loc="right", fontsize=7, weight="normal")
        axes.grid(alpha=0.25)
        axes.tick_params(labelbottom=False, length=0)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.02), frameon=False, fontsize=6, ncols=5 if at["w"] == 12 else 3)
    figure.savefig(file)


match sys.argv[1:]:
    case ["check", url]:
        check(url)
    case ["draw", url, file, seconds]:
        draw(url, Path(file), int(seconds))
    case _:
        sys.exit(__doc__)
