"""redis-py against the demo's gateway: with its defaults, and with each version of the protocol.

Usage: smoke.py PORT
"""

import sys
import time

import redis


def equal(found, expected):
    assert found == expected, f"{found!r} instead of {expected!r}"


def smoke(client, proto):
    client.delete("key", "count", "short", "other")
    equal(client.ping(), True)
    equal(client.get("key"), None)
    equal(client.set("key", "value"), True)
    equal(client.get("key"), b"value")
    equal(client.set("key", "other", nx=True), None)
    equal(client.set("nothing", "other", xx=True), None)
    equal(client.set("key", "new", get=True), b"value")
    equal(client.set("key", "newer", xx=True, ex=100), True)
    equal(client.ttl("key"), 100)
    equal(client.persist("key"), True)
    equal(client.ttl("key"), -1)
    equal(client.ttl("nothing"), -2)
    equal(client.expire("key", 50), True)
    assert 49_000 < client.pttl("key") <= 50_000
    equal(client.set("short", "lived", px=50), True)
    time.sleep(0.1)
    equal(client.get("short"), None)
    equal(client.incr("count"), 1)
    equal(client.incrby("count", 41), 42)
    equal(client.decr("count", 2), 40)
    equal(client.mget("key", "nothing"), [b"newer", None])
    equal(client.exists("key", "nothing"), 1)
    equal(client.type("key"), b"string")
    equal(client.type("nothing"), b"none")
    equal(client.dbsize(), 2)
    equal(client.config_get("maxmemory-policy"), {"maxmemory-policy": "noeviction"})
    assert client.client_id() > 0
    equal(client.client_setname("smoke"), True)
    assert client.client_getname() in ("smoke", b"smoke")
    assert client.info()["store_link"] == "up"
    assert client.command_count() > 20
    with client.pipeline(transaction=False) as pipeline:
        equal(pipeline.set("other", "1").incr("other").get("other").execute(), [True, 2, b"2"])
    try:
        client.execute_command("FLUSHALL")
        raise AssertionError("it does not exist")
    except redis.ResponseError as error:
        assert "unknown command" in str(error), error
    hello = client.execute_command("HELLO")
    hello = hello if isinstance(hello, dict) else dict(zip(hello[::2], hello[1::2]))
    equal(hello.get(b"proto", hello.get("proto")), proto or hello.get(b"proto", hello.get("proto")))
    equal(client.delete("key", "count", "other"), 3)


port = int(sys.argv[1])
for options in [{}, {"protocol": 2}, {"protocol": 3}, {"username": "default", "password": "any", "client_name": "me"}]:
    smoke(redis.Redis(port=port, **options), options.get("protocol"))
print(f"redis-py {redis.__version__}: ok")
