//! The codec against the standard: malformed packets as a table, valid ones field by field, split
//! and mutated ones, and what other implementations make of the same bytes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod corpus;
mod differential;
mod encoders;
mod examine;
mod generate;
mod malformed;
mod malformed_connect;
mod malformed_publish;
mod malformed_requests;
mod mqttbytes_findings;
#[expect(dead_code, reason = "the fuzz targets need more of it")]
mod mutate;
mod mutation;
mod oracle_mqttbytes;
mod oracle_rmqtt;
mod oracles;
mod refusals;
mod splits;
mod valid;
mod valid_connect;
mod wire;

#[test]
fn the_notation_means_what_it_says() {
    assert_eq!(
        wire::wire(r#"30 ("a/b" (01 01) 'hi')"#),
        [0x30, 10, 0, 3, b'a', b'/', b'b', 2, 1, 1, b'h', b'i']
    );
    assert_eq!(wire::varint(300), [0xAC, 0x02]);
}
