//! Which normative statement is held by which test: docs/conformance.md is made from their names.
//!
//! A test holds a statement if its name begins with the statement's number: `mqtt_3_1_2_5_…` for
//! [MQTT-3.1.2-5] of 5.0, with `_of_3_1_1_` behind the number for that of 3.1.1, `v31_5_…` for what
//! MQTT 3.1 does otherwise. `mqtt_3_3_1_6_and_7_…` and `mqtt_3_3_1_9_to_11_…` hold several. The rows
//! of tables are named in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Version and number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Statement {
    version: &'static str,
    number: Number,
}

/// Section and number of a statement, ordered as they stand.
type Number = Vec<u32>;

/// A test, or a row of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    sentence: String,
    file: String,
    line: usize,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_default()
}

fn version(text: &str) -> &'static str {
    match text {
        "5.0" => "5.0",
        "3.1.1" => "3.1.1",
        "3.1" => "3.1",
        other => panic!("no version {other}"),
    }
}

/// `MQTT-3.1.2-5` and `V31-5` as numbers.
fn number(id: &str) -> Number {
    let id = id.trim_start_matches("MQTT-").trim_start_matches("V31-");
    let parts = id.split(['.', '-']);
    parts.map(|part| part.parse().expect("a number")).collect()
}

fn statements() -> BTreeMap<Statement, (String, String)> {
    let text = read("tests/conformance/statements.tsv");
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let mut columns = line.split('\t');
        let mut next = || columns.next().expect("three columns").to_owned();
        let (of, id, role) = (next(), next(), next());
        let statement = Statement {
            version: version(&of),
            number: number(&id),
        };
        assert!(all.insert(statement, (id, role)).is_none(), "{line}");
    }
    all
}

/// The statements a name begins with, and the rest of it.
fn parse(name: &str) -> Option<(Vec<Statement>, String)> {
    let mut words = name.split('_').peekable();
    let (mut version, digits) = match words.next()? {
        "mqtt" => ("5.0", 4),
        "v31" => ("3.1", 1),
        _ => return None,
    };
    let mut first = Vec::new();
    for _ in 0..digits {
        first.push(words.next()?.parse().ok()?);
    }
    let mut numbers = vec![first.clone()];
    let last = *first.last()?;
    let other = |value: u32| {
        let mut number = first.clone();
        *number.last_mut().expect("it has numbers") = value;
        number
    };
    let mut rest: Vec<&str> = words.collect();
    while let [joint @ ("and" | "to"), value, ..] = rest.as_slice()
        && let Ok(value) = value.parse::<u32>()
    {
        // `and_3_1_3_2` names another section: a statement of its own.
        let section: Vec<u32> = rest[1..]
            .iter()
            .map_while(|word| word.parse().ok())
            .collect();
        if *joint == "and" && digits == 4 && section.len() >= 4 {
            numbers.push(section[..4].to_vec());
            rest.drain(..5);
            continue;
        }
        match *joint {
            "and" => numbers.push(other(value)),
            _ => numbers.extend((last + 1..=value).map(other)),
        }
        rest.drain(..2);
    }
    if rest.starts_with(&["of", "3", "1", "1"]) {
        version = "3.1.1";
        rest.drain(..4);
    }
    let held = numbers
        .into_iter()
        .map(|number| Statement { version, number });
    Some((held.collect(), rest.join(" ")))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The name a line gives to a test or to a row of a table.
fn name_in(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let name = match line.strip_prefix("fn ").or(line.strip_prefix("async fn ")) {
        Some(rest) => rest.split('(').next()?,
        None => line
            .strip_prefix("(\"")
            .or(line.strip_prefix('"'))?
            .split('"')
            .next()?,
    };
    (name.starts_with("mqtt_") || name.starts_with("v31_")).then_some(name)
}

fn held() -> BTreeMap<Statement, BTreeSet<Held>> {
    let mut files = Vec::new();
    for dir in ["src", "tests"] {
        sources(&root().join(dir), &mut files);
    }
    let mut held: BTreeMap<Statement, BTreeSet<Held>> = BTreeMap::new();
    for path in files {
        let file = path.strip_prefix(root()).expect("below the root");
        let file = file.display().to_string();
        for (index, line) in read(&path).lines().enumerate() {
            let Some((numbers, sentence)) = name_in(line).and_then(parse) else {
                continue;
            };
            for statement in numbers {
                held.entry(statement).or_default().insert(Held {
                    sentence: sentence.clone(),
                    file: file.clone(),
                    line: index + 1,
                });
            }
        }
    }
    held
}

fn page(
    statements: &BTreeMap<Statement, (String, String)>,
    held: &BTreeMap<Statement, BTreeSet<Held>>,
) -> String {
    let mut page = read("tests/conformance/choices.md");
    page.push_str(&fifteen());
    for version in ["5.0", "3.1.1", "3.1"] {
        let rows: Vec<_> = statements
            .iter()
            .filter(|(statement, _)| statement.version == version)
            .collect();
        let _ = write!(
            page,
            "\n## MQTT {version}: {} statements\n\n\
             | statement | binds | what we do, as the test says it | where |\n| --- | --- | --- | --- |\n",
            rows.len()
        );
        for (statement, (id, role)) in rows {
            let tests = held.get(statement);
            let mut sentences = Vec::new();
            let mut places = BTreeSet::new();
            for test in tests.into_iter().flatten() {
                sentences.push(test.sentence.clone());
                places.insert(test.file.clone());
            }
            let places: Vec<_> = places.into_iter().collect();
            let _ = writeln!(
                page,
                "| {id} | {role} | {} | {} |",
                sentences.join("; "),
                places.join(", ")
            );
        }
    }
    page
}

/// The scenarios of tests/e2e/fifteen.rs, as a list.
fn fifteen() -> String {
    let mut list = String::from("\n## What brokers most often get wrong, each as one story\n\n");
    let text = read("tests/e2e/fifteen.rs");
    let stories = text
        .lines()
        .filter_map(|line| line.strip_prefix("fn fifteen_")?.split('(').next());
    for story in stories {
        let (number, sentence) = story.split_once('_').expect("a number and a name");
        let number: u32 = number.parse().expect("a number");
        let _ = writeln!(list, "{number}. {}", sentence.replace('_', " "));
    }
    list.push_str("\n(tests/e2e/fifteen.rs)\n");
    list
}

#[test]
fn every_name_that_begins_like_a_statement_names_one_that_exists() {
    let statements = statements();
    for (statement, tests) in held() {
        assert!(
            statements.contains_key(&statement),
            "{statement:?}: {tests:?}"
        );
    }
}

#[test]
fn every_statement_has_a_test() {
    let held = held();
    let missing: Vec<String> = statements()
        .into_iter()
        .filter(|(statement, _)| !held.contains_key(statement))
        .map(|(statement, (id, _))| format!("{} {id}", statement.version))
        .collect();
    assert!(missing.is_empty(), "these have no test: {missing:#?}");
}

#[test]
fn the_table_is_made_from_the_tests() {
    let page = page(&statements(), &held());
    let path = root().join("docs/conformance.md");
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = read("docs/conformance.md");
    let differs = written
        .lines()
        .zip(page.lines())
        .find(|(old, new)| old != new);
    let remedy = "docs/conformance.md is old: PORTCULLIS_BLESS=1 cargo test --test conformance";
    assert!(written == page, "{remedy}; first: {differs:#?}");
}

#[test]
fn names_are_read_as_they_are_meant() {
    let numbers = |name: &str| {
        let (statements, _) = parse(name)?;
        let text = |s: Statement| {
            let parts: Vec<_> = s.number.iter().map(ToString::to_string).collect();
            format!("{} {}", s.version, parts.join("."))
        };
        Some(
            statements
                .into_iter()
                .map(text)
                .collect::<Vec<_>>()
                .join(", "),
        )
    };
    for (name, expected) in [
        ("mqtt_3_1_2_5_a_kept_session", "5.0 3.1.2.5"),
        ("mqtt_3_9_3_2_of_3_1_1_suback", "3.1.1 3.9.3.2"),
        ("mqtt_3_3_1_6_and_7_empty", "5.0 3.3.1.6, 5.0 3.3.1.7"),
        (
            "mqtt_3_3_1_9_to_11_handling",
            "5.0 3.3.1.9, 5.0 3.3.1.10, 5.0 3.3.1.11",
        ),
        (
            "mqtt_3_8_4_6_and_3_11_3_1_codes",
            "5.0 3.8.4.6, 5.0 3.11.3.1",
        ),
        ("v31_5_no_code", "3.1 5"),
    ] {
        assert_eq!(numbers(name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(numbers("mqtt_js_does_its_work"), None);
}
