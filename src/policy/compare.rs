//! What do these rules answer, for every topic there is? And where do two sets of rules differ?
//!
//! The walk is that of `containment`, from every first level at once and through several sets of
//! rules together. It yields a tree: at each level the words that make a difference, and what holds
//! for all others. Of the tree `regions` writes the topics with a certain answer as filters.

mod regions;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use super::acl::{BoundRule, Decided, Level, Place, Rules, Wanted};
use super::containment::{Live, Symbol, is_matched, step};
use super::rights::{Rights, closed_for_writing};
use super::{DenyReason, RuleId};
use tree::{Node, Value, Word};

pub use regions::Region;

/// Steps after which a comparison is given up.
pub const COMPARE_BUDGET: usize = 3_000_000;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// To be sent messages.
    Read,
    /// To publish.
    Write,
    /// To subscribe: as reading where no rule says `subscribe`.
    Subscribe,
}

/// What the rules say of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// No rule grants it.
    NotGranted,
    /// A rule denies it.
    Denied,
    /// Granted up to this QoS.
    Granted(u8),
}

impl Answer {
    /// The highest QoS that is granted.
    pub fn qos(self) -> Option<u8> {
        match self {
            Self::Granted(qos) => Some(qos),
            Self::NotGranted | Self::Denied => None,
        }
    }
}

/// The rules can be told apart in more ways than can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rules overlap in more ways than can be looked at ({COMPARE_BUDGET} steps)")]
pub struct TooManySteps;

/// The answers of several sets of rules for every topic.
#[derive(Debug)]
pub struct Survey {
    root: Node<Vec<Answer>>,
    deciding: BTreeSet<(usize, Place)>,
    names: BTreeMap<(usize, Place), RuleId>,
}

impl Survey {
    /// Asks these rights about every topic.
    ///
    /// # Errors
    /// There are too many cases.
    pub fn new(rights: &[&Rights], ask: Ask) -> Result<Self, TooManySteps> {
        let reserved = (ask == Ask::Write).then(closed_for_writing);
        let mut walk = Walk {
            sets: rights.iter().map(|rights| rights.rules()).collect(),
            reserved: reserved.as_ref(),
            ask,
            budget: COMPARE_BUDGET,
            deciding: BTreeSet::new(),
        };
        let root = walk.all()?;
        let deciding = walk.deciding;
        let names = deciding.iter().filter_map(|&(set, place)| {
            let rules = rights.get(set)?.rules()?;
            Some(((set, place), rules.rule_id(place)))
        });
        Ok(Self {
            root,
            names: names.collect(),
            deciding,
        })
    }

    /// Every combination of answers that some topic has, one answer for each set of rules.
    pub fn answers(&self) -> BTreeSet<Vec<Answer>> {
        let mut found = BTreeSet::new();
        self.root.visit(&mut |value| {
            found.insert(value.kind.clone());
        });
        found
    }

    /// The rules that decide about some topic, with the number of their set.
    pub(crate) fn deciding(&self) -> impl Iterator<Item = (usize, Place)> {
        self.deciding.iter().copied()
    }

    /// The topics with such answers.
    ///
    /// # Errors
    /// There are too many.
    pub fn regions(
        &self,
        is_wanted: impl Fn(&[Answer]) -> bool,
    ) -> Result<Vec<Region>, TooManySteps> {
        let marked = self.root.map(&|answers| is_wanted(answers));
        regions::of(&marked, &self.names)
    }
}

/// A rule of one of the sets.
#[derive(Clone, Copy)]
struct InPlay<'a> {
    set: usize,
    /// Its place in the order of decision.
    order: usize,
    live: Live<'a>,
}

struct Walk<'a> {
    /// `None`: no ACL, so everything is granted.
    sets: Vec<Option<&'a Rules>>,
    /// What nobody may write to, whatever the rules say.
    reserved: Option<&'a Rules>,
    ask: Ask,
    budget: usize,
    deciding: BTreeSet<(usize, Place)>,
}

impl<'a> Walk<'a> {
    fn all(&mut self) -> Result<Node<Vec<Answer>>, TooManySteps> {
        let mut live = Vec::new();
        let sets = self.sets.iter().copied().chain([self.reserved]);
        for (set, rules) in sets.enumerate() {
            for (order, rule) in rules.into_iter().flat_map(Rules::in_order).enumerate() {
                live.push(InPlay {
                    set,
                    order,
                    live: Live::new(rule),
                });
            }
        }
        let (words, other) = self.words(&live, 0)?;
        Ok(Node::root(words, other))
    }

    /// The topics that begin as far as these rules are still in play. `end` is known beforehand
    /// where it is no topic itself.
    fn node(
        &mut self,
        live: &[InPlay<'a>],
        depth: usize,
        end: Option<Value<Vec<Answer>>>,
    ) -> Result<Node<Vec<Answer>>, TooManySteps> {
        self.spend(1 + live.len() / 8)?;
        if live.iter().all(|in_play| in_play.live.is_past_hash()) {
            // Whatever follows, the same rules match.
            let all = self.value(live, depth);
            let end = end.unwrap_or_else(|| all.clone());
            return Ok(Node::new(end, Vec::new(), Node::Same(all)));
        }
        let end = end.unwrap_or_else(|| self.value(live, depth));
        let (words, other) = self.words(live, depth)?;
        Ok(Node::new(end, words, other))
    }

    /// What follows for each word that rules name at this level, and for the others.
    #[expect(clippy::type_complexity, reason = "a list of words, and the rest")]
    fn words(
        &mut self,
        live: &[InPlay<'a>],
        depth: usize,
    ) -> Result<(Vec<(Word, Node<Vec<Answer>>)>, Node<Vec<Answer>>), TooManySteps> {
        let mut common = Vec::new();
        let mut by_word: BTreeMap<Symbol<'a>, Vec<InPlay<'a>>> = BTreeMap::new();
        if depth == 0 {
            // Wildcards do not reach them [MQTT-4.7.2-1], so they are never among the others.
            by_word.insert(Symbol::Behind("$"), Vec::new());
        }
        for &in_play in live {
            let rule: &'a BoundRule = in_play.live.rule;
            match rule.levels.get(depth) {
                Some(Level::Literal(word)) if !in_play.live.is_past_hash() => {
                    let rules = by_word.entry(Symbol::Literal(word)).or_default();
                    rules.push(in_play);
                }
                level => {
                    if let (Some(Level::Prefix(word)), false) = (level, in_play.live.is_past_hash())
                    {
                        by_word.entry(Symbol::Behind(word)).or_default();
                    }
                    common.push(in_play);
                }
            }
        }
        let advanced = |named: &[InPlay<'a>], symbol: Symbol<'_>| {
            let rules = common.iter().chain(named);
            let rules = rules.filter_map(|in_play| {
                let live = step(in_play.live, depth, symbol)?;
                Some(InPlay { live, ..*in_play })
            });
            let mut rules: Vec<_> = rules.collect();
            rules.sort_unstable_by_key(|in_play| (in_play.set, in_play.order));
            rules
        };
        let other = self.node(&advanced(&[], Symbol::Fresh), depth + 1, None)?;
        let mut words = Vec::new();
        for (symbol, named) in by_word {
            self.spend(1 + common.len() / 8)?;
            let word = match symbol {
                Symbol::Literal(word) => Word::Is(word.to_owned()),
                Symbol::Behind(word) => Word::Begins(word.to_owned()),
                Symbol::Fresh => continue,
            };
            // One empty level alone is no Topic Name [MQTT-4.7.3-1].
            let end = match symbol {
                Symbol::Literal("") if depth == 0 => Some(other.end().clone()),
                _ => None,
            };
            words.push((word, self.node(&advanced(&named, symbol), depth + 1, end)?));
        }
        Ok((words, other))
    }

    fn spend(&mut self, steps: usize) -> Result<(), TooManySteps> {
        self.budget = self.budget.checked_sub(steps).ok_or(TooManySteps)?;
        Ok(())
    }

    /// Asks each set about the topic that ends here.
    fn value(&mut self, live: &[InPlay<'a>], depth: usize) -> Value<Vec<Answer>> {
        let mut why = BTreeSet::new();
        let matching = |set: usize| {
            let of_set = live.iter().filter(move |in_play| in_play.set == set);
            let ends = of_set.filter(|in_play| is_matched(&in_play.live, depth));
            ends.map(|in_play| in_play.live.rule)
        };
        let is_reserved = self.reserved.is_some_and(|rules| {
            let decided = rules.decide_among(Wanted::Write(0), matching(self.sets.len()));
            matches!(decided, Decided::Denied(DenyReason::DenyRule, _))
        });
        let mut kind = Vec::with_capacity(self.sets.len());
        for (set, rules) in self.sets.iter().enumerate() {
            kind.push(match rules {
                _ if is_reserved => Answer::NotGranted,
                None => Answer::Granted(2),
                Some(rules) => {
                    let (answer, places) = answer(rules, self.ask, || matching(set));
                    why.extend(places.into_iter().map(|place| (set, place)));
                    answer
                }
            });
        }
        self.deciding.extend(&why);
        Value { kind, why }
    }
}

/// The highest QoS that is granted: who may do it with one may do it with every lower one.
fn answer<'a, I: Iterator<Item = &'a BoundRule>>(
    rules: &Rules,
    ask: Ask,
    matching: impl Fn() -> I,
) -> (Answer, Vec<Place>) {
    let mut found = Answer::NotGranted;
    let mut places = Vec::new();
    for qos in 0..=2 {
        let wanted = match ask {
            Ask::Write => Wanted::Write(qos),
            Ask::Subscribe if rules.has_subscribe => Wanted::Subscribe(qos),
            Ask::Read | Ask::Subscribe => Wanted::Read(qos),
        };
        let matching = matching().filter(|rule| rule.matters(wanted));
        match rules.decide_among(wanted, matching) {
            Decided::Allowed(place) => {
                found = Answer::Granted(qos);
                places.push(place);
            }
            Decided::Denied(DenyReason::DenyRule, Some(place)) if qos == 0 => {
                return (Answer::Denied, vec![place]);
            }
            Decided::Denied(..) => break,
        }
        if !rules.limits_qos {
            return (Answer::Granted(2), places);
        }
    }
    (found, places)
}
