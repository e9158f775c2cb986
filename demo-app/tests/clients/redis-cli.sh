#!/bin/sh
# redis-cli against the demo's gateway: with its defaults, and with version 3 of the protocol.
#
# Usage: redis-cli.sh PORT, with REDIS_CLI naming the program if it is not on the PATH.
set -eu
port=$1
program=${REDIS_CLI:-redis-cli}

expect() {
    expected=$1
    shift
    found=$("$program" -p "$port" "$@" 2>&1)
    if [ "$found" != "$expected" ]; then
        echo "redis-cli $*: got '$found' instead of '$expected'" >&2
        exit 1
    fi
}

for version in -2 -3; do
    "$program" -p "$port" DEL key count short > /dev/null
    expect PONG "$version" PING
    expect OK "$version" SET key value
    expect value "$version" GET key
    expect "" "$version" SET key other NX
    expect value "$version" SET key new GET
    expect OK "$version" SET key newer EX 100 XX
    expect 100 "$version" TTL key
    expect 1 "$version" PERSIST key
    expect 42 "$version" INCRBY count 42
    expect string "$version" TYPE key
    expect 2 "$version" DBSIZE
    expect OK "$version" -n 0 SET key 'two words'
    expect "two words" "$version" GET key
    expect 2 "$version" DEL key count
done
# As a terminal does it: it asks for COMMAND DOCS first.
found=$(printf 'SET key typed\nGET key\nDEL key\n' | "$program" -p "$port")
[ "$found" = "$(printf 'OK\ntyped\n1')" ] || { echo "typed: got '$found'" >&2; exit 1; }
echo "$("$program" --version): ok"
