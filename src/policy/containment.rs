//! Is every topic of this filter allowed? The guard against enumeration by wildcards.
//!
//! A Topic Filter stands for a set of topics, usually endless. The rules can tell topics apart only
//! by the words they name at each level, so it is enough to look at one topic for each
//! combination: at every level each literal that a rule still in play names there, one fresh word
//! behind each prefix, and one that none names. The walk keeps, for each rule, whether it still can
//! match; at each place where a topic may end the rules' own order of decision is asked. Once all
//! rules in play are past a `#` nothing further can change the answer. So the proof is exact, denies
//! and order included; a step budget ends a walk that a strange rule file makes long, as a refusal.

use smallvec::SmallVec;

use super::acl::{BoundRule, Decided, Level, Rules, Wanted};
use super::{Denial, DenyReason};

/// Steps after which a proof is given up. Ordinary rule files need some tens.
pub const STEP_BUDGET: usize = 20_000;

/// Why a filter is not contained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotContained {
    /// The refusal.
    pub(crate) denial: Denial,
    /// A topic that the filter matches and the rules do not grant; `None` if the budget ran out.
    pub(crate) witness: Option<String>,
}

/// A rule on the way down: whether it has met its `#`.
#[derive(Clone, Copy)]
pub(super) struct Live<'a> {
    pub(super) rule: &'a BoundRule,
    past_hash: bool,
}

impl<'a> Live<'a> {
    pub(super) fn new(rule: &'a BoundRule) -> Self {
        Self {
            rule,
            past_hash: false,
        }
    }

    pub(super) fn is_past_hash(&self) -> bool {
        self.past_hash
    }
}

/// Rules in the order of decision. Few are in play behind the first level.
type InPlay<'a> = SmallVec<[Live<'a>; 16]>;

/// A set of topics that begin alike.
struct State<'a> {
    /// What they begin with; as many symbols as levels.
    path: SmallVec<[Symbol<'a>; 8]>,
    live: InPlay<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Symbol<'a> {
    Literal(&'a str),
    /// A word that begins so, and that no rule names further.
    Behind(&'a str),
    /// A word that no rule names, and that does not begin with `$`.
    Fresh,
}

/// Proves that `rules` grant what is wanted of every topic that the valid `filter` matches. Steps are
/// taken off `budget`.
///
/// # Errors
/// A topic that is not granted was found, or the budget ran out.
pub(crate) fn contained(
    rules: &Rules,
    filter: &str,
    wanted: Wanted,
    budget: &mut usize,
) -> Result<(), NotContained> {
    let levels: SmallVec<[&str; 16]> = filter.split('/').collect();
    // Where a wildcard was met and the words that rules name there are still to be tried.
    let mut waiting: SmallVec<[State<'_>; 4]> = SmallVec::new();
    let mut untried: SmallVec<[State<'_>; 4]> = SmallVec::new();
    untried.push(State {
        path: SmallVec::new(),
        live: rules
            .in_order()
            .filter(|rule| rule.matters(wanted))
            .map(Live::new)
            .collect(),
    });
    let proof = Proof {
        rules,
        wanted,
        wildcard: levels.iter().any(|level| matches!(*level, "+" | "#")),
    };
    loop {
        let Some(mut state) = untried.pop() else {
            let Some(state) = waiting.pop() else {
                return Ok(());
            };
            untried.extend(
                alphabet(&state)
                    .into_iter()
                    .map(|word| state.advanced(word)),
            );
            continue;
        };
        // What is literal needs no other state.
        loop {
            let depth = state.path.len();
            let steps = 1 + state.live.len() / 16;
            let Some(left) = budget.checked_sub(steps) else {
                *budget = 0;
                return Err(NotContained {
                    denial: Denial::new(DenyReason::GuardBudget),
                    witness: None,
                });
            };
            *budget = left;
            let tail = levels.last() == Some(&"#") && depth + 1 >= levels.len();
            let may_end = depth > 0 && (depth == levels.len() || tail) && !is_empty_name(&state);
            if may_end {
                proof.check_end(&state)?;
            }
            let settled = state.live.iter().all(|live| live.past_hash);
            if tail && may_end && settled {
                // Whatever follows, the same rules match.
                break;
            }
            match if tail {
                Some("#")
            } else {
                levels.get(depth).copied()
            } {
                None => break,
                Some("+" | "#") => {
                    // A word that no rule names is refused most often.
                    let fresh = state.advanced(Symbol::Fresh);
                    waiting.push(std::mem::replace(&mut state, fresh));
                }
                Some(literal) => state.advance(Symbol::Literal(literal)),
            }
        }
    }
}

/// One empty level alone is no Topic Name [MQTT-4.7.3-1]: nothing can be published to it.
fn is_empty_name(state: &State<'_>) -> bool {
    matches!(state.path.as_slice(), [Symbol::Literal("")])
}

/// The words that rules in play name at this level.
fn named_words<'a>(live: &[Live<'a>], depth: usize) -> impl Iterator<Item = Symbol<'a>> {
    let live = live.iter().filter(|live| !live.past_hash);
    live.filter_map(move |live| match live.rule.levels.get(depth)? {
        Level::Literal(word) => Some(Symbol::Literal(word)),
        Level::Prefix(word) => Some(Symbol::Behind(word)),
        Level::Plus | Level::Hash => None,
    })
}

/// Words to be tried where the filter has a wildcard: at the first level it does not reach those that
/// begin with `$`.
fn alphabet<'a>(state: &State<'a>) -> SmallVec<[Symbol<'a>; 16]> {
    let depth = state.path.len();
    let mut words: SmallVec<[Symbol<'a>; 16]> = named_words(&state.live, depth)
        .filter(|symbol| match symbol {
            Symbol::Literal(word) | Symbol::Behind(word) => depth > 0 || !word.starts_with('$'),
            Symbol::Fresh => true,
        })
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

impl<'a> State<'a> {
    fn advanced(&self, symbol: Symbol<'a>) -> Self {
        let depth = self.path.len();
        let mut path = self.path.clone();
        path.push(symbol);
        let live = self.live.iter();
        Self {
            live: live.filter_map(|live| step(*live, depth, symbol)).collect(),
            path,
        }
    }

    /// As [`State::advanced`], in place.
    fn advance(&mut self, symbol: Symbol<'a>) {
        let depth = self.path.len();
        self.path.push(symbol);
        let mut kept = 0;
        for index in 0..self.live.len() {
            if let Some(live) = step(self.live[index], depth, symbol) {
                self.live[kept] = live;
                kept += 1;
            }
        }
        self.live.truncate(kept);
    }
}

/// What becomes of a rule where topics have this word at this level.
pub(super) fn step<'a>(live: Live<'a>, depth: usize, symbol: Symbol<'_>) -> Option<Live<'a>> {
    if live.past_hash {
        return Some(live);
    }
    let level = live.rule.levels.get(depth)?;
    let stays = match (level, symbol) {
        (Level::Hash | Level::Plus, Symbol::Literal(word) | Symbol::Behind(word)) => {
            depth > 0 || !word.starts_with('$')
        }
        (Level::Hash | Level::Plus, Symbol::Fresh) => true,
        (level, Symbol::Literal(word)) => level.takes(word),
        (Level::Prefix(prefix), Symbol::Behind(word)) => word.starts_with(&**prefix),
        (Level::Literal(_) | Level::Prefix(_), _) => false,
    };
    stays.then_some(Live {
        past_hash: *level == Level::Hash,
        ..live
    })
}

/// Whether a rule that is still in play matches a topic that ends here.
pub(super) fn is_matched(live: &Live<'_>, depth: usize) -> bool {
    let levels = &live.rule.levels;
    live.past_hash
        || levels.len() == depth
        // `a/#` also matches `a`.
        || (levels.len() == depth + 1 && levels.last() == Some(&Level::Hash))
}

/// What is to be proved.
struct Proof<'a> {
    rules: &'a Rules,
    wanted: Wanted,
    wildcard: bool,
}

impl Proof<'_> {
    /// Asks the rules about the topics that end here.
    fn check_end(&self, state: &State<'_>) -> Result<(), NotContained> {
        let depth = state.path.len();
        let matching = state.live.iter().filter(|live| is_matched(live, depth));
        let rules = matching.map(|live| live.rule);
        match self.rules.decide_among(self.wanted, rules) {
            Decided::Allowed(_) => Ok(()),
            Decided::Denied(reason, place) => {
                let reason = match reason {
                    // Of one topic it is known why it is denied; of many only that one is.
                    _ if !self.wildcard => reason,
                    DenyReason::RuleQos => reason,
                    _ => DenyReason::Wildcard,
                };
                Err(NotContained {
                    denial: self.rules.denial(reason, place),
                    witness: Some(witness(state)),
                })
            }
        }
    }
}

/// A topic of this set, with a made-up word where none of the rules names one.
fn witness(state: &State<'_>) -> String {
    let mut topic = String::new();
    for (depth, symbol) in state.path.iter().enumerate() {
        if depth > 0 {
            topic.push('/');
        }
        match symbol {
            Symbol::Literal(word) => topic.push_str(word),
            Symbol::Behind(word) => {
                topic.push_str(word);
                topic.push_str("something");
            }
            Symbol::Fresh => topic.push_str("something"),
        }
    }
    topic
}
