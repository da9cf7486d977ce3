"""Holds docker-compose.yml to what every service in it has to be: pinned, confined, watched, and private to the host."""

import os
import re
import sys

import yaml

path = sys.argv[1]
with open(path, encoding="utf-8") as file:
    compose = yaml.safe_load(file)

mistakes = []


def default(text):
    """Puts in the defaults of ${NAME:-default}; a variable without one is a mistake: nobody has to set anything."""
    if re.search(r"\$\{[A-Z_]+\}|\$\{[A-Z_]+:?\?", text):
        mistakes.append(f"{text}: a variable without a default")
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


for name, service in compose["services"].items():

    def need(holds, what):
        if not holds:
            mistakes.append(f"{name}: {what}")

    need(set(service.get("profiles", [])) & {"demo", "dongle"}, "is in neither profile")
    need("build" in service or re.search(r":v?\d+\.\d+\.\d+$", service["image"]), "has no pinned image")
    need(service.get("read_only") is True, "may write to its root file system")
    need(service.get("cap_drop") == ["ALL"], "keeps capabilities")
    need("no-new-privileges:true" in service.get("security_opt", []), "may gain privileges")
    need(not service.get("privileged") and "cap_add" not in service, "has privileges")
    need(re.match(r"[1-9]\d*:", service.get("user", "")), "runs as root or as a name")
    need(service.get("healthcheck", {}).get("test"), "has no health check")
    need("env_file" not in service, "needs a file that is not in the repository")
    for port in service.get("ports", []):
        need(default(port).startswith("127.0.0.1:"), f"port {port} is open to the network")
    for volume in service.get("volumes", []):
        source, target = default(volume).split(":")[:2]
        if source.startswith("."):
            need(os.path.exists(os.path.join(os.path.dirname(path), source)), f"{source} does not exist")
            need(volume.endswith(":ro"), f"{source} may be written")
        else:
            need(source in compose["volumes"], f"volume {source} is not declared")
        need(target.startswith("/"), f"{target} is not absolute")
    for other in service.get("depends_on", {}):
        profiles = set(compose["services"].get(other, {}).get("profiles", []))
        need(set(service["profiles"]) <= profiles, f"{other} is not there in its profile")
    for value in service.get("environment", {}).values():
        need(isinstance(value, str), f"value {value!r} is no string: quote it")
        default(str(value))

for profile in ("demo", "dongle"):
    services = {n for n, s in compose["services"].items() if profile in s["profiles"]}
    if not {"mosquitto", "prometheus", "grafana"} < services:
        mistakes.append(f"profile {profile} has only {sorted(services)}")

# What "docker compose up" runs without a profile on the command line, and what else the file beside it says.
variables = set(re.findall(r"\$\{([A-Z_]+):-", open(path, encoding="utf-8").read()))
offered, profiles = set(), None
with open(os.path.join(os.path.dirname(path), ".env"), encoding="utf-8") as file:
    for line in file:
        if found := re.match(r"(#?)([A-Z_]+)=(.*)$", line.strip()):
            if found[2] == "COMPOSE_PROFILES":
                profiles = found[3]
            else:
                offered.add(found[2])
                if not found[1]:
                    mistakes.append(f".env sets {found[2]}, which is for the user to set")
if profiles != "demo":
    mistakes.append(f".env does not have the demo run, but {profiles}")
for name in sorted(variables ^ offered):
    mistakes.append(f"{name} stands in only one of .env and {path}")

for mistake in mistakes:
    print(f"{path}: {mistake}")
sys.exit(bool(mistakes))
