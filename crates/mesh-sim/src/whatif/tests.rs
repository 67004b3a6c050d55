use super::*;

fn quiet() -> WhatIf {
    WhatIf { leaders: 2, ops: 5.0, seconds: 4, ..WhatIf::default() }
}

/// Two leaders, no chance in anything but the moments of the writes, and so few of them that none waits for another.
#[test]
fn two_leaders_take_what_one_can_work_out_by_hand() {
    let report =
        WhatIf { ops: 1.0, seconds: 60, latency: 30.0, commit: 2.0, seed: 4, ..quiet() }.run().unwrap();
    assert!(report.converged && report.updates > 30, "{report}");
    // One commit; then the way, and a commit at the other end.
    assert_eq!((report.write.p50_ms, report.delivery.p50_ms), (2.0, 34.0));
    assert_eq!(report.delivery.count as u64, report.updates);
    assert_eq!(report.optimum, report.updates * 21);
    assert_eq!(report.payload_to_optimum, Some(1.0));
    assert_eq!(report.classes[0].links, 1);
}

#[test]
fn a_star_takes_two_hops_and_a_commit_at_each() {
    let what_if = WhatIf { topology: Topology::Star, leaders: 4, ops: 2.0, seconds: 60, ..WhatIf::default() };
    let report = what_if.run().unwrap();
    // Of 12 pairs 6 are two hops apart.
    assert!((43.0..44.0).contains(&report.delivery.p99_ms), "{report}");
    assert_eq!(report.classes[0].links, 3);
    assert!(report.converged);
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_one_another() {
    for topology in Topology::ALL {
        let what_if = WhatIf { topology, leaders: 6, ops: 50.0, jitter: 5.0, loss: 5.0, ..quiet() };
        let [one, same] = [(); 2].map(|()| what_if.run().unwrap());
        assert_eq!(one, same);
        assert!(one.converged, "{one}");
        let other = WhatIf { seed: 2, ..what_if }.run().unwrap();
        assert_ne!(one.samples, other.samples);
    }
}

#[test]
fn a_partition_holds_back_one_side_until_it_is_healed() {
    for transport in [Transport::Tcp, Transport::Datagrams] {
        let partitions = vec![Partition { from: 2.0, to: 12.0, leaders: vec![2] }];
        let what_if =
            WhatIf { leaders: 3, ops: 20.0, seconds: 20, transport, partitions, ..WhatIf::default() };
        let report = what_if.run().unwrap();
        assert!(report.converged, "{report}");
        // Nothing that was written at its beginning arrives before its end.
        assert!((9_000.0..16_000.0).contains(&report.delivery.max_ms), "{report}");
        let [healed] = &report.healed[..] else { panic!("{report}") };
        assert_eq!((healed.partition, healed.at_s), (0, 12.0));
        // A round trip at least; the dialler tries every 5 s at the latest.
        assert!(healed.after_ms.is_some_and(|after| (40.0..6_000.0).contains(&after)), "{report}");
        // About 20 a second, two thirds of them on the other side.
        assert!((60..200).contains(&report.worst_lag), "{report}");
        let during = report.samples.iter().filter(|sample| (8_000.0..12_000.0).contains(&sample.at_ms));
        assert!(during.clone().count() > 10 && during.into_iter().all(|sample| sample.lag[2] > 40));
        assert!(report.samples.last().is_some_and(|last| last.lag == [0; 3]));
    }
}

#[test]
fn a_short_partition_costs_tcp_its_retransmission_only() {
    let partitions = vec![Partition { from: 2.0, to: 2.3, leaders: vec![0] }];
    let report = WhatIf { ops: 50.0, partitions, ..quiet() }.run().unwrap();
    // Lost at 2.0 and a bit, said again 200 and 600 ms later, on the way for 20, and durable after at most two commits.
    assert!((500.0..800.0).contains(&report.delivery.max_ms), "{report}");
    assert!(report.converged);
}

#[test]
fn loss_costs_time_and_bytes_never_updates() {
    let lost = |loss, transport| {
        WhatIf { leaders: 4, ops: 50.0, seconds: 10, loss, transport, ..WhatIf::default() }.run().unwrap()
    };
    for transport in [Transport::Tcp, Transport::Datagrams] {
        let [clean, lossy] = [0.0, 20.0].map(|loss| lost(loss, transport));
        assert!(clean.converged && lossy.converged, "{lossy}");
        assert_eq!(lossy.delivery.count as u64, 3 * lossy.updates);
        assert!(lossy.delivery.p99_ms > 2.0 * clean.delivery.p99_ms, "{clean}\n{lossy}");
        assert!(lossy.payload_to_optimum > clean.payload_to_optimum, "{clean}\n{lossy}");
    }
}

#[test]
fn regions_are_told_apart_and_news_crosses_between_them_about_once() {
    let report =
        WhatIf { topology: Topology::Regions, leaders: 9, ops: 50.0, seconds: 10, ..WhatIf::default() }
            .run()
            .unwrap();
    let [between, within] = &report.classes[..] else { panic!("{report}") };
    assert_eq!((between.name.as_str(), within.name.as_str()), ("between regions", "within regions"));
    // Three regions of three: a triangle in each, two links between each two.
    assert_eq!((between.links, within.links), (6, 9));
    // Of the optimum's eight copies two go between regions; in the beginning some more.
    assert!(4 * between.payload < 2 * report.optimum, "{report}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let base = WhatIf::default;
    let partition =
        |from, to, leaders| WhatIf { partitions: vec![Partition { from, to, leaders }], ..base() };
    for bad in [
        WhatIf { leaders: 1, ..base() },
        WhatIf { leaders: 65, ..base() },
        WhatIf { ops: 0.0, ..base() },
        WhatIf { ops: f64::NAN, ..base() },
        WhatIf { seconds: 0, ..base() },
        WhatIf { bytes: 7, ..base() },
        WhatIf { latency: -1.0, ..base() },
        WhatIf { jitter: f64::INFINITY, ..base() },
        WhatIf { loss: 91.0, ..base() },
        WhatIf { ops: 1e6, seconds: 86_400, ..base() },
        partition(5.0, 5.0, vec![0]),
        partition(-1.0, 5.0, vec![0]),
        partition(1.0, 5.0, vec![5]),
    ] {
        let error = bad.run().expect_err("it makes no sense");
        assert!(error.to_string().len() > 20, "{error}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_another() {
    let run = |seed| WhatIf { leaders: 3, seconds: 2, loss: 5.0, seed, ..WhatIf::default() }.run().unwrap();
    let (one, again, other) = (run(1), run(1), run(2));
    assert_eq!(one, again);
    assert_ne!(one.trace, other.trace);
    let sum = |report: &Report| report.links.iter().map(|link| link.payload + link.metadata).sum::<u64>();
    let classes: u64 = one.classes.iter().map(|class| class.payload + class.metadata).sum();
    assert_eq!(sum(&one), classes);
}
