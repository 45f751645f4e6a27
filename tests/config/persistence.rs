//! What survives a restart: the directives of the store, alone and together.

use std::path::Path;
use std::time::Duration;

use portcullis::config::{FindingKind, LoadOptions, read_text};
use portcullis::store::{OnDamage, StoreSettings, SyncPolicy};

use crate::support::{only_error, read, settings, warnings};

const KEPT: &str = "listener 1883 127.0.0.1\npersistence true\n";

#[test]
fn nothing_is_kept_unless_the_operator_says_so() {
    assert_eq!(settings("").persistence.store(), None);
    assert_eq!(settings("persistence false\n").persistence.store(), None);
    let store = settings(KEPT).persistence.store().expect("a store");
    assert_eq!(store, StoreSettings::new("store"));
}

#[test]
fn every_directive_of_the_store_reaches_it() {
    let text = format!(
        "{KEPT}persistence_location /var/lib/portcullis\npersistence_file journal\nstore_max_bytes 1000000000\n\
         store_max_messages 5000000\nstore_sync interval 250\ncommit_linger_us 400\nstore_on_damage quarantine\n"
    );
    let store = settings(&text).persistence.store().expect("a store");
    assert_eq!(store.directory, Path::new("/var/lib/portcullis/journal"));
    assert_eq!(
        (store.max_bytes, store.max_messages),
        (1_000_000_000, 5_000_000)
    );
    assert_eq!(store.sync, SyncPolicy::Interval(Duration::from_millis(250)));
    assert_eq!(store.linger, Duration::from_micros(400));
    assert_eq!(store.on_damage, OnDamage::Quarantine);
}

#[test]
fn what_the_store_cannot_work_with_is_refused_with_its_place() {
    for (line, expected) in [
        (
            "store_sync sometimes",
            "3:12: error: `sometimes` is not one of the values",
        ),
        (
            "store_sync interval",
            "3:12: error: `interval` has no length",
        ),
        ("store_sync interval 5", "3:21: error: "),
        (
            "store_sync always 1000",
            "3:19: error: `1000` has no place behind `always`",
        ),
        (
            "store_sync interval 1000 ms",
            "3:26: error: `ms` has no place behind `interval 1000`",
        ),
        ("commit_linger_us 5001", "3:18: error: "),
        (
            "store_on_damage ignore",
            "3:17: error: `ignore` is not one of the values",
        ),
        ("persistence_file a/b", "3:18: error: `a/b` is not a name"),
        ("persistence_file ..", "3:18: error: `..` is not a name"),
        (
            "store_max_bytes 1000",
            "3:1: error: `store_max_bytes 1000` leaves the store no room",
        ),
        ("store_maxbytes 1000", "3:1: error: "),
    ] {
        let error = only_error(&format!("{KEPT}{line}\n"));
        let expected = format!("portcullis.conf:{expected}");
        assert!(error.starts_with(&expected), "{line}: {error}");
    }
    settings(&format!("{KEPT}store_max_bytes 0\n"));
    settings(&format!("{KEPT}store_sync always # as it should be\n"));
}

#[test]
fn a_queue_whose_places_alone_fill_the_memory_is_refused() {
    let text = format!("{KEPT}memory_limit 100000000\nmax_queued_messages 1000000\n");
    let error = only_error(&text);
    assert!(
        error.starts_with(
            "portcullis.conf:4:1: error: one client that is away can take more than memory_limit"
        ),
        "{error}"
    );
    settings(&format!(
        "{KEPT}memory_limit 100000000\nmax_queued_messages 700000\n"
    ));
}

#[test]
fn a_memory_limit_below_the_default_queue_is_refused_at_its_own_line() {
    let error = only_error(&format!("{KEPT}memory_limit 100000\n"));
    assert!(
        error.starts_with(
            "portcullis.conf:3:1: error: one client that is away can take more than memory_limit: 1000 messages"
        ),
        "{error}"
    );
    assert!(
        error.contains("write at most 769 for max_queued_messages (it is 1000 by default)"),
        "{error}"
    );
    let error = only_error(&format!("{KEPT}memory_limit 100\n"));
    assert!(
        error.ends_with("help: write a larger memory_limit"),
        "{error}"
    );
    settings(&format!("{KEPT}memory_limit 130000\n"));
    // Nothing waits in memory for a store that is not there.
    settings("listener 1883 127.0.0.1\nmemory_limit 100000\n");
}

#[test]
fn mosquittos_environment_variable_beats_persistence_location() {
    let read = |text: &str| {
        let options = LoadOptions {
            persistence_location: Some("/data".into()),
            ..LoadOptions::default()
        };
        read_text(Path::new("portcullis.conf"), text.as_bytes(), &options)
    };
    let silent = read(KEPT);
    let directory = silent.settings.persistence.directory();
    assert_eq!(directory, Path::new("/data/store"));
    assert_eq!(warnings(&silent), warnings(&super::support::read(KEPT)));
    let written = read(&format!("{KEPT}persistence_location /var/lib/portcullis\n"));
    let directory = written.settings.persistence.directory();
    assert_eq!(directory, Path::new("/data/store"));
    let told = "portcullis.conf:3:22: warning: persistence_location is /data, by MOSQUITTO_PERSISTENCE_LOCATION";
    assert!(
        warnings(&written).iter().any(|warning| warning == told),
        "{:?}",
        warnings(&written)
    );
    // It is where it was, whatever becomes of the line.
    assert!(silent.settings.changes(&written.settings).is_empty());
    let same = read(&format!("{KEPT}persistence_location /data\n"));
    assert_eq!(warnings(&same), warnings(&silent));
    // A container's environment says so whether or not something is kept.
    let off = read("listener 1883 127.0.0.1\n");
    assert_eq!(off.settings.persistence.location, None);
}

#[test]
fn directives_of_a_store_that_is_not_there_are_named() {
    let loaded =
        read("listener 1883 127.0.0.1\nstore_sync always\npersistence_location /var/lib\n");
    let warnings = warnings(&loaded);
    for name in ["persistence_location", "store_sync"] {
        let text = format!("`{name}` has no effect without `persistence true`");
        assert!(
            warnings.iter().any(|warning| warning.contains(&text)),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_store_that_a_power_cut_may_rob_is_a_finding() {
    let settings = settings(&format!("{KEPT}store_sync interval 1000\n"));
    let kinds: Vec<_> = settings
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect();
    assert_eq!(kinds, [FindingKind::StoreNotSynced]);
}

#[test]
fn what_a_reload_cannot_change_is_named() {
    let before = settings(KEPT);
    let after = settings("listener 1883 127.0.0.1\npersistence true\nstore_sync interval 100\n");
    let changes = before.changes(&after);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].directive, "store_sync");
    assert_eq!(changes[0].effect, portcullis::config::Reload::NeedsRestart);
}

#[test]
fn a_store_that_others_can_look_into_is_refused_or_in_compatible_told_with_what_to_do() {
    use std::fs::{Permissions, create_dir, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    let conf = format!("{KEPT}persistence_location {}\n", dir.path().display());
    let told = |text: &str| -> Vec<String> {
        let mut settings = settings(text);
        let told = settings.check_permissions();
        told.iter().map(ToString::to_string).collect()
    };
    // It is made by the broker, for nobody else.
    assert!(told(&conf).is_empty());
    create_dir(&store).expect("it can be made");
    set_permissions(&store, Permissions::from_mode(0o755)).expect("it is ours");
    let [error] = told(&conf).try_into().expect("one error");
    assert!(error.starts_with("portcullis.conf:2:"), "{error}");
    assert!(
        error.contains("error: ") && error.contains("mode 0755"),
        "{error}"
    );
    assert!(
        error.contains(&format!("help: chmod 700 {}", store.display())),
        "{error}"
    );
    let [warning] = told(&format!("security_profile compatible\n{conf}"))
        .try_into()
        .expect("one warning");
    assert!(warning.contains("warning: "), "{warning}");
    set_permissions(&store, Permissions::from_mode(0o700)).expect("it is ours");
    assert!(told(&conf).is_empty());
}

/// What is told of the place of the store in `dir`, with `more` lines.
fn told_of_place(dir: &Path, more: &str) -> Vec<String> {
    let conf = format!("{KEPT}persistence_location {}\n{more}", dir.display());
    let told = settings(&conf).check_store_place();
    told.iter().map(ToString::to_string).collect()
}

#[test]
fn mosquittos_database_beside_a_store_to_be_made_is_told_with_the_command_that_imports_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = dir.path().join("mosquitto.db");
    assert!(told_of_place(dir.path(), "").is_empty());
    std::fs::write(&database, "").expect("written");
    let [warning] = told_of_place(dir.path(), "").try_into().expect("one");
    assert!(
        warning.starts_with("portcullis.conf:3:1: warning: "),
        "{warning}"
    );
    let command = format!(
        "`portcullis store import-mosquitto {} -c portcullis.conf`",
        database.display()
    );
    assert!(warning.contains(&command), "{warning}");
    // Where nothing is kept nobody looks.
    let off = settings(&format!("persistence_location {}\n", dir.path().display()));
    assert!(off.check_store_place().is_empty());
    // Once there is a store it is history.
    let store = dir.path().join("store");
    std::fs::create_dir(&store).expect("made");
    assert_eq!(told_of_place(dir.path(), "").len(), 1);
    std::fs::write(store.join("META"), "").expect("written");
    assert!(told_of_place(dir.path(), "").is_empty());
}

#[test]
fn a_file_in_the_place_of_the_store_is_refused_at_the_line_that_names_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = dir.path().join("mosquitto.db");
    std::fs::write(&database, "").expect("written");
    let more = "persistence_file mosquitto.db\n";
    let [error] = told_of_place(dir.path(), more).try_into().expect("one");
    let expected = format!(
        "portcullis.conf:4:1: error: {} is a file, and the store is a directory",
        database.display()
    );
    assert!(error.starts_with(&expected), "{error}");
    let command = format!("import-mosquitto {} -c", database.display());
    assert!(error.contains(&command), "{error}");
    std::fs::remove_file(&database).expect("it was there");
    std::fs::write(dir.path().join("store"), "").expect("written");
    let [error] = told_of_place(dir.path(), "").try_into().expect("one");
    assert!(error.starts_with("portcullis.conf:2:1: error: "), "{error}");
    assert!(
        error.ends_with("help: write `persistence_file NAME` with another name"),
        "{error}"
    );
}
