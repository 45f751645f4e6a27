#!/usr/bin/env bash
# Kills the broker with SIGKILL while messages of every kind are on their way, again and again, and
# counts what was acknowledged and then lost, came twice or came back. All counts must be zero.
#
#   scripts/kills.sh                                 a hundred rounds
#   PORTCULLIS_KILL_ROUNDS=1000 scripts/kills.sh     as many as wanted
#   PORTCULLIS_KILL_SEED=42 scripts/kills.sh         with the choices of a run that failed
#   scripts/kills.sh mosquitto                       the same with Debian's mosquitto, to compare
#
# The line that begins with the broker's name is the summary. docs/testing.md says what is counted.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-portcullis}" in
portcullis) test=kills::nothing_acknowledged_is_lost_when_the_broker_is_killed ;;
mosquitto) test=kills::what_a_broker_loses_that_saves_every_second_is_seen ;;
*)
    echo "kills.sh: portcullis or mosquitto, not $1" >&2
    exit 2
    ;;
esac
export PORTCULLIS_KILL_ROUNDS="${PORTCULLIS_KILL_ROUNDS:-100}"
exec cargo test --locked --test e2e "$test" -- --exact --include-ignored --nocapture
