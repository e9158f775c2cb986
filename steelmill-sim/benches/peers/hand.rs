//! The lower bound: the workloads as hand-written event loops, without a general simulator.
//!
//! One heap of due events and plain state; no futures, no wakers, no streams, no allocation per message. A message is
//! copied when it is sent and when it is received, as bytes between machines are.

mod database;
mod harness;

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use database::use_database;
use harness::{
    CHUNK, Done, HEARTBEAT, LATENCY, MESSAGE, Options, Sleeps, make_files, message, number, trace,
    write_blocks,
};

fn main() {
    harness::main("hand", |options: &Options| {
        Some(match options.workload.as_str() {
            "w1" => fan(1, options.n()),
            "w2" => fan(options.clients, options.n()),
            "w3" => beats(options.hosts, options.seconds, Duration::from_secs(1)),
            "w4" => bulk(options.mb),
            "w5" => sleeps(options.tasks(), options.reps(), options.seed),
            "w6" => yields(options.tasks(), options.reps()),
            "w7" => start_ups(options.seeds),
            // The same as w3: the receiver makes no difference, and there is no factory to start or stop.
            "w8" => {
                let each = options.seconds / HEARTBEAT.as_secs();
                Done { ops: options.hosts, ..beats(options.hosts, each, HEARTBEAT) }
            }
            "turns" => turns(options.n()),
            "starts" => starts(options.n()),
            "writes" => in_memory(options.n(), |root, n| {
                write_blocks(&std::fs::File::create(root.join("blocks"))?, n)
            }),
            "files" => in_memory(options.n(), make_files),
            "redb" => in_memory(options.n(), |root, n| use_database(root, n).map_err(std::io::Error::other)),
            _ => return None,
        })
    });
}

/// The event queue, ordered by time, then by the order of scheduling.
struct EventQueue<E> {
    due: BinaryHeap<Due<E>>,
    now: u64,
    scheduled: u64,
    handled: u64,
}

struct Due<E> {
    at: u64,
    order: u64,
    event: E,
}

impl<E: Copy> EventQueue<E> {
    fn new() -> Self {
        Self { due: BinaryHeap::new(), now: 0, scheduled: 0, handled: 0 }
    }

    fn make(&mut self, after: Duration, event: E) -> Due<E> {
        self.scheduled += 1;
        Due { at: self.now + nanoseconds(after), order: self.scheduled, event }
    }

    #[inline]
    fn schedule(&mut self, after: Duration, event: E) {
        let due = self.make(after, event);
        self.due.push(due);
    }

    /// Advances to the next event, which stays on top of the heap until it is removed or replaced: events scheduled
    /// meanwhile are due after it.
    #[inline]
    fn next(&mut self) -> Option<E> {
        let due = self.due.peek()?;
        self.now = due.at;
        self.handled += 1;
        Some(due.event)
    }

    #[inline]
    fn drop_current(&mut self) {
        self.due.pop();
    }

    /// Replaces the current event by another: one sift down the heap instead of two.
    #[inline]
    fn replace_current(&mut self, after: Duration, event: E) {
        let due = self.make(after, event);
        let mut top: PeekMut<'_, _> = self.due.peek_mut().expect("there is a current event");
        *top = due;
    }

    fn done(&self, ops: u64) -> Done {
        Done { ops, simulated: self.time(), steps: Some(self.handled) }
    }

    fn time(&self) -> Duration {
        Duration::from_nanos(self.now)
    }
}

impl<E> Ord for Due<E> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order)) // the heap's top is its greatest
    }
}

impl<E> PartialOrd for Due<E> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Due<E> {}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos())
}

/// One direction of a connection: the message in flight, and the reader's buffer. These workloads never have two
/// messages in flight in one direction.
#[derive(Clone)]
struct Pipe {
    in_flight: [u8; MESSAGE],
    received: [u8; MESSAGE],
}

impl Pipe {
    fn new() -> Self {
        Self { in_flight: [0; MESSAGE], received: [0; MESSAGE] }
    }

    #[inline]
    fn send(&mut self, message: &[u8; MESSAGE]) {
        self.in_flight = *black_box(message);
    }

    #[inline]
    fn receive(&mut self) -> [u8; MESSAGE] {
        self.received = self.in_flight;
        *black_box(&self.received)
    }
}

/// Clients 1 to `clients`, each with one connection to server 0.
fn fan(clients: u64, n: u64) -> Done {
    struct Connection {
        to_server: Pipe,
        to_client: Pipe,
        left: u64,
    }

    #[derive(Clone, Copy)]
    enum Arrives {
        AtServer(u32),
        AtClient(u32),
    }

    let mut queue = EventQueue::new();
    let mut connections = Vec::new();
    for client in 0..clients {
        let mut connection = Connection { to_server: Pipe::new(), to_client: Pipe::new(), left: n };
        connection.to_server.send(&message(0));
        connections.push(connection);
        queue.schedule(LATENCY, Arrives::AtServer(client as u32));
    }
    let mut ops = 0;
    while let Some(event) = queue.next() {
        match event {
            Arrives::AtServer(client) => {
                let connection = &mut connections[client as usize];
                let request = connection.to_server.receive();
                trace(0, || queue.time(), number(&request));
                connection.to_client.send(&request);
                queue.replace_current(LATENCY, Arrives::AtClient(client));
            }
            Arrives::AtClient(client) => {
                let connection = &mut connections[client as usize];
                let reply = connection.to_client.receive();
                trace(u64::from(client) + 1, || queue.time(), number(&reply));
                ops += 1;
                connection.left -= 1;
                if connection.left > 0 {
                    connection.to_server.send(&message(number(&reply) + 1));
                    queue.replace_current(LATENCY, Arrives::AtServer(client));
                } else {
                    queue.drop_current();
                }
            }
        }
    }
    queue.done(ops)
}

/// Each host sends its neighbour numbered datagrams.
fn beats(hosts: u64, each: u64, pause: Duration) -> Done {
    #[derive(Clone, Copy)]
    enum Event {
        Beat(u32),
        Arrives(u32),
    }

    let mut queue = EventQueue::new();
    let mut beats = vec![0u64; hosts as usize];
    let mut inboxes = vec![Pipe::new(); hosts as usize];
    for host in 0..hosts {
        queue.schedule(pause, Event::Beat(host as u32));
    }
    let mut ops = 0;
    while let Some(event) = queue.next() {
        match event {
            Event::Beat(host) => {
                let beat = &mut beats[host as usize];
                *beat += 1;
                let next = (host + 1) % hosts as u32;
                inboxes[next as usize].send(&message(*beat));
                queue.schedule(LATENCY, Event::Arrives(next));
                if *beat < each {
                    queue.replace_current(pause, Event::Beat(host));
                } else {
                    queue.drop_current();
                }
            }
            Event::Arrives(host) => {
                let received = inboxes[host as usize].receive();
                trace(u64::from(host), || queue.time(), number(&received));
                ops += 1;
                queue.drop_current();
            }
        }
    }
    queue.done(ops)
}

/// At most 64 chunks in flight; each is copied in and out, and its slot is free after the acknowledgement.
fn bulk(mb: u64) -> Done {
    const WINDOW: u64 = 64;

    #[derive(Clone, Copy)]
    enum Event {
        Arrives(u32),
        Freed(u32),
    }

    let mut queue = EventQueue::new();
    let chunks = mb * 1024 * 1024 / CHUNK as u64;
    let source = vec![0xA5_u8; CHUNK];
    let mut read = vec![0_u8; CHUNK];
    let mut window = vec![vec![0_u8; CHUNK]; WINDOW as usize];
    let mut sent = 0;
    for place in 0..WINDOW.min(chunks) {
        window[place as usize].copy_from_slice(black_box(&source));
        queue.schedule(LATENCY, Event::Arrives(place as u32));
        sent += 1;
    }
    let mut received = 0;
    while let Some(event) = queue.next() {
        match event {
            Event::Arrives(place) => {
                read.copy_from_slice(&window[place as usize]);
                black_box(&read);
                received += CHUNK as u64;
                trace(1, || queue.time(), received);
                queue.replace_current(LATENCY, Event::Freed(place));
            }
            Event::Freed(place) if sent < chunks => {
                window[place as usize].copy_from_slice(black_box(&source));
                sent += 1;
                queue.replace_current(LATENCY, Event::Arrives(place));
            }
            Event::Freed(_) => queue.drop_current(),
        }
    }
    queue.done(received / (1024 * 1024))
}

/// Tasks that only sleep.
fn sleeps(tasks: u64, reps: u64, seed: u64) -> Done {
    let mut queue = EventQueue::new();
    let mut states: Vec<(Sleeps, u64)> = (0..tasks).map(|task| (Sleeps::new(seed, task), reps)).collect();
    for (task, (sleeps, _)) in states.iter_mut().enumerate() {
        queue.schedule(sleeps.next(), task as u32);
    }
    let mut ops = 0;
    while let Some(task) = queue.next() {
        trace(u64::from(task), || queue.time(), 0);
        ops += 1;
        let (sleeps, left) = &mut states[task as usize];
        *left -= 1;
        if *left > 0 {
            queue.replace_current(sleeps.next(), task);
        } else {
            queue.drop_current();
        }
    }
    queue.done(ops)
}

/// Tasks that only yield, in turn. Real tasks differ in type, so each is called through a pointer.
fn yields(tasks: u64, reps: u64) -> Done {
    let mut ready: VecDeque<Box<dyn FnMut() -> bool>> = VecDeque::new();
    for task in 0..tasks {
        let mut left = reps;
        ready.push_back(Box::new(move || {
            trace(task, || Duration::ZERO, reps - left);
            left -= 1;
            left > 0
        }));
    }
    let mut ops = 0;
    while let Some(mut task) = ready.pop_front() {
        ops += 1;
        if task() {
            ready.push_back(task);
        }
    }
    Done { ops, simulated: Duration::ZERO, steps: Some(ops) }
}

/// Three nodes; the lower of each pair connects to the higher, makes one round trip and closes. Then the next seed.
fn start_ups(seeds: u64) -> Done {
    struct Node {
        /// One end of a connection: its peer, and the last message.
        ends: Vec<(u32, Pipe)>,
    }

    #[derive(Clone, Copy)]
    struct Arrives {
        at: u32,
        from: u32,
        what: What,
    }

    #[derive(Clone, Copy)]
    enum What {
        Connect,
        Accepted,
        Request,
        Reply,
    }

    fn end(node: &mut Node, with: u32) -> &mut Pipe {
        let found = node.ends.iter_mut().find(|(other, _)| *other == with);
        &mut found.expect("connected").1
    }

    let (mut simulated, mut steps) = (Duration::ZERO, 0);
    for seed in 0..seeds {
        let mut queue = EventQueue::new();
        let mut nodes: Vec<Node> = (0..3).map(|_| Node { ends: Vec::new() }).collect();
        for (from, at) in [(0, 1), (0, 2), (1, 2)] {
            queue.schedule(LATENCY, Arrives { at, from, what: What::Connect });
        }
        while let Some(Arrives { at, from, what }) = queue.next() {
            let who = u64::from(at) + 10 * seed;
            let answer = match what {
                What::Connect => {
                    nodes[at as usize].ends.push((from, Pipe::new()));
                    Some(What::Accepted)
                }
                What::Accepted => {
                    nodes[at as usize].ends.push((from, Pipe::new()));
                    end(&mut nodes[from as usize], at).send(&message(0));
                    Some(What::Request)
                }
                What::Request => {
                    let request = end(&mut nodes[at as usize], from).receive();
                    trace(who, || queue.time(), number(&request));
                    end(&mut nodes[from as usize], at).send(&request);
                    Some(What::Reply)
                }
                What::Reply => {
                    let reply = end(&mut nodes[at as usize], from).receive();
                    trace(who, || queue.time(), number(&reply));
                    None
                }
            };
            match answer {
                Some(what) => queue.replace_current(LATENCY, Arrives { at: from, from: at, what }),
                None => {
                    nodes[at as usize].ends.retain(|(other, _)| *other != from);
                    nodes[from as usize].ends.retain(|(other, _)| *other != at);
                    queue.drop_current();
                }
            }
        }
        simulated += queue.time();
        steps += queue.handled;
    }
    Done { ops: seeds, simulated, steps: Some(steps) }
}

/// Two real threads that hand the turn to each other, each by waking the other and waiting to be woken.
#[expect(clippy::disallowed_methods, reason = "the bound is a real thread")]
fn turns(n: u64) -> Done {
    let (to_one, of_one) = std::sync::mpsc::sync_channel(1);
    let (to_other, of_other) = std::sync::mpsc::sync_channel(1);
    let other = std::thread::spawn(move || {
        for _ in 0..n {
            of_other.recv().expect("the other thread lives");
            to_one.send(()).expect("the other thread lives");
        }
    });
    for _ in 0..n {
        to_other.send(()).expect("the other thread lives");
        of_one.recv().expect("the other thread lives");
    }
    other.join().expect("it does not panic");
    Done { ops: 2 * n, simulated: Duration::ZERO, steps: None }
}

/// Real threads, each with a runtime of tokio of its own, one after the other.
#[expect(clippy::disallowed_methods, reason = "the bound is a real thread")]
fn starts(n: u64) -> Done {
    for _ in 0..n {
        let main = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("descriptors are left").block_on(async {});
        };
        std::thread::spawn(main).join().expect("it does not panic");
    }
    Done { ops: n, simulated: Duration::ZERO, steps: None }
}

/// Does something with files of a real file system in memory.
fn in_memory(n: u64, action: impl FnOnce(&Path, u64) -> std::io::Result<()>) -> Done {
    let root = Path::new("/dev/shm").join(format!("steelmill-bench-{}", std::process::id()));
    let done = std::fs::create_dir_all(&root).and_then(|()| action(&root, n));
    let removed = std::fs::remove_dir_all(&root);
    done.and(removed).expect("a file system in memory");
    Done { ops: n, simulated: Duration::ZERO, steps: None }
}
