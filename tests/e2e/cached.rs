//! What the cache of verified credentials saves when everybody comes back at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::raw::{Hello, Raw};
use crate::support::site::{Broker, Site};

/// Hash runs, and CPU time of the broker in clock ticks.
type Cost = (f64, u64);

fn cost(broker: &Broker<'_>) -> Cost {
    (
        broker.metric("portcullis_password_hashes_total "),
        broker.cpu_ticks(),
    )
}

/// Everybody connects once, some at a time.
fn all_come(site: &Site, users: &[String]) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(user) = users.get(next.fetch_add(1, Ordering::Relaxed)) {
                    Raw::hello(site.plain, &Hello::new(5, user, user))
                        .0
                        .disconnect();
                }
            });
        }
    });
}

/// What it costs that everybody comes, and comes again.
fn costs(count: usize, more: &str) -> (Cost, Cost) {
    let users: Vec<String> = (0..count)
        .map(|number| format!("device-{number}"))
        .collect();
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    // Argon2id with m=19456 and t=2, which is what a site's users have.
    let site = Site::with_users(&names, "user x\ntopic x\n", more);
    assert!(site.read("passwd").contains("$m=19456,t=2,p=1$"));
    let broker = site.start();
    let start = cost(&broker);
    all_come(&site, &users);
    let first = cost(&broker);
    all_come(&site, &users);
    let again = cost(&broker);
    let between = |from: Cost, to: Cost| (to.0 - from.0, to.1 - from.1);
    (between(start, first), between(first, again))
}

#[test]
fn who_comes_again_with_the_same_password_costs_no_hash_unless_the_cache_is_off() {
    let (first, again) = costs(12, "");
    assert_eq!((first.0, again.0), (12.0, 0.0));
    let (first, again) = costs(3, "credential_cache 0\n");
    assert_eq!((first.0, again.0), (3.0, 3.0));
}

/// The figure of docs/benchmarks.md.
#[test]
#[ignore = "hashes 4,000 passwords: some minutes; prints a figure"]
fn two_thousand_reconnects_cost_a_twentieth_of_their_hashing() {
    let (first, again) = costs(2_000, "");
    let (_, without) = costs(2_000, "credential_cache 0\n");
    eprintln!(
        "first login: {} hashes, {} ticks of CPU; again: {} hashes, {} ticks; again without cache: {} \
         hashes, {} ticks",
        first.0, first.1, again.0, again.1, without.0, without.1
    );
    assert_eq!((first.0, again.0, without.0), (2_000.0, 0.0, 2_000.0));
    assert!(again.1 * 20 <= without.1, "{again:?} of {without:?}");
}
