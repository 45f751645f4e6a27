//! `kill -9`, again and again, while messages of every kind are on their way; and a count of whatever
//! was acknowledged and then lost, came twice, or came back. A broker that keeps its word has a count
//! of zero (demands of the store: nothing acknowledged is lost).
//!
//! `scripts/kills.sh` runs a hundred rounds. A failure is told with its seed; the seed chooses what the
//! clients do and when the broker is killed, but not how fast anybody is, so a run is not repeated by it
//! exactly.

mod cast;
mod client;
mod fault;
mod holds;
mod ledger;
mod link;
mod process;
mod retained;
mod rounds;
mod tests;

use fault::Fault;
use process::Contender;
use rounds::{End, run};

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seed() -> u64 {
    from_environment("PORTCULLIS_KILL_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now();
        let since = now
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        since.subsec_nanos().into()
    })
}

fn rounds(otherwise: usize) -> usize {
    let asked = from_environment("PORTCULLIS_KILL_ROUNDS");
    asked.map_or(otherwise, |rounds| usize::try_from(rounds).expect("few"))
}

#[test]
fn nothing_acknowledged_is_lost_when_the_broker_is_killed() {
    let ended = run(Contender::Portcullis, End::Kill, rounds(6), seed());
    assert!(
        ended.faults.total() == 0,
        "{}\n{}",
        ended.line,
        ended.faults.examples()
    );
}

/// That the clients and the count are right when the broker is.
#[test]
fn nothing_is_lost_when_every_connection_breaks() {
    let ended = run(Contender::Portcullis, End::Break, 3, seed());
    assert!(
        ended.faults.total() == 0,
        "{}\n{}",
        ended.line,
        ended.faults.examples()
    );
}

/// That the count sees: this broker writes its state once a second and acknowledges before.
#[test]
fn what_a_broker_loses_that_saves_every_second_is_seen() {
    let ended = run(Contender::Mosquitto, End::Kill, rounds(2), seed());
    for fault in [Fault::Lost1, Fault::Lost2, Fault::WillLost] {
        assert!(ended.faults.number(fault) > 0, "{fault:?}: {}", ended.line);
    }
}
