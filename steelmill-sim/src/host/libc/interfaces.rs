//! The machine's network interfaces: getifaddrs(3), if_nametoindex(3) and their kin, and what ioctl(2) tells of one (netdevice(7)).

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulong};
use std::net::{IpAddr, SocketAddr};
use std::ptr::null_mut;

use libc::{if_nameindex as NameIndex, ifaddrs, ifreq, sockaddr, sockaddr_storage};

use super::{address, answer, caller};
use crate::machine::cluster;
use crate::machine::descriptors::Errno;
use crate::machine::net::interfaces::Interface;
use crate::machine::real::real;
use crate::machine::world::Process;

fn interfaces(process: Process) -> [Interface; 2] {
    cluster::with(process.run, |run| run.interfaces(process.machine))
}

/// One entry of getifaddrs(3), and what it points to. The entry is first, so that a pointer to it is one to the whole.
#[repr(C)]
struct Entry {
    entry: ifaddrs,
    name: CString,
    address: sockaddr_storage,
    mask: sockaddr_storage,
    broadcast: sockaddr_storage,
}

fn encoded(ip: IpAddr) -> sockaddr_storage {
    address::encoded(SocketAddr::new(ip, 0)).0
}

/// The hardware's address as packet(7) has it, in a form that has room for it.
fn link_address(interface: &Interface) -> sockaddr_storage {
    let (kind, hardware) = interface.hardware;
    let mut address = [0; 8];
    address[..6].copy_from_slice(&hardware);
    // SAFETY: all zeros are a sockaddr_storage, which is aligned and large enough for every address.
    unsafe {
        let mut storage: sockaddr_storage = std::mem::zeroed();
        (&raw mut storage).cast::<libc::sockaddr_ll>().write(libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: 0,
            sll_ifindex: interface.index as c_int,
            sll_hatype: kind,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: address,
        });
        storage
    }
}

/// The network's bits of an address.
fn mask_of(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4((u32::MAX << (32 - u32::from(prefix))).into()),
        IpAddr::V6(_) => IpAddr::V6((u128::MAX << (128 - u32::from(prefix))).into()),
    }
}

/// # Safety
/// As getifaddrs(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getifaddrs(first: *mut *mut ifaddrs) -> c_int {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe { real!("getifaddrs", fn(*mut *mut ifaddrs) -> c_int)(first) };
    };
    let interfaces = interfaces(process);
    let links = interfaces.iter().map(|interface| (interface, None));
    let addresses = interfaces
        .iter()
        .flat_map(|interface| interface.addresses.iter().map(move |one| (interface, Some(*one))));
    // From the last to the first, as each points to the next.
    let mut next: *mut ifaddrs = null_mut();
    for (interface, of) in links.chain(addresses).collect::<Vec<_>>().into_iter().rev() {
        // SAFETY: all zeros are an ifaddrs and a sockaddr_storage.
        let mut entry = Box::new(unsafe {
            Entry {
                entry: std::mem::zeroed(),
                name: CString::new(interface.name).expect("it has no zero"),
                address: std::mem::zeroed(),
                mask: std::mem::zeroed(),
                broadcast: std::mem::zeroed(),
            }
        });
        entry.address = of.map_or_else(|| link_address(interface), |(ip, _)| encoded(ip));
        let mut broadcast = None;
        if let Some((ip, prefix)) = of {
            entry.mask = encoded(mask_of(ip, prefix));
            entry.entry.ifa_netmask = (&raw mut entry.mask).cast();
            broadcast = match ip {
                IpAddr::V4(ip) => interface.broadcast(ip, prefix),
                IpAddr::V6(_) => None,
            };
        }
        if let Some(broadcast) = broadcast {
            entry.broadcast = encoded(broadcast.into());
            entry.entry.ifa_ifu = (&raw mut entry.broadcast).cast();
        }
        entry.entry.ifa_next = next;
        entry.entry.ifa_name = entry.name.as_ptr().cast_mut();
        entry.entry.ifa_flags = interface.flags as c_uint;
        entry.entry.ifa_addr = (&raw mut entry.address).cast();
        next = Box::into_raw(entry).cast();
    }
    // SAFETY: getifaddrs(3): it is valid for a write.
    unsafe { first.write(next) };
    0
}

/// # Safety
/// As freeifaddrs(3): what getifaddrs(3) gave.
#[unsafe(no_mangle)]
unsafe extern "C" fn freeifaddrs(first: *mut ifaddrs) {
    if caller().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("freeifaddrs", fn(*mut ifaddrs) -> ())(first) };
    }
    let mut next: *mut Entry = first.cast();
    while !next.is_null() {
        // SAFETY: each was boxed by `getifaddrs`, and points to the next, the last one to none.
        let entry = unsafe { Box::from_raw(next) };
        next = entry.entry.ifa_next.cast();
    }
}

/// # Safety
/// As if_nametoindex(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn if_nametoindex(name: *const c_char) -> c_uint {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe { real!("if_nametoindex", fn(*const c_char) -> c_uint)(name) };
    };
    // SAFETY: if_nametoindex(3): it is a string.
    let name = unsafe { CStr::from_ptr(name) };
    let found =
        interfaces(process).into_iter().find(|interface| interface.name.as_bytes() == name.to_bytes());
    if found.is_none() {
        answer::<c_int>(Err(libc::ENODEV));
    }
    found.map_or(0, |interface| interface.index)
}

/// # Safety
/// As if_indextoname(3): there is room for `IF_NAMESIZE` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn if_indextoname(index: c_uint, name: *mut c_char) -> *mut c_char {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe { real!("if_indextoname", fn(c_uint, *mut c_char) -> *mut c_char)(index, name) };
    };
    match interfaces(process).into_iter().find(|interface| interface.index == index) {
        Some(interface) => {
            // SAFETY: as the caller says.
            unsafe { write_name(interface.name, name) };
            name
        }
        None => {
            answer::<c_int>(Err(libc::ENXIO));
            null_mut()
        }
    }
}

/// # Safety
/// There is room for `IF_NAMESIZE` bytes.
unsafe fn write_name(name: &str, to: *mut c_char) {
    // SAFETY: as the caller says: names are shorter than that.
    unsafe {
        std::ptr::copy_nonoverlapping(name.as_ptr().cast(), to, name.len());
        to.add(name.len()).write(0);
    }
}

/// # Safety
/// As if_nameindex(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn if_nameindex() -> *mut NameIndex {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe { real!("if_nameindex", fn() -> *mut NameIndex)() };
    };
    let all = interfaces(process).map(|interface| NameIndex {
        if_index: interface.index,
        if_name: CString::new(interface.name).expect("it has no zero").into_raw(),
    });
    let mut all = Vec::from(all);
    all.push(NameIndex { if_index: 0, if_name: null_mut() });
    Box::leak(all.into_boxed_slice()).as_mut_ptr()
}

/// # Safety
/// As if_freenameindex(3): what if_nameindex(3) gave.
#[unsafe(no_mangle)]
unsafe extern "C" fn if_freenameindex(all: *mut NameIndex) {
    if caller().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("if_freenameindex", fn(*mut NameIndex) -> ())(all) };
    }
    // SAFETY: it was made above, and ends with an entry without a name.
    unsafe {
        let count = (0..).take_while(|n| !(*all.add(*n)).if_name.is_null()).count();
        let all = Vec::from_raw_parts(all, count + 1, count + 1);
        all.iter().take(count).for_each(|one| drop(CString::from_raw(one.if_name)));
    }
}

/// What ioctl(2) tells of an interface; `None` for other requests.
///
/// # Safety
/// `argument` is what the request takes.
pub(super) unsafe fn control(
    process: Process,
    request: c_ulong,
    argument: *mut c_int,
) -> Option<Result<c_int, Errno>> {
    let of_address = [libc::SIOCGIFADDR, libc::SIOCGIFNETMASK, libc::SIOCGIFBRDADDR, libc::SIOCGIFFLAGS];
    let of_link = [libc::SIOCGIFHWADDR, libc::SIOCGIFMTU, libc::SIOCGIFINDEX];
    if !of_address.contains(&request) && !of_link.contains(&request) {
        return None;
    }
    // SAFETY: netdevice(7): these take an ifreq, with a name that ends with a zero.
    let request_of = unsafe { &mut *argument.cast::<ifreq>() };
    let name: Vec<u8> =
        request_of.ifr_name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    let all = interfaces(process);
    let Some(interface) = all.iter().find(|interface| interface.name.as_bytes() == name) else {
        return Some(Err(libc::ENODEV));
    };
    let first = interface.addresses.iter().find_map(|(ip, prefix)| match ip {
        IpAddr::V4(ip) => Some((*ip, *prefix)),
        IpAddr::V6(_) => None,
    });
    let (ip, prefix) = first.expect("each interface has an address of IPv4");
    let as_address = |storage: sockaddr_storage| {
        // SAFETY: a sockaddr_storage begins as a sockaddr, which is shorter.
        unsafe { (&raw const storage).cast::<sockaddr>().read() }
    };
    let given = &mut request_of.ifr_ifru;
    match request {
        libc::SIOCGIFADDR => given.ifru_addr = as_address(encoded(ip.into())),
        libc::SIOCGIFNETMASK => given.ifru_netmask = as_address(encoded(mask_of(ip.into(), prefix))),
        libc::SIOCGIFBRDADDR => {
            let broadcast = interface.broadcast(ip, prefix).unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
            given.ifru_broadaddr = as_address(encoded(broadcast.into()));
        }
        libc::SIOCGIFFLAGS => given.ifru_flags = interface.flags as _,
        libc::SIOCGIFMTU => given.ifru_mtu = interface.mtu as c_int,
        libc::SIOCGIFINDEX => given.ifru_ifindex = interface.index as c_int,
        _ => {
            let (kind, hardware) = interface.hardware;
            let mut address = sockaddr { sa_family: kind, sa_data: [0; 14] };
            address.sa_data.iter_mut().zip(hardware).for_each(|(to, byte)| *to = byte as c_char);
            given.ifru_hwaddr = address;
        }
    }
    Some(Ok(0))
}
