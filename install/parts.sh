# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Runs parts of the tests and counts what they say, sourced by test.
#   run_part NAME TITLE COMMAND...  a program or a function of the script, which
#                                   has limit[NAME] seconds; a part that is not
#                                   over then is ended with all it started
#   sum                             what failed, and the last line; fails if anything did

: "${logs:?is the directory of the logs}" "${venv:?holds the test tools}"
passed=0 failed=0 skipped=0 failures=
#: What tests/limit.py ends with when the time is up.
expired=124

# count WORD FILE: the sum of the numbers that stand before WORD in the
# summary lines of pytest and of cargo test.
count() {
    grep -E '^(=+ .* in [0-9.]+s|[0-9]+ (passed|failed|skipped|error).* in [0-9.]+s|test result: )' "$2" |
        grep -oE "[0-9]+ $1" | awk '{sum += $1} END {print sum + 0}'
}

# Whether a part in which nothing passed has failed.
needed() { [[ $1 == engines || ($1 == kvm && ${CI:-} != true) ]] && echo 0 || echo 1; }

run_part() {
    local name=$1 title=$2 code=0 bad good unfit
    shift 2
    # A shell of its own with the functions of this one, for one can be ended.
    # shellcheck disable=SC2154  # limit is the table of whoever calls
    begin "$name" "$title" "$venv/bin/python" -m tests.limit "${limit[$name]}" \
        bash -c "$(declare -p venv && declare -f)"$'\n''"$@"' part "$@"
    finish "$name" || code=$?
    local log=$logs/$name.log
    bad=$(($(count failed "$log") + $(count 'error(s|\b)' "$log")))
    # A Rust test cannot be skipped: it says that it was, and passes.
    unfit=$(grep -c '^skipped: ' "$log")
    good=$(($(count passed "$log") - unfit))
    # A part that hung has failed, whatever it counted. One that died before it
    # could count, or in which every test was skipped, has proven nothing. Other
    # engines and a host with KVM need not be to be had.
    if ((code == expired)); then
        bad=$((bad + 1))
    elif ((!bad && (code || (!good && $(needed "$name"))))); then
        bad=1
    fi
    passed=$((passed + good))
    skipped=$((skipped + unfit + $(count '(skipped|ignored)' "$log")))
    failed=$((failed + bad))
    if ((bad)); then
        echo "  all of it: $log"
        failures+=$(sed -nE "s/^(FAILED|ERROR) ([^ ]+).*/  $name: \\2/p; s/^test (.*) \.\.\. FAILED/  $name: \\1/p" "$log")$'\n'
    fi
}

# The names again, for those of the first parts are far above by then.
sum() {
    ((failed)) && printf '%s\n' "The logs are in $logs." "$failures" | grep .
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0))
}
