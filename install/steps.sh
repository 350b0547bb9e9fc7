# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Long commands with a sign of life, sourced by quickstart and test.
# Each runs with its output in $logs/NAME.log; a failure shows the end of it.
#   begin NAME TITLE COMMAND...   start it, go on
#   finish NAME                   wait for it; returns its exit code
#   long NAME TITLE COMMAND...    both, and leave the script if it failed

: "${logs:?is the directory of the logs}"
declare -A step_pid step_title step_began

begin() {
    local name=$1 title=$2
    shift 2
    echo "==> $title"
    "$@" </dev/null >"$logs/$name.log" 2>&1 &
    step_pid[$name]=$! step_title[$name]=$title step_began[$name]=$SECONDS
}

finish() {
    local name=$1 code=0 beat=$((SECONDS + 15))
    while kill -0 "${step_pid[$name]}" 2>/dev/null; do
        if ((SECONDS >= beat)); then
            beat=$((SECONDS + 15))
            echo "... ${step_title[$name]}: $((SECONDS - step_began[$name])) s," \
                "$(tail -n 1 "$logs/$name.log" | cut -c -60)"
        fi
        sleep 0.1
    done
    wait "${step_pid[$name]}" || code=$?
    unset "step_pid[$name]"
    if ((code)); then
        echo "failed: ${step_title[$name]}; from $logs/$name.log:" >&2
        # cargo test goes on after a failure, so its end does not tell; nor does
        # that of a part with several runs of pytest.
        grep -E -A 2 "^test .* FAILED|panicked at|^(FAILED|ERROR|E  ) " "$logs/$name.log" |
            cut -c -300 | head -n 60 | sed 's/^/  | /' >&2
        echo "its end:" >&2
        tail -n 20 "$logs/$name.log" | cut -c -300 | sed 's/^/  | /' >&2
    else
        echo "done: ${step_title[$name]} ($((SECONDS - step_began[$name])) s)"
    fi
    return "$code"
}

long() {
    begin "$@"
    finish "$1" || exit 1
}

# What still runs when the script ends, ends with it.
end_steps() {
    local pid
    for pid in "${step_pid[@]}"; do kill "$pid" 2>/dev/null || true; done
}
trap end_steps EXIT
