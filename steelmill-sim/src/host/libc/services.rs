//! Names of services, and what sockets they are for: the part of getaddrinfo(3) that asks no name server.

use std::ffi::c_int;

/// The services that programs name, of services(5): by TCP, by UDP, or by both.
const SERVICES: [(&str, u16, bool, bool); 22] = [
    ("echo", 7, true, true),
    ("discard", 9, true, true),
    ("ftp", 21, true, false),
    ("ssh", 22, true, false),
    ("telnet", 23, true, false),
    ("smtp", 25, true, false),
    ("time", 37, true, true),
    ("domain", 53, true, true),
    ("tftp", 69, false, true),
    ("http", 80, true, false),
    ("pop3", 110, true, false),
    ("ntp", 123, false, true),
    ("imap2", 143, true, false),
    ("snmp", 161, true, true),
    ("ldap", 389, true, true),
    ("https", 443, true, true),
    ("syslog", 514, false, true),
    ("ldaps", 636, true, true),
    ("imaps", 993, true, false),
    ("mysql", 3306, true, false),
    ("postgresql", 5432, true, false),
    ("amqp", 5672, true, false),
];

/// A kind of socket that an answer is for, with the port in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) socket: c_int,
    pub(super) protocol: c_int,
    pub(super) port: u16,
}

/// What a caller wants to know a port for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service<'a> {
    None,
    Port(u16),
    Named(&'a str),
}

/// A number as strtoul(3) reads it, or a name.
pub(super) fn parse(text: &str) -> Service<'_> {
    let number = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let number = number.strip_prefix('+').unwrap_or(number);
    if text.is_empty() {
        return Service::Port(0);
    }
    match number.bytes().all(|digit| digit.is_ascii_digit()) {
        true if !number.is_empty() => {
            // What is too large for a port is cut to its lower bits.
            let value = number.parse::<u64>().unwrap_or(u64::MAX);
            Service::Port(value as u16)
        }
        _ => Service::Named(text),
    }
}

/// The kinds of sockets that fit the caller's hints, in the order of the C library.
///
/// # Errors
/// An `EAI_` code.
pub(super) fn kinds(socket: c_int, protocol: c_int, service: Service<'_>) -> Result<Vec<Kind>, c_int> {
    const ALL: [(c_int, c_int); 3] =
        [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP), (libc::SOCK_RAW, 0)];
    let fits = |(kind, of): &(c_int, c_int)| {
        // A raw socket is of any protocol.
        (socket == 0 || socket == *kind) && (protocol == 0 || protocol == *of || *kind == libc::SOCK_RAW)
    };
    let fitting: Vec<_> = ALL.into_iter().filter(fits).collect();
    let chosen = match fitting.first() {
        None if socket != 0 => return Err(libc::EAI_SOCKTYPE),
        None => return Err(libc::EAI_SERVICE),
        // With a protocol, the first socket that speaks it.
        Some(first) if socket == 0 && protocol != 0 => vec![*first],
        Some(_) => fitting,
    };
    let port = |(kind, of): (c_int, c_int)| {
        let port = match service {
            Service::None => 0,
            Service::Port(port) if kind != libc::SOCK_RAW || socket == 0 => port,
            Service::Named(name) => port_of(name, of)?,
            Service::Port(_) => return None,
        };
        Some(Kind { socket: kind, protocol: if kind == libc::SOCK_RAW { protocol } else { of }, port })
    };
    let kinds: Vec<Kind> = chosen.into_iter().filter_map(port).collect();
    if kinds.is_empty() { Err(libc::EAI_SERVICE) } else { Ok(kinds) }
}

fn port_of(service: &str, protocol: c_int) -> Option<u16> {
    let is_by = |by_tcp: bool, by_udp: bool| match protocol {
        libc::IPPROTO_TCP => by_tcp,
        libc::IPPROTO_UDP => by_udp,
        _ => false,
    };
    let found = SERVICES.iter().find(|(name, _, by_tcp, by_udp)| *name == service && is_by(*by_tcp, *by_udp));
    found.map(|(_, port, ..)| *port)
}

/// The name of the service at a port.
pub(super) fn name_of(port: u16, is_datagram: bool) -> Option<&'static str> {
    let is_by = |by_tcp: bool, by_udp: bool| if is_datagram { by_udp } else { by_tcp };
    let found = SERVICES.iter().find(|(_, at, by_tcp, by_udp)| *at == port && is_by(*by_tcp, *by_udp));
    found.map(|(name, ..)| *name)
}
