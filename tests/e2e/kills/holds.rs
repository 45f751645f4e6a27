//! One session's side of the ledger: its subscriptions, each from SUBSCRIBE to UNSUBACK, and what it got.

use std::collections::HashMap;

use super::ledger::{Number, Tick};

/// How a subscription was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) qos: u8,
    pub(super) id: Option<u8>,
    pub(super) shared: bool,
    pub(super) asked: Tick,
}

/// What a session is owed.
pub(super) struct Owed {
    pub(super) shared: bool,
    /// Its session is gone, so it cannot come any more.
    pub(super) hopeless: bool,
}

enum End {
    None,
    /// UNSUBSCRIBE was sent.
    Leaving,
    /// UNSUBACK came.
    Left(Tick),
    /// The session was ended by the client.
    Ended,
    /// The broker forgot the session.
    Forgotten(Tick),
}

struct Hold {
    shape: Shape,
    granted: Option<Tick>,
    end: End,
}

impl Hold {
    /// The message may come by it. `at` is when it was sent and when its exchange was complete.
    fn allows(&self, at: (Tick, Option<Tick>)) -> bool {
        at.1.is_none_or(|done| self.shape.asked < done)
            && match self.end {
                End::None | End::Leaving => true,
                // What waited before UNSUBACK may still come.
                End::Left(left) => at.0 < left,
                End::Ended | End::Forgotten(_) => false,
            }
    }

    fn owes(&self, at: (Tick, Option<Tick>)) -> Option<Owed> {
        let held = self.granted.is_some_and(|granted| granted < at.0);
        let forgotten = match self.end {
            End::None => false,
            End::Forgotten(when) if at.1.is_some_and(|done| done < when) => true,
            _ => return None,
        };
        held.then_some(Owed {
            shared: self.shape.shared,
            hopeless: forgotten,
        })
    }
}

pub(super) struct Member {
    pub(super) name: String,
    filters: Vec<(String, Vec<Hold>)>,
    /// The filters that match a topic, by its number.
    matching: HashMap<usize, Vec<usize>>,
    /// How often each message came, by author and number.
    got: Vec<Vec<u8>>,
    /// The newest of each topic, which has one author.
    newest: HashMap<usize, usize>,
}

impl Member {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            filters: Vec::new(),
            matching: HashMap::new(),
            got: Vec::new(),
            newest: HashMap::new(),
        }
    }

    pub(super) fn asked(&mut self, filter: &str, qos: u8, id: Option<u8>, now: Tick) {
        let shape = Shape {
            qos,
            id,
            shared: filter.starts_with("$share/"),
            asked: now,
        };
        let hold = Hold {
            shape,
            granted: None,
            end: End::None,
        };
        match self.filters.iter_mut().find(|(known, _)| known == filter) {
            Some((_, holds)) => holds.push(hold),
            None => {
                self.filters.push((filter.to_owned(), vec![hold]));
                self.matching.clear();
            }
        }
    }

    fn last(&mut self, filter: &str) -> &mut Hold {
        let known = self.filters.iter_mut().find(|(known, _)| known == filter);
        let (_, holds) = known.expect("a filter that was subscribed to");
        holds.last_mut().expect("it has one")
    }

    pub(super) fn subscribed(&mut self, filter: &str, now: Tick) {
        self.last(filter).granted = Some(now);
    }

    pub(super) fn leaving(&mut self, filter: &str) {
        self.last(filter).end = End::Leaving;
    }

    pub(super) fn left(&mut self, filter: &str, now: Tick) {
        self.last(filter).end = End::Left(now);
    }

    /// The session is gone: `forgotten` says when, if it was not the client that ended it.
    pub(super) fn ended(&mut self, forgotten: Option<Tick>) {
        for hold in self.filters.iter_mut().flat_map(|(_, holds)| holds) {
            match hold.end {
                End::Forgotten(_) => {}
                End::None => hold.end = forgotten.map_or(End::Ended, End::Forgotten),
                _ => hold.end = End::Ended,
            }
        }
    }

    fn matching(&mut self, text: &str, topic: usize) -> &[usize] {
        let filters = &self.filters;
        self.matching.entry(topic).or_insert_with(|| {
            let all = filters.iter().enumerate();
            let matching = all.filter(|(_, (filter, _))| matches(filter, text));
            matching.map(|(index, _)| index).collect()
        })
    }

    pub(super) fn allowed(
        &mut self,
        text: &str,
        topic: usize,
        at: (Tick, Option<Tick>),
    ) -> Option<Shape> {
        let matching = self.matching(text, topic).to_vec();
        let mut holds = matching.iter().flat_map(|&index| &self.filters[index].1);
        let allowed = holds.rfind(|hold| hold.allows(at));
        allowed.map(|hold| hold.shape)
    }

    pub(super) fn owed(
        &mut self,
        text: &str,
        topic: usize,
        at: (Tick, Option<Tick>),
    ) -> Option<Owed> {
        let matching = self.matching(text, topic).to_vec();
        let mut holds = matching.iter().flat_map(|&index| &self.filters[index].1);
        holds.find_map(|hold| hold.owes(at))
    }

    pub(super) fn has(&self, number: Number) -> bool {
        let of_author = self.got.get(number.author);
        of_author
            .and_then(|got| got.get(number.nth))
            .is_some_and(|&times| times > 0)
    }

    /// One more; how many it is now.
    pub(super) fn count(&mut self, number: Number) -> u8 {
        if self.got.len() <= number.author {
            self.got.resize(number.author + 1, Vec::new());
        }
        let of_author = &mut self.got[number.author];
        if of_author.len() <= number.nth {
            of_author.resize(number.nth + 1, 0);
        }
        let times = &mut of_author[number.nth];
        *times = times.saturating_add(1);
        *times
    }

    pub(super) fn in_order(&mut self, number: Number, topic: usize) -> bool {
        let newest = self.newest.entry(topic).or_insert(number.nth);
        let ordered = *newest <= number.nth;
        *newest = number.nth.max(*newest);
        ordered
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let mut filter = filter.split('/');
    if filter.clone().next() == Some("$share") {
        filter.nth(1);
    }
    let mut topic = topic.split('/');
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}
