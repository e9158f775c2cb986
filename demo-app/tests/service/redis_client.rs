//! Well-behaved clients: commands, limits, pipelining, the cache, the connection limit.

use redis::Commands as _;

use crate::process::{Demo, Raw};

#[test]
fn a_redis_client_is_served() {
    let demo = Demo::serving();
    let mut redis = demo.redis();
    let pong: String = redis::cmd("PING").query(&mut redis).expect("served");
    assert_eq!(pong, "PONG");
    let echo: String = redis::cmd("ECHO").arg("hello").query(&mut redis).expect("served");
    assert_eq!(echo, "hello");
    assert_eq!(redis.get("name"), Ok(None::<String>));
    assert_eq!(redis.set("name", "steelmill"), Ok(()));
    assert_eq!(redis.get("name"), Ok("steelmill".to_owned()));
    assert_eq!(redis.exists(&["name", "name", "nothing"]), Ok(2));
    assert_eq!(redis.mget(&["name", "nothing"]), Ok((Some("steelmill".to_owned()), None::<String>)));
    assert_eq!(redis::cmd("INCR").arg("count").query(&mut redis), Ok(1));
    assert_eq!(redis::cmd("INCR").arg("count").query(&mut redis), Ok(2));
    assert_eq!(redis.get("count"), Ok(2));
    assert_eq!(redis.del(&["name", "count", "nothing"]), Ok(2));
    assert_eq!(redis.get("name"), Ok(None::<String>));
    let commands: Vec<redis::Value> = redis::cmd("COMMAND").query(&mut redis).expect("served");
    assert_eq!(commands.len(), 27);
    let bye: String = redis::cmd("QUIT").query(&mut redis).expect("served");
    assert_eq!(bye, "OK");
}

#[test]
fn a_value_expires_and_neither_store_nor_cache_has_it_any_more() {
    let demo = Demo::serving();
    let mut redis = demo.redis();
    let mut ask = |line: &str| {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().expect("a name"));
        command.arg(words.collect::<Vec<_>>());
        command.query::<redis::Value>(&mut redis).expect("served")
    };
    let (ok, nil, text) = (redis::Value::Okay, redis::Value::Nil, |text: &str| {
        redis::Value::BulkString(text.as_bytes().to_vec())
    });
    assert_eq!(ask("SET short one PX 300"), ok);
    assert_eq!(ask("SET long one EX 100"), ok);
    assert_eq!(ask("GET short"), text("one"));
    assert_eq!(ask("TTL long"), redis::Value::Int(100));
    assert_eq!(ask("SET long two XX GET KEEPTTL"), text("one"));
    assert_eq!(ask("TTL long"), redis::Value::Int(100));
    assert_eq!(ask("SET long three NX"), nil);
    assert_eq!(ask("PERSIST long"), redis::Value::Int(1));
    assert_eq!(ask("TTL long"), redis::Value::Int(-1));
    assert_eq!(ask("GET long"), text("two"));
    assert_eq!(ask("DBSIZE"), redis::Value::Int(2));
    std::thread::sleep(std::time::Duration::from_millis(320));
    assert_eq!(ask("GET short"), nil);
    assert_eq!(ask("TTL short"), redis::Value::Int(-2));
    assert_eq!(ask("TYPE short"), redis::Value::SimpleString("none".into()));
    assert_eq!(ask("TYPE long"), redis::Value::SimpleString("string".into()));
    assert_eq!(ask("EXPIRE long 0"), redis::Value::Int(1));
    assert_eq!(ask("DBSIZE"), redis::Value::Int(0));
}

#[test]
fn values_are_any_bytes_up_to_the_limit() {
    let demo = Demo::serving();
    let mut redis = demo.redis();
    let every_byte: Vec<u8> = (0..=255).collect();
    assert_eq!(redis.set(&every_byte, &every_byte), Ok(()));
    assert_eq!(redis.get(&every_byte), Ok(every_byte));
    let large = vec![7_u8; 1 << 20];
    assert_eq!(redis.set("large", &large), Ok(()));
    assert_eq!(redis.get("large"), Ok(large));
}

#[test]
fn an_error_leaves_the_connection_as_it_was() {
    let demo = Demo::serving();
    let mut raw = demo.connect();
    assert_eq!(raw.ask(b"FLUSHALL\r\n"), "-ERR unknown command 'FLUSHALL'");
    assert_eq!(raw.ask(b"GET\r\n"), "-ERR wrong number of arguments for 'get' command");
    assert_eq!(raw.ask(b"SET k v EX 10 PX 10\r\n"), "-ERR syntax error");
    assert_eq!(raw.ask(b"HELLO 4\r\n"), "-NOPROTO unsupported protocol version: there are 2 and 3");
    assert_eq!(raw.ask(b"SET k word\r\n"), "+OK");
    assert_eq!(raw.ask(b"INCR k\r\n"), "-ERR value is not an integer or out of range");
    assert_eq!(raw.ask(b"SET k 9223372036854775807\r\n"), "+OK");
    assert_eq!(raw.ask(b"INCR k\r\n"), "-ERR value is not an integer or out of range");
    assert_eq!(raw.ask(b"PING\r\n"), "+PONG");
}

#[test]
fn reads_come_from_the_cache_while_the_lease_holds() {
    let demo = Demo::serving();
    let mut redis = demo.redis();
    assert_eq!(redis.set("key", "value"), Ok(()));
    for _ in 0..10 {
        assert_eq!(redis.get("key"), Ok("value".to_owned()));
    }
    let info: String = redis::cmd("INFO").query(&mut redis).expect("served");
    assert!(info.contains("keyspace_hits:10\r\nkeyspace_misses:0\r\n"), "{info}");
    assert!(info.contains("lease_token:"), "{info}");
    // The daemons of the factory, and of its child, which exists while the lease is held.
    let line = |start: &str| info.lines().any(|line| line.starts_with(start));
    assert!(line("demo:state=running,for_ms="), "{info}");
    assert!(line("demo/Gateway:state=running,for_ms="), "{info}");
    assert!(line("demo/Store:state=running,for_ms="), "{info}");
    assert!(info.contains("/Cache:state=running,for_ms="), "{info}");
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let demo = Demo::serving();
    let mut redis = demo.redis();
    let mut pipeline = redis::pipe();
    for number in 0..10_000 {
        pipeline.cmd("INCR").arg("count");
        pipeline.cmd("ECHO").arg(number);
    }
    let replies: Vec<i64> = pipeline.query(&mut redis).expect("served");
    assert!(replies.chunks(2).enumerate().all(|(at, pair)| pair == [at as i64 + 1, at as i64]));
}

#[test]
fn a_command_may_come_in_any_pieces() {
    let demo = Demo::serving();
    let mut raw = demo.connect();
    raw.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk");
    assert_eq!(demo.connect().ask(b"PING\r\n"), "+PONG");
    assert_eq!(raw.ask(b"\r\n$5\r\nvalue\r\n"), "+OK");
    for byte in b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" {
        raw.send(&[*byte]);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    raw.expect(b"$5\r\nvalue\r\n");
}

#[test]
fn a_thousand_connections_are_served_at_once() {
    let demo = Demo::serving();
    let before = demo.resident();
    let address = demo.address("gateway");
    let mut all: Vec<Raw> = (0..1_000).map(|_| Raw::open(address)).collect();
    for raw in &mut all {
        raw.send(b"INCR visitors\r\n");
    }
    let mut numbers: Vec<i64> =
        all.iter_mut().map(|raw| raw.ask(b"").trim_start_matches(':').parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=1_000), "each was counted once");
    let grown = demo.resident().saturating_sub(before);
    assert!(grown < 64, "{grown} MiB for a thousand idle connections");
}

#[test]
fn a_client_above_the_connection_limit_gets_an_error() {
    let demo = Demo::start(&[&crate::process::ALL[..], &["--max-clients", "2"]].concat());
    demo.wait_for_line("holds the lease, token");
    let mut first = demo.connect();
    assert_eq!(first.ask(b"PING\r\n"), "+PONG");
    let mut second = demo.connect();
    assert_eq!(second.ask(b"PING\r\n"), "+PONG");
    assert_eq!(demo.connect().rest(), "-ERR max number of clients reached: 2 are connected\r\n");
    assert_eq!(first.ask(b"PING\r\n"), "+PONG");
    assert_eq!(first.ask(b"QUIT\r\n"), "+OK");
    assert_eq!(first.rest(), "");
    let deadline = std::time::Instant::now() + crate::process::TIMEOUT;
    while demo.connect().ask(b"PING\r\n") != "+PONG" {
        assert!(std::time::Instant::now() < deadline, "a closed connection does not count against the limit");
    }
}
