//! The thread that reads messages back, and writes sidecars.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::decoding::MessageReader;
use super::disk::DiskFile;
use super::frame::StoreId;
use super::index::Place;
use super::journal::Shared;
use super::log::read_record;
use super::record::{Seq, Stage, StoredMessage};
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
    let found = find(shared, query);
    let mut messages = MessageReader::new(shared.clock);
    let mut page = Page {
        to: query.to,
        ..Page::default()
    };
    let mut bytes = 0;
    for (number, (seq, stage, place, file)) in found.into_iter().enumerate() {
        // One is always read, however large.
        let is_full = number > 0 && bytes + place.length as usize > query.most_bytes;
        if number == query.most_messages || is_full {
            page.to = seq.saturating_sub(1);
            break;
        }
        bytes += place.length as usize;
        let record = file
            .ok_or_else(|| std::io::Error::other("the segment is not there"))
            .and_then(|file| read_record(&*file, place));
        match record {
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

type Found = (Seq, Stage, Place, Option<Arc<dyn DiskFile>>);

/// Where the messages are. The files are taken while the index is locked: a segment goes only after the index
/// was told that all of it stands elsewhere, and one that is open can be read even then.
fn find(shared: &Shared, query: &Query) -> Vec<Found> {
    let most = query.most_messages.saturating_add(1);
    let index = shared.index.lock();
    let found = index.page(query.session, query.from, query.to, most);
    let segments = shared.segments.lock();
    let file = |place: Place| {
        segments
            .get(&place.segment)
            .map(|known| Arc::clone(&known.file))
    };
    found
        .into_iter()
        .map(|(seq, stage, place)| (seq, stage, place, file(place)))
        .collect()
}
