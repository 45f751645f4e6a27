//! May this client do this?
//!
//! Rules, limits and the gate that applies them. No clock, no file, no socket: a policy is built
//! from text and settings, asked with data, and answers with data. Start with `gate`.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod acl;

mod addresses;
mod admission;
mod bans;
mod canaries;
mod compare;
mod containment;
mod denial;
mod gate;
mod guesses;
mod limits;
mod members;
mod misuse;
mod request;
mod rights;
mod tally;

#[cfg(test)]
mod tests;

pub use addresses::{AddressError, AddressList};
pub use admission::{AddressPermit, Admission, AdmissionSettings, counted_address};
pub use bans::{Ban, BanCause, Banned, Bans};
pub use canaries::Canaries;
pub use compare::{Answer, Ask, COMPARE_BUDGET, Region, Survey, TooManySteps};
pub use containment::STEP_BUDGET;
pub use denial::{Denial, DenyReason, RuleId};
pub use gate::{Admitted, Client, Decision, Gate};
pub use guesses::{BanLimit, DelaySettings, Failed, GuessSettings, Guesses, UserLimit};
pub use limits::{BudgetSettings, Rate, RateAction, TokenBucket};
pub use members::Members;
pub use misuse::{Found, Misuse, MisuseKind, MisuseLimit, MisuseSettings};
pub use request::{Action, Observer, Request, Who};
pub use rights::{Explanation, Granted, ListenerPolicy, Policy, Principal, Rights, SubscribeGuard};
