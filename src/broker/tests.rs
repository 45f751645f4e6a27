//! Who receives what: a whole broker in one thread, with virtual time and without sockets.

mod world;

mod model;
mod queues;
mod retaining;
mod rights;
mod routing;
mod sessions;
mod sharing;
mod state;
mod wills;
