//! The real program, as its users meet it: with the client programs they have, over TCP and TLS,
//! with users, rules, reloads and signals; and with clients that mean no good.

mod bans;
mod behaviours;
mod canaries;
mod client_ids;
mod clients;
mod connecting;
mod ending;
mod enhanced;
mod fifteen;
mod forwarding;
mod guard;
mod guessing;
mod halves;
mod hostile;
mod interop;
mod level4_messages;
mod level4_packets;
mod level4_sessions;
mod level4_subscriptions;
mod libraries;
mod limits;
mod many;
mod misuse;
mod observed;
mod offers;
mod process;
mod reload;
mod sessions;
mod shipped;
mod subscribing;
mod support;
mod tokens;
mod topic_tokens;
mod websocket_ends;
mod websockets;
