// ioredis against the demo's gateway, with its defaults.
//
// Usage: ioredis.cjs PORT, with NODE_PATH naming the folder of the package.
const assert = require("node:assert/strict");
const { setTimeout: sleep } = require("node:timers/promises");
const Redis = require("ioredis");

(async () => {
  for (const options of [{}, { connectionName: "smoke", db: 0 }]) {
    const client = new Redis({ port: Number(process.argv[2]), ...options });
    client.on("error", (error) => { throw error; });
    await client.del("key", "count", "short");
    assert.equal(await client.ping(), "PONG");
    assert.equal(await client.get("key"), null);
    assert.equal(await client.set("key", "value"), "OK");
    assert.equal(await client.set("key", "other", "NX"), null);
    assert.equal(await client.set("key", "new", "GET"), "value");
    assert.equal(await client.set("key", "newer", "EX", 100, "XX"), "OK");
    assert.equal(await client.ttl("key"), 100);
    assert.equal(await client.persist("key"), 1);
    assert.equal(await client.expire("key", 50), 1);
    await client.set("short", "lived", "PX", 50);
    await sleep(100);
    assert.equal(await client.get("short"), null);
    assert.equal(await client.incrby("count", 42), 42);
    assert.deepEqual(await client.mget("key", "nothing"), ["newer", null]);
    assert.equal(await client.type("key"), "string");
    assert.equal(await client.dbsize(), 2);
    assert.deepEqual(await client.config("GET", "databases"), ["databases", "1"]);
    assert.deepEqual(await client.pipeline().incr("count").get("count").exec(), [[null, 43], [null, "43"]]);
    await assert.rejects(client.call("FLUSHALL"), /unknown command/);
    assert.equal(await client.del("key", "count"), 2);
    await client.quit();
  }
  console.log(`ioredis ${require("ioredis/package.json").version}: ok`);
})();
