//! What a simulated host is: its processes, its clock, its randomness, its network.

pub(crate) mod clock;
pub(crate) mod cluster; // the one thread-local all handles point into
pub(crate) mod entropy;
pub(crate) mod hosts; // what the run keeps of each machine
pub(crate) mod links; // what a scenario does to the links between machines
pub(crate) mod machine; // a simulated host
pub(crate) mod net;
pub(crate) mod sim; // the handle a scenario gets
pub(crate) mod spawn;
pub(crate) mod world;
