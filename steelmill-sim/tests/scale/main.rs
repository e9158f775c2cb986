//! Many machines, and many ends of machines: what they cost, and that nothing of them is left.

mod ending; // thousands of ends, and what remains of them
mod idle; // ten thousand machines with a heartbeat each
mod memory; // what a thread holds
