#!/usr/bin/env bash
# Starts the service as an app of Home Assistant: each option becomes the variable of its name, and broker, user and
# password come from the supervisor's MQTT service, unless the options name a broker.
#
# OPTIONS_FILE and SUPERVISOR_URL are for tests; the supervisor sets neither.
set -euo pipefail

options=${OPTIONS_FILE:-/data/options.json}
supervisor=${SUPERVISOR_URL:-http://supervisor}

fail() {
  printf 'zigate-ota: %s\n' "$*" >&2
  exit 1
}

# Values are quoted by jq for the shell, whatever is in them.
variables=$(jq -r '
  to_entries[]
  | select(.value != null and .value != "" and .value != [])
  | "export ZIGATE_OTA_\(.key | ascii_upcase)=\(.value | if type == "array" then join(",") else tostring end | @sh)"
' "$options") || fail "the options in $options cannot be read"
eval "$variables"

if [[ -z ${ZIGATE_OTA_MQTT_URL:-} ]]; then
  # The token goes in by the configuration on standard input, where no list of processes shows it.
  answer=$(printf 'header = "Authorization: Bearer %s"\n' "${SUPERVISOR_TOKEN:-}" |
    curl --silent --show-error --config - --retry 5 --retry-connrefused --max-time 30 "$supervisor/services/mqtt") ||
    fail "the supervisor does not answer; start the app again"
  service=$(jq -e '.data | select(.host)' <<<"$answer" 2>/dev/null) ||
    fail "there is no MQTT broker: install the app Mosquitto broker and set it up as integration, or set mqtt_url in the options ($(
      jq -r '.message // "the supervisor gave no reason"' <<<"$answer" 2>/dev/null || printf 'no JSON'
    ))"
  ZIGATE_OTA_MQTT_URL=$(jq -r '"\(if .ssl then "ssl" else "tcp" end)://\(.host):\(.port // 1883)"' <<<"$service")
  ZIGATE_OTA_MQTT_USERNAME=$(jq -r '.username // ""' <<<"$service")
  ZIGATE_OTA_MQTT_PASSWORD=$(jq -r '.password // ""' <<<"$service")
  export ZIGATE_OTA_MQTT_URL ZIGATE_OTA_MQTT_USERNAME ZIGATE_OTA_MQTT_PASSWORD
fi

exec zigate-ota serve
