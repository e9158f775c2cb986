//! Host names: getaddrinfo(3) and getnameinfo(3), answered by the cluster, whose machines are known by their names.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ptr::{null, null_mut};

use libc::{addrinfo, sockaddr, socklen_t};

use super::paths::{confined, refused};
use super::services::{self, Kind, Service};
use super::{address, caller, guest, time};
use crate::machine::cluster;
use crate::machine::net::NameFamily;
use crate::machine::real::real;
use crate::machine::world::Process;
use crate::schema::system_use::SystemCall;

/// The host has no address of the family (getaddrinfo(3)).
const EAI_ADDRFAMILY: c_int = -9;

/// An entry of an answer, with the address that it points to.
#[repr(C)]
struct Entry {
    info: addrinfo,
    address: libc::sockaddr_storage,
    /// Only the first has the name.
    name: Option<CString>,
}

/// What an answer may hold.
#[derive(Clone, Copy)]
struct Wanted {
    family: c_int,
    flags: c_int,
}

impl Wanted {
    fn has(self, flag: c_int) -> bool {
        self.flags & flag != 0
    }

    fn fits(self, ip: &IpAddr) -> bool {
        match self.family {
            libc::AF_INET => ip.is_ipv4(),
            libc::AF_INET6 => ip.is_ipv6(),
            _ => true,
        }
    }
}

/// An address of a host, and of which interface it is, if it is of one only.
type Found = (IpAddr, u32);

/// The addresses of a host name; an `EAI_` code where there are none.
fn addresses(process: Process, host: Option<&str>, wanted: Wanted) -> Result<Vec<Found>, c_int> {
    let of_this =
        |ips: [IpAddr; 2]| Ok(ips.into_iter().filter(|ip| wanted.fits(ip)).map(|ip| (ip, 0)).collect());
    let Some(host) = host else {
        return match wanted.has(libc::AI_PASSIVE) {
            true => of_this([Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]),
            false => of_this([Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]),
        };
    };
    if let Some(found) = number(process, host) {
        return in_family(found, wanted);
    }
    if wanted.has(libc::AI_NUMERICHOST) || host.is_empty() {
        return Err(libc::EAI_NONAME);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return of_this([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    await_lookup(process)?;
    let (all, ipv6) = cluster::with(process.run, |run| {
        let all = run.addresses_of(host, 0).map(|all| all.map(|address| address.ip()).collect::<Vec<_>>());
        (all.unwrap_or_default(), run.ipv6_of(host))
    });
    let fitting: Vec<Found> = all.iter().filter(|ip| wanted.fits(ip)).map(|ip| (*ip, 0)).collect();
    match ipv6 {
        _ if !fitting.is_empty() => Ok(fitting),
        Some(ip) if wanted.family == libc::AF_INET6 => Ok(vec![(ip, 0)]),
        _ if wanted.family == libc::AF_INET6 && wanted.has(libc::AI_V4MAPPED) && !all.is_empty() => {
            Ok(all.into_iter().map(|ip| (mapped(ip), 0)).collect())
        }
        _ => Err(libc::EAI_NONAME),
    }
}

/// An address that is written as one.
fn number(process: Process, host: &str) -> Option<Found> {
    if let Some(ip) = cluster::with(process.run, |run| run.written_ipv4(host)) {
        return Some((ip.into(), 0));
    }
    let (ip, scope) = host.split_once('%').map_or((host, None), |(ip, scope)| (ip, Some(scope)));
    let ip = IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?);
    let scope = match scope {
        None => 0,
        Some("lo") => 1,
        Some(number) => number.parse().ok()?,
    };
    Some((ip, scope))
}

fn in_family((ip, scope): Found, wanted: Wanted) -> Result<Vec<Found>, c_int> {
    if wanted.fits(&ip) {
        return Ok(vec![(ip, scope)]);
    }
    match wanted.has(libc::AI_V4MAPPED) && ip.is_ipv4() {
        true => Ok(vec![(mapped(ip), 0)]),
        false => Err(EAI_ADDRFAMILY),
    }
}

fn mapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        ip => ip,
    }
}

/// A resolver in trouble takes its time, and has no answer now and then.
fn await_lookup(process: Process) -> Result<(), c_int> {
    let Some(fate) = cluster::with(process.run, |run| run.lookup_fate(process.machine)) else {
        return Ok(());
    };
    if guest().is_some() {
        // A signal's handler does not end a lookup.
        let mut left = fate.delay;
        while let Err(rest) = time::pause(process, left) {
            left = rest;
        }
    }
    if fate.fails { Err(libc::EAI_AGAIN) } else { Ok(()) }
}

/// The answer to a question, in the order of the C library: each address with each kind of socket.
fn answer(
    process: Process,
    host: Option<&str>,
    service: Option<&str>,
    hints: Option<&addrinfo>,
) -> Result<Vec<(Found, Kind)>, c_int> {
    const KNOWN: c_int = libc::AI_PASSIVE
        | libc::AI_CANONNAME
        | libc::AI_NUMERICHOST
        | libc::AI_V4MAPPED
        | libc::AI_ALL
        | libc::AI_ADDRCONFIG
        | libc::AI_NUMERICSERV
        | 0x1c0; // AI_IDN, AI_CANONIDN and one that is no longer used
    let (family, socket, protocol, flags) = hints.map_or((libc::AF_UNSPEC, 0, 0, 0), |hints| {
        (hints.ai_family, hints.ai_socktype, hints.ai_protocol, hints.ai_flags)
    });
    let wanted = Wanted { family, flags };
    let (host, service) = (host.filter(|host| *host != "*"), service.filter(|service| *service != "*"));
    if host.is_none() && service.is_none() {
        return Err(libc::EAI_NONAME);
    }
    if flags & !KNOWN != 0 || (host.is_none() && wanted.has(libc::AI_CANONNAME)) {
        return Err(libc::EAI_BADFLAGS);
    }
    let service = service.map_or(Service::None, services::parse);
    if matches!(service, Service::Named(_)) && wanted.has(libc::AI_NUMERICSERV) {
        return Err(libc::EAI_NONAME);
    }
    if ![libc::AF_UNSPEC, libc::AF_INET, libc::AF_INET6].contains(&family) {
        return Err(libc::EAI_FAMILY);
    }
    let kinds = services::kinds(socket, protocol, service)?;
    let found = addresses(process, host, wanted)?;
    Ok(found.into_iter().flat_map(|found| kinds.iter().map(move |kind| (found, *kind))).collect())
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
    let (host, service, hints) = unsafe { (text(host), text(service), hints.as_ref()) };
    let found = match answer(process, host.as_deref(), service.as_deref(), hints) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let wants_name = hints.is_some_and(|hints| hints.ai_flags & libc::AI_CANONNAME != 0);
    let mut name = host.filter(|_| wants_name).and_then(|host| CString::new(host.as_bytes()).ok());
    let mut list: *mut addrinfo = null_mut();
    let mut end = &raw mut list;
    for ((ip, scope), kind) in found {
        let (storage, length) = address::encoded(match ip {
            IpAddr::V4(_) => SocketAddr::new(ip, kind.port),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, kind.port, 0, scope).into(),
        });
        let info = addrinfo {
            ai_flags: hints.map_or(0, |hints| hints.ai_flags),
            ai_family: c_int::from(storage.ss_family),
            ai_socktype: kind.socket,
            ai_protocol: kind.protocol,
            ai_addrlen: length,
            ai_addr: null_mut(),
            ai_canonname: null_mut(),
            ai_next: null_mut(),
        };
        let entry = Box::into_raw(Box::new(Entry { info, address: storage, name: name.take() }));
        // SAFETY: it was just made, and nobody else has it; `end` is the list's last pointer.
        unsafe {
            (*entry).info.ai_addr = (&raw mut (*entry).address).cast();
            if let Some(name) = &(*entry).name {
                (*entry).info.ai_canonname = name.as_ptr().cast_mut();
            }
            *end = entry.cast();
            end = &raw mut (*entry).info.ai_next;
        }
    }
    // SAFETY: getaddrinfo(3): it is valid for a write.
    unsafe { result.write(list) };
    0
}

/// # Safety
/// The pointer is null or of a string with a zero at its end, which outlives the text.
unsafe fn text<'a>(text: *const c_char) -> Option<Cow<'a, str>> {
    // SAFETY: as the caller says.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy())
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

/// Host and service of an address, as text.
fn names(
    process: Process,
    at: SocketAddr,
    flags: c_int,
    wants_host: bool,
) -> Result<(String, String), c_int> {
    let has = |flag: c_int| flags & flag != 0;
    let mut host = None;
    if wants_host && !has(libc::NI_NUMERICHOST) {
        await_lookup(process)?;
        host = cluster::with(process.run, |run| run.name_of(at.ip(), process.machine));
    }
    if wants_host && host.is_none() && has(libc::NI_NAMEREQD) {
        return Err(libc::EAI_NONAME);
    }
    let host = host.unwrap_or_else(|| match at {
        SocketAddr::V6(at) if at.scope_id() == 1 && at.ip().is_unicast_link_local() => {
            format!("{}%lo", at.ip())
        }
        SocketAddr::V6(at) if at.scope_id() != 0 => format!("{}%{}", at.ip(), at.scope_id()),
        at => at.ip().to_string(),
    });
    let name = services::name_of(at.port(), has(libc::NI_DGRAM)).filter(|_| !has(libc::NI_NUMERICSERV));
    Ok((host, name.map_or_else(|| at.port().to_string(), str::to_owned)))
}

/// # Safety
/// As getnameinfo(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getnameinfo(
    at: *const sockaddr,
    length: socklen_t,
    host: *mut c_char,
    host_length: socklen_t,
    service: *mut c_char,
    service_length: socklen_t,
    flags: c_int,
) -> c_int {
    let Some(process) = caller() else {
        type GetNameInfo = unsafe extern "C" fn(
            *const sockaddr,
            socklen_t,
            *mut c_char,
            socklen_t,
            *mut c_char,
            socklen_t,
            c_int,
        ) -> c_int;
        // SAFETY: as ours.
        return unsafe {
            real!(@ "getnameinfo", GetNameInfo)(at, length, host, host_length, service, service_length, flags)
        };
    };
    if flags & !0x3f != 0 {
        return libc::EAI_BADFLAGS;
    }
    // SAFETY: getnameinfo(3): it is valid for reads of its length.
    let Ok(NameFamily::Internet(mut of)) = unsafe { address::decode(at, length) }.map(|name| name.family)
    else {
        return libc::EAI_FAMILY;
    };
    if let SocketAddr::V6(of) = &mut of
        && length as usize >= size_of::<libc::sockaddr_in6>()
    {
        let at: *const libc::sockaddr_in6 = at.cast();
        // SAFETY: as above, and it is of this family and long enough.
        of.set_scope_id(unsafe { (&raw const (*at).sin6_scope_id).read_unaligned() });
    }
    let (wants_host, wants_service) =
        (!host.is_null() && host_length > 0, !service.is_null() && service_length > 0);
    if !wants_host && !wants_service {
        return libc::EAI_NONAME;
    }
    let (host_name, service_name) = match names(process, of, flags, wants_host) {
        Ok(names) => names,
        Err(code) => return code,
    };
    // SAFETY: getnameinfo(3): each is valid for writes of its length.
    let is_put = unsafe {
        (!wants_host || put(&host_name, host, host_length))
            && (!wants_service || put(&service_name, service, service_length))
    };
    if is_put { 0 } else { libc::EAI_OVERFLOW }
}

/// Writes a string and its zero, if there is room.
///
/// # Safety
/// `to` is valid for writes of `room` bytes.
unsafe fn put(text: &str, to: *mut c_char, room: socklen_t) -> bool {
    if text.len() >= room as usize {
        return false;
    }
    // SAFETY: as the caller says, and there is room.
    unsafe {
        to.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        to.add(text.len()).write(0);
    }
    true
}

const RESOLVER: &str = "refused lookups";

/// An error of the resolver that no further attempt mends (`NO_RECOVERY` of gethostbyname(3)).
const NO_RECOVERY: c_int = 3;

unsafe extern "C" {
    safe fn __h_errno_location() -> *mut c_int;
}

/// What POSIX no longer has: the C library would ask a real name server. They fail as without one.
macro_rules! refuses {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*);)*) => {$(
        /// # Safety
        /// As gethostbyname(3).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> *const c_void {
            match confined() {
                Some(process) => {
                    let _ = refused::<c_int>(process, SystemCall::Other, RESOLVER, libc::ENOSYS);
                    // SAFETY: every thread has one.
                    unsafe { *__h_errno_location() = NO_RECOVERY };
                    null()
                }
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> *const c_void)($($argument),*) },
            }
        }
    )*};
}

refuses! {
    "gethostbyname" gethostbyname(name: *const c_char);
    "gethostbyname2" gethostbyname2(name: *const c_char, family: c_int);
    "gethostbyaddr" gethostbyaddr(address: *const c_void, length: socklen_t, family: c_int);
}
