// node-redis against the demo's gateway: with its defaults, and with each version of the protocol.
//
// Usage: node-redis.cjs PORT, with NODE_PATH naming the folder of the package.
const assert = require("node:assert/strict");
const { setTimeout: sleep } = require("node:timers/promises");
const { createClient } = require("redis");

async function smoke(options) {
  const client = createClient({ socket: { port: Number(process.argv[2]) }, ...options });
  client.on("error", (error) => { throw error; });
  await client.connect();
  await client.del(["key", "count", "short"]);
  assert.equal(await client.ping(), "PONG");
  assert.equal(await client.get("key"), null);
  assert.equal(await client.set("key", "value"), "OK");
  assert.equal(await client.get("key"), "value");
  assert.equal(await client.set("key", "other", { NX: true }), null);
  assert.equal(await client.set("key", "new", { GET: true }), "value");
  assert.equal(await client.set("key", "newer", { XX: true, EX: 100 }), "OK");
  assert.equal(await client.ttl("key"), 100);
  assert.equal(await client.persist("key"), 1);
  assert.equal(await client.ttl("key"), -1);
  assert.equal(await client.expire("key", 50), 1);
  await client.set("short", "lived", { PX: 50 });
  await sleep(100);
  assert.equal(await client.get("short"), null);
  assert.equal(await client.incr("count"), 1);
  assert.equal(await client.incrBy("count", 41), 42);
  assert.deepEqual(await client.mGet(["key", "nothing"]), ["newer", null]);
  assert.equal(await client.exists("key"), 1);
  assert.equal(await client.type("key"), "string");
  assert.equal(await client.dbSize(), 2);
  assert.deepEqual({ ...(await client.configGet("databases")) }, { databases: "1" });
  assert.ok((await client.clientId()) > 0);
  assert.ok((await client.info()).includes("store_link:up"));
  await assert.rejects(client.sendCommand(["FLUSHALL"]), /unknown command/);
  assert.equal(await client.del(["key", "count"]), 2);
  await client.close();
}

(async () => {
  for (const options of [{}, { RESP: 2 }, { RESP: 3 }, { name: "smoke", database: 0 }]) await smoke(options);
  console.log(`node-redis ${require("redis/package.json").version}: ok`);
})();
