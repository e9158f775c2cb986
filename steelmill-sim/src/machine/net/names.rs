//! Host names: what they stand for, and trouble with looking them up.
//!
//! The cluster knows every name, so a lookup usually takes no time and no draw. A machine with trouble waits for its resolver, and may
//! hear from it that the answer is not to be had for now.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use steelmill_core::{Address, World as _};

use super::Network;
use super::address;
use super::impairment::either_ppm;
use crate::kernel::timers::nanos;
use crate::machine::cluster::{self, Cluster, RunId};
use crate::machine::machine::Machine;
use crate::machine::world::SimWorld;
use crate::schema::decision::Stream;
use crate::schema::event::{EventKind, MachineChange};

#[derive(Default)]
pub(super) struct Names {
    /// Set by the scenario, in lower case.
    all: BTreeMap<String, Vec<IpAddr>>,
    /// By machine.
    troubles: BTreeMap<u32, Vec<LookupTrouble>>,
}

/// Trouble with the name lookups of a machine: a resolver that is slow, overloaded or out of reach. Several troubles of one machine add
/// up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LookupTrouble {
    /// The greatest time that a lookup takes, drawn anew for each.
    pub delay_max: Duration,
    /// The rate of lookups that fail, in parts per million: with `EAI_AGAIN` (getaddrinfo(3)), after that time.
    pub failing_ppm: u32,
}

/// What becomes of one lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LookupFate {
    pub(crate) delay: Duration,
    pub(crate) fails: bool,
}

impl Machine {
    /// Has name lookups of this machine take time and fail until the guard is dropped: those of [`Network`](crate::Network), and
    /// getaddrinfo(3) of programs. Addresses and `localhost` need no resolver. A task that calls getaddrinfo(3) itself, which blocks its
    /// thread, sees failures alone.
    ///
    /// ```
    /// use std::time::Duration;
    /// use steelmill_sim::{LookupTrouble, Seed, check};
    ///
    /// check(Seed(1), |sim| async move {
    ///     let (a, b) = (sim.client("a"), sim.client("b"));
    ///     let _listener = b.network().bind("0.0.0.0:80").await?;
    ///     let trouble = a.trouble_lookups(LookupTrouble { failing_ppm: 1_000_000, ..LookupTrouble::default() });
    ///     assert!(a.network().connect("b:80").await.is_err());
    ///     drop(trouble);
    ///     a.network().connect("b:80").await?;
    ///     Ok(())
    /// });
    /// ```
    ///
    /// # Panics
    /// When the rate is above 1,000,000 ppm.
    pub fn trouble_lookups(&self, trouble: LookupTrouble) -> TroubledLookups {
        assert!(trouble.failing_ppm <= 1_000_000, "a rate above 1000000 ppm: {trouble:?}");
        let machine = self.id();
        self.with(|run| {
            run.net.names.troubles.entry(machine).or_default().push(trouble);
            run.lookups_changed(machine, true);
        });
        TroubledLookups { run: self.run(), machine, trouble }
    }
}

/// Trouble with a machine's name lookups; it ends when it is dropped.
#[derive(Debug)]
#[must_use = "the trouble ends when it is dropped"]
pub struct TroubledLookups {
    run: RunId,
    machine: u32,
    trouble: LookupTrouble,
}

impl Drop for TroubledLookups {
    fn drop(&mut self) {
        cluster::try_with(self.run, |run| {
            let Some(troubles) = run.net.names.troubles.get_mut(&self.machine) else { return };
            if let Some(index) = troubles.iter().position(|other| *other == self.trouble) {
                troubles.remove(index);
            }
            if troubles.is_empty() {
                run.net.names.troubles.remove(&self.machine);
                run.lookups_changed(self.machine, false);
            }
        });
    }
}

impl Cluster {
    fn lookups_changed(&mut self, machine: u32, is_troubled: bool) {
        let change = MachineChange::LookupTrouble(is_troubled);
        self.kernel.happened(EventKind::Machine { machine, change });
    }

    /// Sets the addresses of a name; none removes the name.
    pub(crate) fn set_name(&mut self, name: &str, addresses: &[IpAddr]) {
        let name = name.to_ascii_lowercase();
        if addresses.is_empty() {
            self.net.names.all.remove(&name);
        } else {
            self.net.names.all.insert(name, addresses.to_vec());
        }
    }

    /// What a name stands for: a machine, or what the scenario has named.
    pub(crate) fn addresses_of(&self, name: &str, port: u16) -> Option<Addresses> {
        if let Some(machine) = self.hosts.by_name(name) {
            return Some(Addresses::one(SocketAddr::new(self.net.addresses.v4(machine).into(), port)));
        }
        let several = self.net.names.all.get(&name.to_ascii_lowercase())?;
        Some(Addresses::several(several.iter().map(|ip| SocketAddr::new(*ip, port)).collect()))
    }

    /// An address in one of the forms of inet_aton(3), unless a machine is called so.
    pub(crate) fn written_ipv4(&self, text: &str) -> Option<Ipv4Addr> {
        address::from_numbers(text).filter(|_| self.hosts.by_name(text).is_none())
    }

    /// The IPv6 address of a machine, for who asks for no other.
    pub(crate) fn ipv6_of(&self, name: &str) -> Option<IpAddr> {
        self.hosts.by_name(name).map(|machine| self.net.addresses.v6(machine))
    }

    /// Who has an address, seen from a machine: a machine, or what the scenario has named first.
    pub(crate) fn name_of(&self, ip: IpAddr, from: u32) -> Option<String> {
        if ip.is_loopback() {
            return Some("localhost".to_owned());
        }
        let machine =
            self.net.addresses.machine_of(ip, from).filter(|machine| (*machine as usize) < self.hosts.len());
        if let Some(machine) = machine.filter(|_| !ip.is_unspecified()) {
            return Some(self.hosts[machine].name.to_string());
        }
        self.net.names.all.iter().find(|(_, all)| all.contains(&ip)).map(|(name, _)| name.clone())
    }

    /// Draws what becomes of a lookup; `None` on a machine without trouble.
    #[inline]
    pub(crate) fn lookup_fate(&mut self, machine: u32) -> Option<LookupFate> {
        if self.net.names.troubles.is_empty() { None } else { self.troubled_lookup(machine) }
    }

    #[cold]
    fn troubled_lookup(&mut self, machine: u32) -> Option<LookupFate> {
        let troubles = self.net.names.troubles.get(&machine)?;
        let (delay_max, failing_ppm) = troubles.iter().fold((0, 0), |(delay, ppm), one| {
            (delay + nanos(one.delay_max), either_ppm(ppm, one.failing_ppm))
        });
        let delay = if delay_max == 0 { 0 } else { self.kernel.draw(Stream::Lookup, delay_max + 1) };
        let fails = self.chance(Stream::Lookup, failing_ppm);
        Some(LookupFate { delay: Duration::from_nanos(delay), fails })
    }
}

impl Network {
    /// The addresses that an address or a name stands for.
    #[inline]
    pub(super) async fn resolve(&self, address: Address<'_>) -> io::Result<Addresses> {
        match address.parse()? {
            Address::Socket(address) => Ok(Addresses::one(address)),
            Address::Several(several) => Ok(Addresses::several(several.to_vec())),
            Address::Host(name, port) => self.lookup_host(name, port).await,
            Address::Text(_) => unreachable!("parse takes written addresses apart"),
        }
    }

    async fn lookup_host(&self, name: &str, port: u16) -> io::Result<Addresses> {
        if name.eq_ignore_ascii_case("localhost") {
            return Ok(Addresses::one(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)));
        }
        if let Some(ip) = cluster::with(self.0.run, |run| run.written_ipv4(name)) {
            return Ok(Addresses::one(SocketAddr::new(ip.into(), port)));
        }
        // The errors of getaddrinfo have no kind in std either.
        let error = |what: &str| io::Error::other(format!("failed to lookup address information: {what}"));
        let process = self.0;
        if let Some(fate) = cluster::with(process.run, |run| run.lookup_fate(process.machine)) {
            SimWorld(process).clock().sleep(fate.delay).await;
            if fate.fails {
                return Err(error("Temporary failure in name resolution"));
            }
        }
        cluster::with(process.run, |run| run.addresses_of(name, port))
            .ok_or_else(|| error(&format!("no machine is called {name:?}")))
    }
}

/// The addresses to try: nearly always one, which allocates nothing.
pub(crate) struct Addresses {
    one: Option<SocketAddr>,
    several: std::vec::IntoIter<SocketAddr>,
}

impl Addresses {
    #[inline]
    fn one(address: SocketAddr) -> Self {
        Self { one: Some(address), several: Vec::new().into_iter() }
    }

    fn several(addresses: Vec<SocketAddr>) -> Self {
        Self { one: None, several: addresses.into_iter() }
    }
}

impl Iterator for Addresses {
    type Item = SocketAddr;

    #[inline]
    fn next(&mut self) -> Option<SocketAddr> {
        self.one.take().or_else(|| self.several.next())
    }
}
