//! `portcullis passwd` beside `mosquitto_passwd`: the same options, and files both can read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use portcullis::auth::{HashAlgorithm, PasswordFile, StoredHash};

use crate::material::Place;

fn passwd(arguments: &[&str], file: &Path, rest: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("passwd")
        .args(arguments)
        .arg(file)
        .args(rest)
        .output()
        .expect("the program runs")
}

fn read(file: &Path) -> PasswordFile {
    let text = std::fs::read(file).expect("it is there");
    PasswordFile::parse(text).expect("a password file").0
}

fn is_password(file: &Path, user: &str, password: &str) -> bool {
    let file = read(file);
    let hash = file.hash_of(user).expect("the user is in the file");
    hash.verify(password.as_bytes()) == Ok(true)
}

#[test]
fn users_are_added_changed_and_deleted_and_the_file_is_for_its_owner_alone() {
    let place = Place::new();
    let file = place.path("passwd");
    assert!(
        passwd(&["-b", "-c"], &file, &["alice", "one"])
            .status
            .success()
    );
    assert!(passwd(&["-b"], &file, &["bob", "two"]).status.success());
    assert!(is_password(&file, "alice", "one") && is_password(&file, "bob", "two"));
    let algorithm = read(&file).hash_of("alice").expect("in it").algorithm();
    assert_eq!(algorithm, HashAlgorithm::default());
    let mode = std::fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(passwd(&["-b"], &file, &["alice", "new"]).status.success());
    assert!(is_password(&file, "alice", "new") && !is_password(&file, "alice", "one"));
    assert!(passwd(&["-D"], &file, &["alice"]).status.success());
    assert!(read(&file).hash_of("alice").is_none() && read(&file).len() == 1);
}

#[test]
fn each_kind_of_hash_can_be_chosen() {
    let place = Place::new();
    let file = place.path("passwd");
    for (name, prefix) in [
        ("argon2id", "$argon2id$"),
        ("scram-sha-256", "$scram-sha-256$15000$"),
        ("sha512-pbkdf2", "$7$"),
        ("sha512", "$6$"),
    ] {
        let done = passwd(&["-H", name, "-b", "-c"], &file, &["u", "secret"]);
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let text = std::fs::read_to_string(&file).expect("it is there");
        assert!(text.starts_with(&format!("u:{prefix}")), "{text}");
        assert!(is_password(&file, "u", "secret"));
    }
    assert!(
        !passwd(&["-H", "md5", "-b", "-c"], &file, &["u", "secret"])
            .status
            .success()
    );
}

#[test]
fn names_that_would_break_the_file_are_refused_and_it_stays_as_it_is() {
    let place = Place::new();
    let file = place.path("passwd");
    assert!(
        passwd(&["-b", "-c"], &file, &["alice", "one"])
            .status
            .success()
    );
    let before = std::fs::read(&file).expect("it is there");
    for name in ["a:b", "a\nb", ""] {
        let done = passwd(&["-b"], &file, &[name, "x"]);
        assert!(!done.status.success(), "{name:?}");
        assert!(!done.stderr.is_empty());
    }
    assert!(!passwd(&["-D"], &file, &["nobody"]).status.success());
    assert_eq!(std::fs::read(&file).expect("it is there"), before);
}

#[test]
fn a_file_with_passwords_in_clear_is_hashed_in_place() {
    let place = Place::new();
    let file = place.write("passwd", "alice:one\nbob:two\n");
    assert!(passwd(&["-U"], &file, &[]).status.success());
    assert!(is_password(&file, "alice", "one") && is_password(&file, "bob", "two"));
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!(!text.contains("one") && !text.contains(":two"), "{text}");
}

#[test]
fn what_mosquitto_passwd_writes_we_verify() {
    let place = Place::new();
    let file = place.path("passwd");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&file)
        .args(["alice", "secret"])
        .output()
        .expect("scripts/test.sh installs mosquitto");
    assert!(made.status.success());
    assert!(is_password(&file, "alice", "secret") && !is_password(&file, "alice", "other"));
}

#[test]
fn what_we_write_mosquitto_accepts() {
    let place = Place::new();
    let file = place.path("passwd");
    let made = passwd(
        &["-H", "sha512-pbkdf2", "-b", "-c"],
        &file,
        &["alice", "secret"],
    );
    assert!(made.status.success());
    // Below those that outgoing connections are given.
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = (15_000..20_000).find(free).expect("a port");
    let mut conf = format!(
        "listener {port} 127.0.0.1\npassword_file {}\n",
        file.display()
    );
    if nix::unistd::geteuid().is_root() {
        conf.push_str("user root\n");
    }
    let conf = place.write("mosquitto.conf", conf);
    let mut broker = Command::new("/usr/sbin/mosquitto")
        .arg("-c")
        .arg(conf)
        .spawn()
        .expect("scripts/test.sh installs mosquitto");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            std::time::Instant::now() < until,
            "mosquitto does not listen"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let publish = |password: &str| {
        Command::new("mosquitto_pub")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-u",
                "alice",
                "-P",
                password,
            ])
            .args(["-t", "a", "-m", "x", "-q", "1"])
            .output()
            .expect("scripts/test.sh installs mosquitto-clients")
            .status
            .success()
    };
    let (right, wrong) = (publish("secret"), publish("wrong"));
    broker.kill().expect("it runs");
    broker.wait().expect("it ends");
    assert!(right && !wrong);
}

#[test]
fn passwords_that_are_short_or_known_to_others_are_refused_without_being_shown() {
    let place = Place::new();
    let file = place.path("passwd");
    let plain = place.path("plain");
    std::fs::write(&plain, "letmein\ncorrect horse\n").expect("written");
    let hashed = place.path("hashed");
    // SHA-1 of "hunter2" as it stands in lists of breaches.
    let line = "F3BBBD66A63D4BF1747940578EC3D0103530E21D:17043\r\n";
    std::fs::write(&hashed, line).expect("written");
    let text = |path: &Path| path.display().to_string();
    let (plain, hashed) = (text(&plain), text(&hashed));
    let add = |rules: &[&str], password: &str| {
        let options = [&["-b", "-c"][..], rules].concat();
        let output = passwd(&options, &file, &["alice", password]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), told)
    };
    for (rules, password, why) in [
        (
            &["--min-length", "12"][..],
            "\u{e4}\u{e4}\u{e4}",
            "has 3 characters, and 12 are the least",
        ),
        (&["--breached", &plain], "letmein", "known to others"),
        (&["--breached", &plain], "correct horse", "known to others"),
        (&["--breached", &hashed], "hunter2", "known to others"),
        (&["--breached", "/nowhere"], "x", "cannot be read"),
    ] {
        let (done, told) = add(rules, password);
        assert!(!done && told.contains(why), "{told}");
        assert!(password == "x" || !told.contains(password), "{told}");
        assert!(!file.exists());
    }
    assert!(
        add(
            &["--min-length", "12", "--breached", &plain],
            "correct horse battery"
        )
        .0
    );
    // A whole file of passwords in clear: nothing is changed if one is refused.
    let clear = place.path("clear");
    std::fs::write(&clear, "alice:good enough\nbob:letmein\n").expect("written");
    let output = passwd(&["-U", "--breached", &plain], &clear, &[]);
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains(":2: the password is known to others"),
        "{told}"
    );
    let kept = std::fs::read_to_string(&clear).expect("it is there");
    assert!(kept.contains("alice:good enough"));
}

#[test]
fn a_user_is_switched_off_and_on_and_keeps_its_password() {
    let place = Place::new();
    let file = place.path("passwd");
    let done = |arguments: &[&str], rest: &[&str]| {
        let output = passwd(arguments, &file, rest);
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert!(done(&["-b", "-c"], &["alice", "one"]).0);
    assert!(done(&["-b"], &["bob", "two"]).0);
    assert!(done(&["--disable"], &["alice"]).0);
    assert!(read(&file).is_disabled("alice") && !read(&file).is_disabled("bob"));
    assert!(is_password(&file, "alice", "one"));
    // Neither another password nor hashing what is in clear switches it on.
    assert!(done(&["-b"], &["alice", "three"]).0);
    assert!(done(&["-U"], &[]).0);
    assert!(read(&file).is_disabled("alice") && is_password(&file, "alice", "three"));
    assert!(done(&["--disable"], &["alice"]).0);
    assert!(done(&["--enable"], &["alice"]).0);
    assert!(!read(&file).is_disabled("alice") && is_password(&file, "alice", "three"));
    let (ok, told) = done(&["--disable"], &["carol"]);
    assert!(!ok && told.contains("carol is not in"), "{told}");
}

#[test]
fn users_in_json_are_imported_with_their_hashes_c15() {
    let place = Place::new();
    let (file, json) = (place.path("passwd"), place.path("users.json"));
    let hash = |password: &str| {
        let hash = StoredHash::create(password.as_bytes(), HashAlgorithm::Sha512).expect("a hash");
        hash.as_str().to_owned()
    };
    let users = format!(
        r#"{{"users": {{"alice": {{"password_hash": "{}", "groups": ["g"]}}, "bob": {{"password_hash": "{}", "enabled": false}}}}}}"#,
        hash("new"),
        hash("b")
    );
    std::fs::write(&json, users).expect("written");
    assert!(
        passwd(&["-b", "-c"], &file, &["alice", "old"])
            .status
            .success()
    );
    assert!(passwd(&["-b"], &file, &["carol", "c"]).status.success());
    let import = ["--import", json.to_str().expect("UTF-8")];
    let output = passwd(&import, &file, &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(is_password(&file, "alice", "new") && is_password(&file, "carol", "c"));
    assert!(read(&file).is_disabled("bob"));
    // The other way round it would spoil the file.
    let before = std::fs::read(&json).expect("there");
    let output = passwd(&["-b"], &json, &["dave", "d"]);
    assert!(!output.status.success());
    assert_eq!(std::fs::read(&json).expect("there"), before);
    std::fs::write(
        &json,
        "{\"users\": {\"x\": {\"password_hash\": \"hunter2\"}}}",
    )
    .expect("written");
    let output = passwd(&import, &file, &[]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && told.contains("users.json:1:12:"),
        "{told}"
    );
    assert!(!told.contains("hunter2"));
}
