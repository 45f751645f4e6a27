//! The thread that reads messages back, and writes sidecars.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::encoding::MessageReader;
use super::frame::StoreId;
use super::index::Place;
use super::journal::Shared;
use super::record::StoredMessage;
use super::recovery::read_record;
use super::sidecar;
use super::writer::Full;
use super::{Page, Query, Reply};

/// Something that is not for the commit thread.
pub(super) enum Job {
    Read(Query, Reply),
    Sidecar(StoreId, Full),
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(query, _) => write!(f, "Read({query:?})"),
            Self::Sidecar(_, full) => write!(f, "Sidecar({})", full.number),
        }
    }
}

pub(super) fn run(shared: &Arc<Shared>, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Read(query, reply) => reply(page(shared, &query)),
            Job::Sidecar(store, full) => {
                // Without it the segment is read at the next start: slower, and no loss.
                drop(sidecar::write(
                    &*shared.disk,
                    &shared.layout,
                    store,
                    full.number,
                    &full.sealed,
                    &full.heads,
                ));
            }
        }
    }
}

fn page(shared: &Shared, query: &Query) -> Page {
    let (from, to) = (query.from, query.to);
    let found = shared
        .index
        .lock()
        .page(query.session, from, to, query.most_messages + 1);
    let mut messages = MessageReader::new(shared.clock);
    let mut page = Page {
        to,
        ..Page::default()
    };
    let mut bytes = 0;
    for (number, (seq, stage, place)) in found.into_iter().enumerate() {
        // One is always read, however large.
        let is_full = number > 0 && bytes + place.length as usize > query.most_bytes;
        if number == query.most_messages || is_full {
            page.to = seq - 1;
            break;
        }
        bytes += place.length as usize;
        match read(shared, place) {
            Ok(record) => match messages.delivery(&record, query.session, seq) {
                Ok(delivery) => page.messages.push(StoredMessage {
                    seq,
                    stage,
                    delivery,
                }),
                Err(error) => unreadable(shared, &mut page, seq, place, &error.to_string()),
            },
            Err(error) => unreadable(shared, &mut page, seq, place, &error.to_string()),
        }
    }
    page
}

fn unreadable(shared: &Shared, page: &mut Page, seq: u64, place: Place, error: &str) {
    shared.tallies.unreadable.fetch_add(1, Ordering::Relaxed);
    let file = shared.layout.segment(place.segment);
    let text = format!("{} at byte {}: {error}", file.display(), place.offset);
    page.unreadable.push((seq, text));
}

fn read(shared: &Shared, place: Place) -> std::io::Result<Vec<u8>> {
    let file = shared
        .segments
        .lock()
        .get(&place.segment)
        .map(|segment| Arc::clone(&segment.file));
    // A segment may go between the two locks; what held was copied, and is asked for again.
    let file = file.ok_or_else(|| std::io::Error::other("the segment was removed"))?;
    read_record(&*file, place)
}
