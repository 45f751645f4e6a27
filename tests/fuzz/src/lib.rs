//! The bodies of the fuzz targets, taken from the tests, so that both run the same.

#[path = "../../fuzz_bodies/bodies/mod.rs"]
mod bodies;
#[path = "../../codec/generate.rs"]
mod generate;
#[path = "../../codec/mutate.rs"]
mod mutate;
#[path = "../../codec/wire.rs"]
mod wire;

/// Runs the body named `name` on one input.
pub fn run(name: &str, data: &[u8]) {
    let body = bodies::ALL.iter().find(|body| body.name == name);
    (body.expect("a target of this name").run)(data);
}

/// Names and first inputs of all bodies.
pub fn seeds() -> impl Iterator<Item = (&'static str, Vec<Vec<u8>>)> {
    bodies::ALL.iter().map(|body| (body.name, (body.seeds)()))
}
