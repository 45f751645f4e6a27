//! Is every topic of this filter allowed? The guard against enumeration by wildcards.
//!
//! A Topic Filter stands for a set of topics, usually endless. The rules can tell topics apart only
//! by the literals they name at each level, so it is enough to look at one topic for each
//! combination: at every level each literal that a rule still in play names there, and one fresh
//! word that none names. The walk keeps, for each rule, whether it still can match; at each place
//! where a topic may end the rules' own order of decision is asked. Once all rules in play are past
//! a `#` nothing further can change the answer. So the proof is exact, denies and order included; a
//! step budget ends a walk that a strange rule file makes long, as a refusal.

use super::acl::{BoundRule, Decided, Level, Rules};
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
struct Live {
    list: u8,
    index: u32,
    past_hash: bool,
}

/// A set of topics that begin alike.
struct State<'a> {
    depth: usize,
    live: Vec<Live>,
    path: Option<std::rc::Rc<Step<'a>>>,
}

/// The way here, shared between branches.
struct Step<'a> {
    symbol: Symbol<'a>,
    before: Option<std::rc::Rc<Step<'a>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Symbol<'a> {
    Literal(&'a str),
    /// A word that no rule names, and that does not begin with `$`.
    Fresh,
}

/// Proves that `rules` grant reading of every topic that the valid `filter` matches. Steps are taken
/// off `budget`.
///
/// # Errors
/// A topic that is not granted was found, or the budget ran out.
pub(crate) fn contained(
    rules: &Rules,
    filter: &str,
    budget: &mut usize,
) -> Result<(), NotContained> {
    let levels: Vec<&str> = filter.split('/').collect();
    let wildcard = levels.iter().any(|level| matches!(*level, "+" | "#"));
    let mut stack = vec![State {
        depth: 0,
        live: all(rules),
        path: None,
    }];
    while let Some(state) = stack.pop() {
        let steps = 1 + state.live.len() / 16;
        let Some(left) = budget.checked_sub(steps) else {
            *budget = 0;
            return Err(NotContained {
                denial: Denial::new(DenyReason::GuardBudget),
                witness: None,
            });
        };
        *budget = left;
        let next = levels.get(state.depth.min(levels.len())).copied();
        let tail = levels.last() == Some(&"#") && state.depth + 1 >= levels.len();
        let may_end =
            state.depth > 0 && (state.depth == levels.len() || tail) && !is_empty_name(&state);
        if may_end {
            check_end(rules, &state, wildcard)?;
        }
        let settled = state.live.iter().all(|live| live.past_hash);
        if tail && may_end && settled {
            // Whatever follows, the same rules match.
            continue;
        }
        match if tail { Some("#") } else { next } {
            None => {}
            Some("+" | "#") => {
                for symbol in alphabet(rules, &state).into_iter().chain([Symbol::Fresh]) {
                    stack.push(advance(rules, &state, symbol));
                }
            }
            Some(literal) => stack.push(advance(rules, &state, Symbol::Literal(literal))),
        }
    }
    Ok(())
}

/// One empty level alone is no Topic Name [MQTT-4.7.3-1]: nothing can be published to it.
fn is_empty_name(state: &State<'_>) -> bool {
    state.depth == 1
        && state
            .path
            .as_ref()
            .is_some_and(|step| step.symbol == Symbol::Literal(""))
}

fn all(rules: &Rules) -> Vec<Live> {
    let mut live = Vec::new();
    for (list, bound) in rules.lists.iter().enumerate() {
        for index in 0..bound.len() {
            live.push(Live {
                list: u8::from(list == 1),
                index: u32::try_from(index).unwrap_or(u32::MAX),
                past_hash: false,
            });
        }
    }
    live
}

fn rule(rules: &Rules, live: Live) -> Option<&BoundRule> {
    rules
        .lists
        .get(usize::from(live.list))?
        .get(usize::try_from(live.index).ok()?)
}

/// The literals that rules in play name at this level. At the first one a wildcard of the filter
/// does not reach those that begin with `$`.
fn alphabet<'a>(rules: &'a Rules, state: &State<'_>) -> Vec<Symbol<'a>> {
    let mut literals: Vec<&str> = state
        .live
        .iter()
        .filter(|live| !live.past_hash)
        .filter_map(|live| match rule(rules, *live)?.levels.get(state.depth)? {
            Level::Literal(literal) => Some(&**literal),
            Level::Plus | Level::Hash => None,
        })
        .filter(|literal| state.depth > 0 || !literal.starts_with('$'))
        .collect();
    literals.sort_unstable();
    literals.dedup();
    literals.into_iter().map(Symbol::Literal).collect()
}

fn advance<'a>(rules: &Rules, state: &State<'a>, symbol: Symbol<'a>) -> State<'a> {
    let reserved =
        state.depth == 0 && matches!(symbol, Symbol::Literal(text) if text.starts_with('$'));
    let live = state
        .live
        .iter()
        .filter_map(|live| {
            if live.past_hash {
                return Some(*live);
            }
            match (rule(rules, *live)?.levels.get(state.depth)?, symbol) {
                (Level::Hash | Level::Plus, _) if reserved => None,
                (Level::Hash, _) => Some(Live {
                    past_hash: true,
                    ..*live
                }),
                (Level::Plus, _) => Some(*live),
                (Level::Literal(want), Symbol::Literal(have)) if **want == *have => Some(*live),
                (Level::Literal(_), _) => None,
            }
        })
        .collect();
    State {
        depth: state.depth + 1,
        live,
        path: Some(std::rc::Rc::new(Step {
            symbol,
            before: state.path.clone(),
        })),
    }
}

/// Asks the rules about the topics that end here.
fn check_end(rules: &Rules, state: &State<'_>, wildcard: bool) -> Result<(), NotContained> {
    let decided = rules.decide_by(false, |list, index, rule| {
        state
            .live
            .iter()
            .find(|live| usize::from(live.list) == list && usize::try_from(live.index) == Ok(index))
            .is_some_and(|live| {
                live.past_hash
                    || rule.levels.len() == state.depth
                    // `a/#` also matches `a`.
                    || (rule.levels.len() == state.depth + 1
                        && rule.levels.last() == Some(&Level::Hash))
            })
    });
    match decided {
        Decided::Allowed(_) => Ok(()),
        Decided::Denied(reason, line) => Err(NotContained {
            denial: rules.denial(
                if wildcard {
                    DenyReason::Wildcard
                } else {
                    reason
                },
                line,
            ),
            witness: Some(witness(state)),
        }),
    }
}

/// A topic of this set, with a made-up word where none of the rules names one.
fn witness(state: &State<'_>) -> String {
    let mut levels = Vec::new();
    let mut step = state.path.as_deref();
    while let Some(here) = step {
        levels.push(match here.symbol {
            Symbol::Literal(text) => text,
            Symbol::Fresh => "something",
        });
        step = here.before.as_deref();
    }
    levels.reverse();
    levels.join("/")
}
