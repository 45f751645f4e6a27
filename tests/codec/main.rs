//! The codec against the standard, against mutations, and beside the codecs of others
//! (docs/decisions/0001-own-codec.md).

mod corpus;
mod differential;
mod encoding;
mod fields;
mod malformed;
mod mqttbytes_cases;
mod mutation;
mod splits;
