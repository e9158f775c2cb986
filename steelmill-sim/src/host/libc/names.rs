//! Host names: getaddrinfo(3), answered by the cluster, whose machines are known by their names.

use std::ffi::{CStr, c_char, c_int};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr::null_mut;

use libc::addrinfo;

use super::{address, caller, guest, time};
use crate::machine::cluster;
use crate::machine::real::real;
use crate::machine::world::Process;

/// An entry of an answer, with the address that it points to.
#[repr(C)]
struct Entry {
    info: addrinfo,
    address: libc::sockaddr_storage,
}

/// The addresses of a host name; an `EAI_` code where there are none.
fn addresses(
    process: Process,
    host: Option<&str>,
    port: u16,
    is_passive: bool,
) -> Result<Vec<SocketAddr>, c_int> {
    let Some(host) = host else {
        let ip: IpAddr = match is_passive {
            true => Ipv4Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::LOCALHOST.into(),
        };
        return Ok(vec![SocketAddr::new(ip, port)]);
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
        ]);
    }
    if let Some(fate) = cluster::with(process.run, |run| run.lookup_fate(process.machine)) {
        if guest().is_some() {
            // A signal's handler does not end a lookup.
            let mut left = fate.delay;
            while let Err(rest) = time::pause(process, left) {
                left = rest;
            }
        }
        if fate.fails {
            return Err(libc::EAI_AGAIN);
        }
    }
    let found = cluster::with(process.run, |run| run.addresses_of(host, port).map(Iterator::collect));
    Ok(found.unwrap_or_default())
}

/// # Safety
/// As getaddrinfo(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    host: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe {
            real!(
                "getaddrinfo",
                fn(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int
            )(host, service, hints, result)
        };
    };
    // SAFETY: getaddrinfo(3): each is null or a string with a zero at its end, and `hints` null or valid for a read.
    let (host, service, hints) = unsafe {
        let text = |text: *const c_char| {
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        (text(host), text(service), hints.as_ref())
    };
    let port = match service.as_deref().map(str::parse::<u16>) {
        None => 0,
        Some(Ok(port)) => port,
        Some(Err(_)) => return libc::EAI_SERVICE,
    };
    let (family, kind, flags) =
        hints.map_or((libc::AF_UNSPEC, 0, 0), |hints| (hints.ai_family, hints.ai_socktype, hints.ai_flags));
    let fits = |address: &SocketAddr| match family {
        libc::AF_INET => address.is_ipv4(),
        libc::AF_INET6 => address.is_ipv6(),
        _ => true,
    };
    let found = match addresses(process, host.as_deref(), port, flags & libc::AI_PASSIVE != 0) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let mut list: *mut addrinfo = null_mut();
    for found in found.into_iter().filter(fits).rev() {
        let (storage, length) = address::encoded(found);
        let kind = if kind == 0 { libc::SOCK_STREAM } else { kind };
        let info = addrinfo {
            ai_flags: 0,
            ai_family: c_int::from(storage.ss_family),
            ai_socktype: kind,
            ai_protocol: if kind == libc::SOCK_DGRAM { libc::IPPROTO_UDP } else { libc::IPPROTO_TCP },
            ai_addrlen: length,
            ai_addr: null_mut(),
            ai_canonname: null_mut(),
            ai_next: list,
        };
        let entry = Box::into_raw(Box::new(Entry { info, address: storage }));
        // SAFETY: it was just made, and nobody else has it.
        unsafe { (*entry).info.ai_addr = (&raw mut (*entry).address).cast() };
        list = entry.cast();
    }
    if list.is_null() {
        return libc::EAI_NONAME;
    }
    // SAFETY: getaddrinfo(3): it is valid for a write.
    unsafe { result.write(list) };
    0
}

/// # Safety
/// As freeaddrinfo(3). A guest frees what a guest was given.
#[unsafe(no_mangle)]
unsafe extern "C" fn freeaddrinfo(list: *mut addrinfo) {
    if caller().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("freeaddrinfo", fn(*mut addrinfo) -> ())(list) };
    }
    let mut entry = list.cast::<Entry>();
    while !entry.is_null() {
        // SAFETY: `getaddrinfo` made each entry from a box, and linked them by `ai_next`.
        let freed = unsafe { Box::from_raw(entry) };
        entry = freed.info.ai_next.cast();
    }
}
