//! getaddrinfo(3) and getnameinfo(3): what needs no name server is asked of the real C library as well.
#![expect(unsafe_code, reason = "they are foreign functions")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use steelmill_sim::{Seed, check};

use crate::succeeds;

/// Family, kind, protocol, address with its scope, and canonical name.
type Entry = (c_int, c_int, c_int, String, Option<String>);

#[derive(Debug, Clone, Copy)]
struct Question {
    host: Option<&'static str>,
    service: Option<&'static str>,
    family: c_int,
    kind: c_int,
    protocol: c_int,
    flags: c_int,
}

fn question(host: impl Into<Option<&'static str>>, service: impl Into<Option<&'static str>>) -> Question {
    let (host, service) = (host.into(), service.into());
    Question { host, service, family: 0, kind: libc::SOCK_STREAM, protocol: 0, flags: 0 }
}

fn ask(question: Question) -> Result<Vec<Entry>, c_int> {
    let c = |text: Option<&str>| text.map(|text| CString::new(text).expect("no zero"));
    let (host, service) = (c(question.host), c(question.service));
    let pointer = |text: &Option<CString>| text.as_ref().map_or(null(), |text| text.as_ptr());
    let mut entries = Vec::new();
    // SAFETY: getaddrinfo(3): two strings or nulls, hints that are zero where nothing is said, and room for a pointer; what it
    // gave is read as long as it is there, and freed once.
    unsafe {
        let mut hints: libc::addrinfo = std::mem::zeroed();
        (hints.ai_family, hints.ai_socktype) = (question.family, question.kind);
        (hints.ai_protocol, hints.ai_flags) = (question.protocol, question.flags);
        let mut list = null_mut();
        match libc::getaddrinfo(pointer(&host), pointer(&service), &hints, &mut list) {
            0 => {}
            code => return Err(code),
        }
        let mut at = list;
        while let Some(info) = at.as_ref() {
            let name = (!info.ai_canonname.is_null())
                .then(|| CStr::from_ptr(info.ai_canonname).to_string_lossy().into_owned());
            let address = address(info.ai_addr);
            entries.push((info.ai_family, info.ai_socktype, info.ai_protocol, address, name));
            at = info.ai_next;
        }
        libc::freeaddrinfo(list);
    }
    Ok(entries)
}

/// # Safety
/// It is an IPv4 or IPv6 address.
unsafe fn address(at: *const libc::sockaddr) -> String {
    // SAFETY: as the caller says.
    unsafe {
        if c_int::from((*at).sa_family) == libc::AF_INET {
            let at = at.cast::<libc::sockaddr_in>().read();
            let ip = Ipv4Addr::from_bits(u32::from_be(at.sin_addr.s_addr));
            return format!("{ip}:{}", u16::from_be(at.sin_port));
        }
        let at = at.cast::<libc::sockaddr_in6>().read();
        let ip = Ipv6Addr::from_octets(at.sin6_addr.s6_addr);
        format!("[{ip}%{}]:{}", at.sin6_scope_id, u16::from_be(at.sin6_port))
    }
}

fn name(at: &str, flags: c_int, room: usize) -> Result<(String, String), c_int> {
    let at: SocketAddr = at.parse().expect("an address");
    let (mut host, mut service) = ([0 as c_char; 64], [0 as c_char; 64]);
    let (host_at, service_at) = (host.as_mut_ptr(), service.as_mut_ptr());
    // SAFETY: getnameinfo(3): an address of its length, and two buffers that are at least as long as it is told.
    let code = unsafe {
        match at {
            SocketAddr::V4(at) => {
                let mut raw: libc::sockaddr_in = std::mem::zeroed();
                raw.sin_family = libc::AF_INET as libc::sa_family_t;
                (raw.sin_port, raw.sin_addr.s_addr) = (at.port().to_be(), at.ip().to_bits().to_be());
                let length = size_of_val(&raw) as libc::socklen_t;
                let room = room as libc::socklen_t;
                libc::getnameinfo((&raw const raw).cast(), length, host_at, room, service_at, room, flags)
            }
            SocketAddr::V6(at) => {
                let mut raw: libc::sockaddr_in6 = std::mem::zeroed();
                raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                (raw.sin6_port, raw.sin6_addr.s6_addr) = (at.port().to_be(), at.ip().octets());
                raw.sin6_scope_id = at.scope_id();
                let length = size_of_val(&raw) as libc::socklen_t;
                let room = room as libc::socklen_t;
                libc::getnameinfo((&raw const raw).cast(), length, host_at, room, service_at, room, flags)
            }
        }
    };
    // SAFETY: both end with a zero: at the latest the last one, which nothing was written to.
    let texts =
        unsafe { [host_at, service_at].map(|text| CStr::from_ptr(text).to_string_lossy().into_owned()) };
    match (code, texts) {
        (0, [host, service]) => Ok((host, service)),
        (code, _) => Err(code),
    }
}

/// Asks on a machine, beside one called `Peer`.
fn on_a_machine(ask: impl Fn() + Send + Sync + 'static) {
    let ask = Arc::new(ask);
    check(Seed(1), move |sim| {
        let ask = ask.clone();
        async move {
            sim.client("Peer");
            sim.set_name("both.test", &["10.0.0.9".parse()?, "fd00::9".parse()?]);
            sim.set_name("old.test", &["10.0.0.9".parse()?]);
            succeeds(sim, move || ask()).await
        }
    });
}

#[test]
fn numbers_and_services_are_read_as_the_c_library_does() {
    use libc::*;
    let local = || question("127.0.0.1", "80");
    let mut questions = vec![
        Question { kind: 0, ..question(None, "80") },
        Question { kind: 0, flags: AI_PASSIVE, ..question(None, "80") },
        Question { family: AF_INET6, ..question(None, "80") },
        Question { family: AF_INET6, flags: AI_PASSIVE, ..question(None, "80") },
        question(None, None),
        question("*", "*"),
        Question { kind: 0, ..local() },
        Question { kind: SOCK_RAW, ..local() },
        Question { kind: SOCK_RAW, ..question("127.0.0.1", None) },
        Question { family: 77, ..local() },
        Question { kind: 99, ..local() },
        Question { protocol: IPPROTO_UDP, ..local() },
        Question { kind: 0, protocol: IPPROTO_UDP, ..local() },
        Question { kind: 0, protocol: IPPROTO_TCP, ..local() },
        Question { flags: AI_CANONNAME, ..local() },
        Question { flags: AI_CANONNAME, ..question(None, "80") },
        Question { flags: 1 << 20, ..local() },
        Question { flags: AI_NUMERICHOST, ..question("peer", "80") },
        Question { family: AF_INET6, ..local() },
        Question { family: AF_INET6, flags: AI_V4MAPPED, ..local() },
        Question { family: AF_INET, ..question("::1", "80") },
        Question { flags: AI_NUMERICSERV, ..question("127.0.0.1", "http") },
        question("fe80::1%lo", "80"),
        question("fe80::1%1", "80"),
        question("", "80"),
    ];
    let hosts = ["127.1", "0x7f000001", "2130706433", "010.1.2.3", "1.2.3", "::ffff:1.2.3.4", "4294967295"];
    questions.extend(hosts.map(|host| question(host, "80")));
    let no_hosts = ["1.2.3.256", "1.2.3.4.5", "08", "256.1", "1..2", "0x"];
    questions.extend(no_hosts.map(|host| Question { flags: AI_NUMERICHOST, ..question(host, "80") }));
    let ports = ["", "080", " 80", "+80", "-1", "80x", "65536", "99999", "nosuch"];
    questions.extend(ports.map(|port| question("127.0.0.1", port)));
    if Path::new("/etc/services").exists() {
        questions.extend([
            question("127.0.0.1", "http"),
            question("127.0.0.1", "https"),
            Question { kind: SOCK_DGRAM, ..question("127.0.0.1", "http") },
            Question { kind: SOCK_DGRAM, ..question("127.0.0.1", "domain") },
            Question { kind: 0, ..question("127.0.0.1", "domain") },
            Question { kind: 0, ..question("127.0.0.1", "nosuch") },
        ]);
    }
    assert_eq!(ask(question("127.1", "80")).expect("an address")[0].3, "127.0.0.1:80");
    let answered: Vec<_> = questions.into_iter().map(|question| (question, ask(question))).collect();
    on_a_machine(move || {
        for (question, real) in &answered {
            assert_eq!(ask(*question), *real, "{question:?}");
        }
    });
}

#[test]
fn machines_have_an_address_of_either_family() {
    on_a_machine(|| {
        let of = |host, family| Question { family, ..question(host, "80") };
        let ips = |question| {
            let found: Result<Vec<Entry>, c_int> = ask(question);
            found.map(|all| all.into_iter().map(|entry| entry.3).collect::<Vec<_>>())
        };
        let any = ips(of("PEER", libc::AF_UNSPEC)).expect("an address");
        assert!(any.len() == 1 && any[0].starts_with("10."), "{any:?}");
        assert_eq!(ips(of("peer", libc::AF_INET)), Ok(any));
        let v6 = ips(of("peer", libc::AF_INET6)).expect("an address");
        assert!(v6.len() == 1 && v6[0].starts_with("[fd00::"), "{v6:?}");
        let both = ips(of("both.test", libc::AF_UNSPEC));
        assert_eq!(both, Ok(vec!["10.0.0.9:80".to_owned(), "[fd00::9%0]:80".to_owned()]));
        assert_eq!(ips(of("both.test", libc::AF_INET6)), Ok(vec!["[fd00::9%0]:80".to_owned()]));
        let old = of("old.test", libc::AF_INET6);
        assert_eq!(ips(old), Err(libc::EAI_NONAME));
        let mapped = ips(Question { flags: libc::AI_V4MAPPED, ..old });
        assert_eq!(mapped, Ok(vec!["[::ffff:10.0.0.9%0]:80".to_owned()]));
        assert_eq!(ips(of("nobody", libc::AF_UNSPEC)), Err(libc::EAI_NONAME));
    });
}

#[test]
fn addresses_have_names() {
    use libc::*;
    let numeric = NI_NUMERICHOST | NI_NUMERICSERV;
    let asked = [
        ("10.9.8.7:12345", numeric, 8),
        ("127.0.0.1:80", numeric, 64),
        ("[::1]:80", numeric, 64),
        ("[fe80::1%1]:80", numeric, 64),
        ("127.0.0.1:1", 1 << 20, 64),
    ];
    let real = asked.map(|(at, flags, room)| name(at, flags, room));
    on_a_machine(move || {
        for ((at, flags, room), real) in asked.iter().zip(&real) {
            assert_eq!(name(at, *flags, *room), *real, "{at} {flags}");
        }
        assert_eq!(name("10.9.8.7:12345", 0, 64), Ok(("10.9.8.7".to_owned(), "12345".to_owned())));
        assert_eq!(name("10.9.8.7:12345", NI_NAMEREQD, 64), Err(EAI_NONAME));
        let peer = ("peer", 80).to_socket_addrs().expect("it is known").next().expect("an address");
        let by_udp = name(&peer.to_string(), NI_DGRAM, 64);
        assert_eq!(by_udp, Ok(("Peer".to_owned(), "80".to_owned())), "http is no service of UDP");
        assert_eq!(name("127.0.0.1:53", NI_DGRAM, 64), Ok(("localhost".to_owned(), "domain".to_owned())));
        // SAFETY: gethostbyname(3): a string.
        assert!(unsafe { gethostbyname(c"peer".as_ptr()) }.is_null(), "it is refused");
    });
}

unsafe extern "C" {
    fn gethostbyname(name: *const c_char) -> *const std::ffi::c_void;
}
