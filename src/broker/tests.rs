//! Who receives what: a whole broker in one thread, with virtual time and without sockets.

mod world;

mod rights;
