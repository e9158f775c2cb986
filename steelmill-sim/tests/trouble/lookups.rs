//! Name lookups that take time and fail, for typed sockets and for programs.

use std::time::Duration;

use steelmill_core::Clock as _;
use steelmill_sim::{LookupTrouble, Seed, check};

use crate::SECOND;

const MILLION: u32 = 1_000_000;

#[test]
fn a_lookup_fails_on_the_machine_that_has_trouble_and_on_no_other() {
    check(Seed(1), |sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let _listener = b.network().bind("0.0.0.0:80").await?;
        let inbox = b.network().bind_udp("0.0.0.0:9").await?;
        let trouble = a.trouble_lookups(LookupTrouble { failing_ppm: MILLION, ..LookupTrouble::default() });
        let socket = a.network().bind_udp("0.0.0.0:0").await?;
        for error in [
            a.network().lookup("b:80").await.expect_err("it fails"),
            a.network().connect("b:80").await.expect_err("it fails"),
            socket.connect("b:9").await.expect_err("it fails"),
            socket.send_to(b"x", "b:9").await.expect_err("it fails"),
        ] {
            let text = "failed to lookup address information: Temporary failure in name resolution";
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.raw_os_error(), None);
        }
        sim.network().connect("b:80").await?;
        b.network().connect("a:80").await.expect_err("no listener, but a name");

        // No resolver is asked for addresses, and for what is in /etc/hosts.
        a.network().connect((b.address(), 80)).await?;
        a.network().lookup("localhost:80").await?;
        drop(trouble);
        socket.send_to(b"x", "b:9").await?;
        assert_eq!(inbox.recv(&mut [0; 1]).await?, 1);
        Ok(())
    });
}

#[test]
fn a_lookup_takes_up_to_the_time_that_is_set_and_finds_what_is_there_then() {
    check(Seed(1), |sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let trouble = a.trouble_lookups(LookupTrouble { delay_max: SECOND, failing_ppm: 0 });
        let (mut least, mut most) = (SECOND, Duration::ZERO);
        for _ in 0..100 {
            let begun = sim.elapsed();
            assert_eq!(a.network().lookup("b:80").await?[0].ip(), b.address());
            let took = sim.elapsed() - begun;
            (least, most) = (least.min(took), most.max(took));
        }
        assert!(least < SECOND / 10 && (SECOND * 9 / 10..=SECOND).contains(&most), "{least:?} to {most:?}");

        // Two troubles add up.
        let more = a.trouble_lookups(LookupTrouble { delay_max: 9 * SECOND, failing_ppm: 500_000 });
        let (begun, mut failed) = (sim.elapsed(), 0);
        for _ in 0..100 {
            failed += u32::from(a.network().lookup("b:80").await.is_err());
        }
        let took = sim.elapsed() - begun;
        assert!((35..65).contains(&failed) && took > 300 * SECOND, "{failed} failed, in {took:?}");

        drop((trouble, more));
        let _slow = a.trouble_lookups(LookupTrouble { delay_max: SECOND, failing_ppm: 0 });
        sim.set_name("service", &[a.address()]);
        let network = a.network();
        let lookup = sim.spawn("looks up", async move { network.lookup("service:80").await });
        sim.clock().sleep(Duration::from_micros(1)).await;
        sim.set_name("service", &[b.address()]);
        assert_eq!(lookup.await??[0].ip(), b.address());
        Ok(())
    });
}

#[test]
fn a_connect_that_is_given_up_while_its_name_is_looked_up_leaves_nothing() {
    check(Seed(1), |sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let _listener = b.network().bind("0.0.0.0:80").await?;
        let _trouble = a.trouble_lookups(LookupTrouble { delay_max: 3600 * SECOND, failing_ppm: 0 });
        let before = sim.sizes();
        assert!(a.clock().timeout(SECOND, a.network().connect("b:80")).await.is_err());
        let after = sim.sizes();
        assert_eq!(
            (after.connections, after.ports, after.timers),
            (before.connections, before.ports, before.timers)
        );
        Ok(())
    });
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod programs {
    #![expect(clippy::disallowed_methods, reason = "programs as people write them")]

    use std::io::Result as IoResult;
    use std::net::ToSocketAddrs as _;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_program_waits_for_a_name_and_hears_that_it_is_not_to_be_had_for_now() {
        check(Seed(1), |sim| async move {
            sim.client("b");
            let a = sim.program("a", || -> IoResult<()> {
                let begun = Instant::now();
                let (mut failed, mut found) = (0, 0);
                for _ in 0..100 {
                    match ("b", 80).to_socket_addrs() {
                        Ok(addresses) => found += addresses.count(),
                        Err(error) => {
                            let text = error.to_string();
                            assert!(text.ends_with("Temporary failure in name resolution"), "{text}");
                            failed += 1;
                        }
                    }
                }
                assert!((30..70).contains(&failed) && failed + found == 100, "{failed}, {found}");
                assert!(begun.elapsed() > 30 * SECOND, "{:?}", begun.elapsed());
                let begun = Instant::now();
                assert_eq!(("127.0.0.1", 80).to_socket_addrs()?.count(), 1);
                assert!(("localhost", 80).to_socket_addrs()?.count() > 0);
                assert_eq!(begun.elapsed(), Duration::ZERO);
                Ok(())
            });
            let _trouble = a.trouble_lookups(LookupTrouble { delay_max: SECOND, failing_ppm: 500_000 });
            let life = a.start().await?.ended().await;
            anyhow::ensure!(life.is_success(), "{life}");
            Ok(())
        });
    }

    #[test]
    fn a_tokio_program_goes_on_while_it_looks_a_name_up() {
        check(Seed(1), |sim| async move {
            sim.client("b");
            let a = sim.tokio_program("a", || async {
                let mut turns = 0;
                let lookup = tokio::net::lookup_host("b:80");
                tokio::pin!(lookup);
                let found = loop {
                    tokio::select! {
                        found = &mut lookup => break found,
                        () = tokio::time::sleep(SECOND / 1000) => turns += 1,
                    }
                };
                assert_eq!(found?.count(), 1);
                assert!(turns > 3, "{turns}");
                IoResult::Ok(())
            });
            let _trouble = a.trouble_lookups(LookupTrouble { delay_max: 100 * SECOND, failing_ppm: 0 });
            let life = a.start().await?.ended().await;
            anyhow::ensure!(life.is_success(), "{life}");
            Ok(())
        });
    }
}
