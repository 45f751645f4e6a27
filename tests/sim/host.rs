//! The broker: the connections' real futures, polled one at a time when the simulation says so, only
//! when they were woken, and by a clock that stands still between its moves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis::audit::{Auditor, Journal, JournalTarget, Metrics, Traffic};
use portcullis::auth::Authenticator;
use portcullis::broker::{Broker, Effects, Settings, Signal};
use portcullis::net::listener::{Listener, ListenerState, connection};
use portcullis::net::{Cores, Sentry, SentrySettings, Shared};
use portcullis::policy::acl::AclFile;
use portcullis::policy::{Admission, AdmissionSettings, Gate, Policy, SubscribeGuard};
use portcullis::session;
use portcullis::store::{Memory, Store};
use tokio::runtime::{Builder, Runtime};

use crate::line::Line;

/// What the operator of this seed's broker chose.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) acl: &'static str,
    pub(crate) broker: Settings,
    pub(crate) session: session::Settings,
    pub(crate) max_subscriptions: usize,
    /// Sessions that outlive their connections are kept in a store, which commits when it is its turn.
    pub(crate) is_kept: bool,
}

type Ready = Arc<Mutex<BTreeSet<usize>>>;

/// The number under which the store's commits are among what may go on next.
pub(crate) const STORE: usize = usize::MAX;

struct Flag {
    task: usize,
    ready: Ready,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.ready.lock().insert(self.task);
    }
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    waker: Waker,
}

pub(crate) struct Host {
    operator: Operator,
    runtime: Runtime,
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    store: Option<Kept>,
    tasks: BTreeMap<usize, Task>,
    ready: Ready,
    /// Deliveries for which queues had no room, counted by the brokers that were.
    dropped: u64,
    /// Time since the simulation began.
    pub(crate) elapsed: Duration,
}

/// The store of a broker, and what it has said of its commits since the broker was told.
struct Kept {
    store: Arc<Memory>,
    committed: Arc<AtomicU64>,
    /// What it says to keep is gone when the broker is killed.
    forgets: bool,
}

impl Kept {
    fn new() -> Self {
        let committed = Arc::new(AtomicU64::new(0));
        let said = Arc::clone(&committed);
        let store = Memory::new(Box::new(move |ticket| {
            said.store(ticket, Ordering::Relaxed);
        }));
        store.hold();
        Self {
            store: Arc::new(store),
            committed,
            forgets: false,
        }
    }
}

fn auditor() -> Arc<Auditor> {
    static AUDITOR: OnceLock<Arc<Auditor>> = OnceLock::new();
    let make = || {
        let journal = Journal::start(&JournalTarget::Off).expect("no file is opened");
        let traffic = Arc::new(Traffic::new(1));
        let metrics = Metrics::new(traffic, &[], &[], Authenticator::methods(), &[]);
        Auditor::new(journal, metrics.expect("names differ").1)
    };
    Arc::clone(AUDITOR.get_or_init(make))
}

fn start(operator: &Operator, store: Option<&Kept>) -> (Arc<Shared>, Arc<Listener>) {
    let store = store.map(|kept| Arc::clone(&kept.store) as Arc<dyn Store>);
    let acl = AclFile::parse("acl", operator.acl).expect("a valid ACL");
    let policy = Policy::new(vec![Some(Arc::new(acl))], SubscribeGuard::Strict, 200);
    let audit = auditor();
    let gate = Arc::new(Gate::new(policy, Arc::clone(&audit) as Arc<_>));
    let sentry = Sentry::new(Arc::clone(&audit), &SentrySettings::default());
    let shared = Shared::new(
        Broker::new(&operator.broker, gate).with_store(store),
        audit,
        Arc::new(Traffic::new(1)),
        Admission::new(AdmissionSettings::default()),
        sentry,
        Cores::here(),
    );
    let listener = Listener::new(ListenerState {
        name: "sim".into(),
        session: operator.session.clone(),
        max_subscriptions: operator.max_subscriptions,
        nodelay: false,
        ..ListenerState::bare()
    });
    shared.add_listener(Arc::clone(&listener));
    (shared, listener)
}

impl Host {
    pub(crate) fn new(operator: Operator) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let store = operator.is_kept.then(Kept::new);
        let (shared, listener) = {
            let _entered = runtime.enter();
            start(&operator, store.as_ref())
        };
        Self {
            operator,
            runtime,
            shared,
            listener,
            store,
            tasks: BTreeMap::new(),
            ready: Ready::default(),
            dropped: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// What the store keeps from now on is gone when the broker is killed.
    pub(crate) fn forget(&mut self) {
        if let Some(kept) = &mut self.store {
            kept.store.lose(true);
            kept.forgets = true;
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.store.is_some()
    }

    pub(crate) fn broker(&self) -> &Broker {
        &self.shared.broker
    }

    /// A connection arrives; its first poll is the simulation's choice like every other.
    pub(crate) fn accept(&mut self, task: usize, line: &Line) {
        let _entered = self.runtime.enter();
        let peer: SocketAddr = "192.0.2.1:1883".parse().expect("an address");
        let stream = Box::new(line.broker_end());
        let future = connection(&self.shared, &self.listener, stream, peer).expect("let in");
        let ready = Arc::clone(&self.ready);
        let waker = Waker::from(Arc::new(Flag { task, ready }));
        let future = Box::pin(future);
        self.tasks.insert(task, Task { future, waker });
        self.ready.lock().insert(task);
    }

    /// Tasks that were woken and not polled since.
    pub(crate) fn ready(&self) -> Vec<usize> {
        let mut ready: Vec<usize> = self.ready.lock().iter().copied().collect();
        if self
            .store
            .as_ref()
            .is_some_and(|kept| kept.store.waiting() > 0)
        {
            ready.push(STORE);
        }
        ready
    }

    /// The store commits some of what it was handed, and the broker is told.
    pub(crate) fn commit(&mut self, batches: usize) {
        let _entered = self.runtime.enter();
        if let Some(kept) = &self.store {
            kept.store.release(batches);
            let committed = kept.committed.load(Ordering::Relaxed);
            self.shared.cores.committed_here(committed);
        }
    }

    pub(crate) fn poll(&mut self, task: usize) {
        self.ready.lock().remove(&task);
        let _entered = self.runtime.enter();
        let Some(Task { future, waker }) = self.tasks.get_mut(&task) else {
            return;
        };
        if let Poll::Ready(()) = future.as_mut().poll(&mut Context::from_waker(waker)) {
            self.tasks.remove(&task);
        }
    }

    /// Time passes; timers fire, and the broker does what is due.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.elapsed += time;
        self.runtime.block_on(tokio::time::advance(time));
        let _entered = self.runtime.enter();
        let now = tokio::time::Instant::now().into_std();
        let mut effects = Effects::default();
        self.shared.broker.tick(now, &mut effects);
        self.shared.finish(&mut effects);
    }

    /// Everybody looks at the rights anew, as after a reload.
    pub(crate) fn recheck(&self) {
        self.shared.broker.signal_all(Signal::Recheck);
    }

    /// The machine is gone with its disk, and another begins with nothing: what a broker does without a
    /// store, and with one that was lost.
    pub(crate) fn crash(&mut self) {
        self.stop();
        let _entered = self.runtime.enter();
        self.store = self.operator.is_kept.then(Kept::new);
        (self.shared, self.listener) = start(&self.operator, self.store.as_ref());
    }

    /// The process is killed and started again with what its store has committed; so many of the batches that
    /// wait are on the disk although nobody has heard of it. True if the store has forgotten what it had said to
    /// keep.
    pub(crate) fn restart(&mut self, unheard: usize) -> bool {
        let Some(mut kept) = self.store.take() else {
            return false;
        };
        kept.store.release(unheard);
        self.stop();
        let _entered = self.runtime.enter();
        let now = tokio::time::Instant::now().into_std();
        let recovered = kept.store.crash(now);
        kept.store.hold();
        kept.committed.store(0, Ordering::Relaxed);
        (self.shared, self.listener) = start(&self.operator, Some(&kept));
        let mut effects = Effects::default();
        self.shared.broker.restore(recovered, now, &mut effects);
        self.shared.finish(&mut effects);
        let forgot = std::mem::take(&mut kept.forgets);
        self.store = Some(kept);
        forgot
    }

    fn stop(&mut self) {
        let _entered = self.runtime.enter();
        self.dropped += self.shared.broker.counts().dropped_queue_full;
        self.tasks.clear();
        self.ready.lock().clear();
    }

    /// What the brokers have counted, this one and those before it.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped + self.shared.broker.counts().dropped_queue_full
    }
}
