//! Who is told what happened: counters, the audit log, the operator's log, `$SYS`.
//!
//! [`Event`] lists everything worth telling. Each has one arm that gives its counter, its class and
//! sentence in the operator's log, and its line in the audit log; nothing else counts or logs what
//! clients do. What they send is escaped before it is shown, and secrets never get here.

mod auditor;
mod core_metrics;
mod event;
mod flood;
mod journal;
mod metrics;
mod oplog;
mod repeated;
mod store_metrics;
mod sys;
mod tell;
mod text;
mod traffic;

pub use auditor::Auditor;
pub use core_metrics::{CoreGauges, CoresGauges};
pub use event::{Cause, Event, Touched};
pub use journal::{Journal, JournalTarget};
pub use metrics::{Families, Gauges, Metrics};
pub use oplog::{LogClass, LogDestination, LogSettings, OperatorLog};
pub use store_metrics::StoreGauges;
pub use sys::{SysSampler, Totals};
pub use text::{escape, redact};
pub use traffic::{Traffic, TrafficDelta};
