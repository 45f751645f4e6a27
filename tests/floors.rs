//! A module imports only from floors below its own, and modules on one floor do not import each
//! other. This is the table; documents point here.

use std::fs;
use std::path::{Path, PathBuf};

const FLOORS: [(&str, u8); 12] = [
    ("topic", 0),
    ("codec", 1),
    ("message", 2),
    ("policy", 3),
    ("session", 4),
    ("auth", 5),
    ("audit", 5),
    ("store", 5),
    ("broker", 6),
    ("net", 7),
    ("config", 8),
    ("app", 9),
];

fn floor(module: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|&(_, floor)| floor)
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules that `line` names by `crate::`, those of a group in braces included.
fn named(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    let mut modules = Vec::new();
    for part in code.split("crate::").skip(1) {
        let group = part
            .strip_prefix('{')
            .map(|group| group.split('}').next().unwrap_or(group));
        for item in group.unwrap_or(part).split(',') {
            let end = |c: char| !(c.is_alphanumeric() || c == '_');
            let item = item.trim();
            modules.push(item.split(end).next().unwrap_or_default());
            if group.is_none() {
                break;
            }
        }
    }
    modules
}

fn violations(path: &Path, text: &str, own: &str) -> Vec<String> {
    let own_floor = floor(own).expect("every module stands in the table");
    let mut wrong = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for module in named(line) {
            let Some(other) = floor(module) else { continue };
            if module != own && other >= own_floor {
                wrong.push(format!(
                    "{}:{}: {own} imports {module}",
                    path.display(),
                    index + 1
                ));
            }
        }
    }
    wrong
}

#[test]
fn modules_import_only_from_floors_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in found {
        let relative = path.strip_prefix(&root).expect("below src");
        let first = relative.components().next().expect("a name");
        let own = Path::new(first.as_os_str()).with_extension("");
        let own = own.to_str().expect("ASCII");
        if matches!(own, "lib" | "main") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).expect("a source file");
        wrong.extend(violations(relative, &text, own));
    }
    assert!(seen > 50, "only {seen} files were looked at");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_import_from_above_is_found() {
    let path = Path::new("policy/gate.rs");
    let text = "use crate::topic::TopicName;\nuse crate::{codec, broker::Broker};\nlet x = crate::net::y();\n// crate::app\n";
    assert_eq!(
        violations(path, text, "policy"),
        [
            "policy/gate.rs:2: policy imports broker",
            "policy/gate.rs:3: policy imports net"
        ]
    );
}
