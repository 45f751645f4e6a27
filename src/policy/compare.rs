//! What two sets of rules say differently of somebody, as filters.
//!
//! The walk is that of containment, over every topic there is and with both sets at once. Where all the
//! topics below a level are alike they are one line; what is said of any word is said as `+`, of any
//! word that begins so as `word*`.

use smallvec::SmallVec;

use super::RuleId;
use super::acl::{Decided, Rules, Wanted};
use super::containment::{Live, Symbol, is_matched, named_words, step};

/// Steps after which a comparison is given up.
const MOST_STEPS: usize = 2_000_000;

/// One line of what is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Topics, in the words of rules: `+`, `#` and `word*`.
    pub filter: String,
    /// Whether they are allowed now; else they were.
    pub is_allowed: bool,
    /// The rule that allowed or denied it before; of one of the topics, where several rules did.
    pub old: Option<RuleId>,
    /// The rule that does now.
    pub new: Option<RuleId>,
    /// Topics that the filter matches and that are not meant.
    pub except: Vec<String>,
}

/// The comparison took too many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// What is said of a topic by both sets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    was: bool,
    is: bool,
    old: Option<RuleId>,
    new: Option<RuleId>,
}

impl Said {
    fn change(&self) -> Option<bool> {
        (self.was != self.is).then_some(self.is)
    }
}

/// What is known of all the topics that begin alike.
enum Below {
    /// Nothing changes, or the same everywhere.
    Alike(Said),
    /// Filters begin with what comes behind: nothing, or a `/`.
    Mixed(Vec<Difference>),
}

type InPlay<'a> = SmallVec<[Live<'a>; 16]>;

struct Walk<'a> {
    rules: [&'a Rules; 2],
    wanted: Wanted,
    steps: usize,
}

/// Compares what two sets allow.
///
/// # Errors
/// There are too many rules to compare.
pub(super) fn compare(
    old: &Rules,
    new: &Rules,
    wanted: Wanted,
) -> Result<Vec<Difference>, TooLong> {
    let mut walk = Walk {
        rules: [old, new],
        wanted,
        steps: MOST_STEPS,
    };
    let live = [old, new].map(|rules| {
        let rules = rules.in_order().filter(|rule| rule.matters(wanted));
        rules.map(Live::new).collect()
    });
    match walk.children(0, &live, None)? {
        Below::Mixed(mut differences) => {
            for line in &mut differences {
                for filter in std::iter::once(&mut line.filter).chain(&mut line.except) {
                    filter.remove(0);
                }
            }
            Ok(differences)
        }
        Below::Alike(said) => {
            let change = said.change().map(|_| line("#".to_owned(), &said));
            Ok(change.into_iter().collect())
        }
    }
}

impl<'a> Walk<'a> {
    /// All topics that begin with the same `depth` words.
    fn state(&mut self, depth: usize, live: &[InPlay<'a>; 2]) -> Result<Below, TooLong> {
        let here = self.said(depth, live);
        let settled = live.iter().flatten().all(Live::is_past_hash);
        if settled {
            return Ok(Below::Alike(here));
        }
        self.children(depth, live, Some(here))
    }

    /// Whatever comes behind these words, which are themselves a topic if something is said of it.
    fn children(
        &mut self,
        depth: usize,
        live: &[InPlay<'a>; 2],
        here: Option<Said>,
    ) -> Result<Below, TooLong> {
        let mut symbols: Vec<Symbol<'a>> = live
            .iter()
            .flat_map(|live| named_words(live, depth))
            .collect();
        symbols.sort_unstable();
        symbols.dedup();
        // Last, as the widest.
        symbols.push(Symbol::Fresh);
        let mut parts = Vec::with_capacity(symbols.len());
        for symbol in symbols {
            let cost = 1 + live.iter().map(SmallVec::len).sum::<usize>() / 16;
            self.steps = self.steps.checked_sub(cost).ok_or(TooLong)?;
            let next = live.each_ref().map(|live| {
                let stepped = live.iter().filter_map(|live| step(*live, depth, symbol));
                stepped.collect::<InPlay<'a>>()
            });
            parts.push((symbol, self.state(depth + 1, &next)?));
        }
        Ok(join(depth == 0, here, parts))
    }

    fn said(&self, depth: usize, live: &[InPlay<'a>; 2]) -> Said {
        let [(was, old), (is, new)] = [0, 1].map(|side| {
            let rules = self.rules[side];
            let matching = live[side].iter().filter(|live| is_matched(live, depth));
            let matching = matching.map(|live| live.rule);
            match rules.decide_among(self.wanted, matching) {
                Decided::Allowed(place) => (true, Some(rules.rule_id(place))),
                Decided::Denied(_, place) => (false, place.map(|place| rules.rule_id(place))),
            }
        });
        Said { was, is, old, new }
    }
}

/// Makes one of what is said of a topic and of what comes behind it: of each word by itself, and last of
/// any word that no rule names.
fn join(is_first: bool, here: Option<Said>, parts: Vec<(Symbol<'_>, Below)>) -> Below {
    // A word is told by itself unless the same is said of the words around it.
    let told: Vec<bool> = parts
        .iter()
        .map(|(symbol, below)| match around(*symbol, &parts, is_first) {
            Some(around) => !below.is_like(around),
            None => true,
        })
        .collect();
    if let [.., (_, Below::Alike(any))] = parts.as_slice()
        && told.iter().filter(|told| **told).count() == 1
        && here
            .as_ref()
            .is_none_or(|here| here.change() == any.change())
    {
        return Below::Alike(any.clone());
    }
    let mut lines = Vec::new();
    if let Some(here) = here.filter(|here| here.change().is_some()) {
        lines.push(line(String::new(), &here));
    }
    let names: Vec<(Symbol<'_>, bool)> =
        parts.iter().map(|(symbol, _)| *symbol).zip(told).collect();
    for ((symbol, below), (_, told)) in parts.into_iter().zip(&names) {
        if !told {
            continue;
        }
        let inside = names
            .iter()
            .filter(|(other, told)| *told && is_inside(*other, symbol, is_first));
        let not_meant: Vec<String> = inside
            .map(|(other, _)| format!("/{}/#", other.shown()))
            .collect();
        let word = symbol.shown();
        let own = match below {
            Below::Mixed(own) => own,
            Below::Alike(said) if said.change().is_some() => vec![line("/#".to_owned(), &said)],
            Below::Alike(_) => Vec::new(),
        };
        lines.extend(own.into_iter().map(|mut line| {
            line.filter = format!("/{word}{}", line.filter);
            for except in &mut line.except {
                *except = format!("/{word}{except}");
            }
            line.except.extend(not_meant.iter().cloned());
            line
        }));
    }
    Below::Mixed(lines)
}

/// Whether all words of one symbol are among those that the other is shown as.
fn is_inside(symbol: Symbol<'_>, of: Symbol<'_>, is_first: bool) -> bool {
    symbol != of
        && match (symbol, of) {
            (Symbol::Literal(word) | Symbol::Behind(word), Symbol::Behind(prefix)) => {
                word.starts_with(prefix)
            }
            // `+` at the start does not reach `$…`.
            (Symbol::Literal(word) | Symbol::Behind(word), Symbol::Fresh) => {
                !is_first || !word.starts_with('$')
            }
            _ => false,
        }
}

/// What is said of the words around a symbol: those of the longest prefix that it has, or any.
fn around<'b>(
    symbol: Symbol<'_>,
    parts: &'b [(Symbol<'_>, Below)],
    is_first: bool,
) -> Option<&'b Below> {
    let length = |symbol: &Symbol<'_>| match symbol {
        Symbol::Literal(word) | Symbol::Behind(word) => word.len() + 1,
        Symbol::Fresh => 0,
    };
    parts
        .iter()
        .filter(|(other, _)| is_inside(symbol, *other, is_first))
        .max_by_key(|(other, _)| length(other))
        .map(|(_, below)| below)
}

impl Below {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Alike(this), Self::Alike(other)) => this.change() == other.change(),
            (Self::Mixed(these), Self::Mixed(others)) => {
                let shape = |line: &'_ Difference| {
                    (line.filter.clone(), line.is_allowed, line.except.clone())
                };
                these.len() == others.len()
                    && these
                        .iter()
                        .zip(others)
                        .all(|(this, other)| shape(this) == shape(other))
            }
            _ => false,
        }
    }
}

fn line(filter: String, said: &Said) -> Difference {
    Difference {
        filter,
        is_allowed: said.is,
        old: said.old.clone(),
        new: said.new.clone(),
        except: Vec::new(),
    }
}
