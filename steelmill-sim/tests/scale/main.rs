//! Scale: the cost of many machines, and leaks after many ends of machines.

mod ending; // thousands of ends, and what remains of them
mod idle; // ten thousand machines with a heartbeat each
mod memory; // what a thread holds
