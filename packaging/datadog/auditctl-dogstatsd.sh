#!/usr/bin/env bash
# Tells a Datadog agent (DogStatsD, UDP) how the audit trail is. From cron, every minute:
#
#   * * * * *  auditctl  /opt/auditctl/bin/auditctl-dogstatsd.sh --log-dir /var/lib/auditctl/log
#
# Needs bash and jq. Arguments go to `auditctl health`. DOGSTATSD_HOST and DOGSTATSD_PORT
# say where the agent listens (127.0.0.1:8125), AUDIT_TRAIL which auditctl to run.
# One service check (auditctl.health, and one for each component), and gauges.
set -euo pipefail

program=${AUDIT_TRAIL:-/opt/auditctl/bin/auditctl}
host=${DOGSTATSD_HOST:-127.0.0.1}
port=${DOGSTATSD_PORT:-8125}

# Its exit code is a judgement, and the document says the same.
document=$("$program" health --json "$@") || true

# Datadog numbers states as Nagios does. Line breaks and bars would end a message early.
jq -r '
  def code: {"healthy":0,"warning":1,"critical":2,"unknown":3}[.] // 3;
  def clean: gsub("[\\n|]"; " ");
  # The code leads to its row in docs/codes.md, the hint out.
  def told: if .code then "\(.code): \(.message)" + (if .hint then " -> \(.hint)" else "" end) else .message end;
  if .error then
    "_sc|auditctl.health|3|m:\(.error.message | clean)"
  else
    "_sc|auditctl.health|\(.status | code)|m:\([.checks[] | select(.status != "healthy") | told] | join("; ") | clean)",
    (.checks[] | "_sc|auditctl.\(.component)|\(.status | code)|m:\(told | clean)"),
    (.checks[] | .component as $component | .metrics | to_entries[]
      | select(.value | type == "number") | "auditctl.\($component).\(.key):\(.value)|g")
  end
' <<<"$document" | while IFS= read -r line; do
    # A message a datagram; an agent that does not listen is no error of ours.
    printf '%s\n' "$line" >"/dev/udp/$host/$port" || true
done
