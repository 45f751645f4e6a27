//! `rehash_on_login`: weak hashes become better ones when their password comes by.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use portcullis::auth::{HashAlgorithm, StoredHash};

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw};
use crate::support::secrets::WRONG;
use crate::support::site::{PASSWORD, Site, eventually};

fn hashed(algorithm: HashAlgorithm) -> String {
    let hash = StoredHash::create(PASSWORD.as_bytes(), algorithm).expect("a hash");
    hash.as_str().to_owned()
}

/// Users by the hashes that they have, in a file with everything else that one may hold.
fn site(more: &str) -> Site {
    let site = Site::with_users(&["new"], ACL, more);
    let strong = site.read("passwd");
    let scram = hashed(HashAlgorithm::ScramSha256 { iterations: 4_096 });
    let bcrypt = hashed(HashAlgorithm::Bcrypt { cost: 4 });
    let little = HashAlgorithm::Argon2id {
        memory_kib: 1_024,
        passes: 1,
        lanes: 1,
    };
    site.write(
        "passwd",
        &format!(
            "# who may come in\n{strong}alice:{}\r\nbob: {} :more\nscram:{scram}\nno colon\n\
             inside:{bcrypt}\nlittle:{}",
            hashed(HashAlgorithm::Sha512),
            hashed(HashAlgorithm::Pbkdf2 { rounds: 1_000 }),
            hashed(little),
        ),
    );
    site
}

fn login(site: &Site, user: &str) -> Raw {
    Raw::hello(site.plain, &Hello::new(5, user, user)).0
}

/// The line of a user.
fn line(site: &Site, user: &str) -> String {
    let start = format!("{user}:");
    let text = site.read("passwd");
    let line = text.lines().find(|line| line.starts_with(&start));
    line.expect("a line").to_owned()
}

fn until_better(site: &Site, user: &str) {
    eventually("a better hash", || {
        line(site, user)[user.len() + 1..]
            .trim_start()
            .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
            .then_some(())
    });
}

#[test]
fn a_weak_hash_is_replaced_at_a_login_and_nothing_else_is() {
    let site = site("rehash_on_login true\nwatch_files true\nauth_failure_delay_ms 0 0\n");
    let path = site.path("passwd");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("a mode");
    let before = site.read("passwd");
    let owner = |path| std::fs::metadata(path).map(|data| (data.uid(), data.gid(), data.mode()));
    let owned = owner(&path).expect("a file");
    let broker = site.start();
    let mut wrong = Hello::new(5, "w", "alice");
    wrong.password = Some(WRONG.into());
    Raw::refused(site.plain, &wrong);
    wrong.user = Some("nobody".into());
    Raw::refused(site.plain, &wrong);
    let mut stays: Vec<Raw> = ["new", "scram"].map(|user| login(&site, user)).into();
    let weak = ["alice", "bob", "inside", "little"];
    for user in weak {
        stays.push(login(&site, user));
        until_better(&site, user);
        let event = broker.audited("password_rehashed", |event| event["username"] == user);
        assert_eq!(event["decision"], "allow");
    }
    assert_eq!(owner(&path).expect("a file"), owned);
    let after = site.read("passwd");
    for (old, new) in before.lines().zip(after.lines()) {
        let name = new.split(':').next().expect("a name");
        assert_eq!(old == new, !weak.contains(&name), "{old} {new}");
    }
    assert_eq!(before.lines().count(), after.lines().count());
    assert!(after.contains("\r\nbob: $argon2id$") && after.contains(" :more\n"));
    // No file was left beside it.
    let names = std::fs::read_dir(site.dir()).expect("a directory");
    let left = names.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().contains(".tmp")
    });
    assert_eq!(left.count(), 0);
    // What it wrote itself is no change that it would reload for, and a reload ends nobody for it.
    assert_eq!(broker.audit("reload").len(), 0);
    assert_eq!(broker.reload()["decision"], "allow");
    for raw in &mut stays {
        raw.expect_silence();
    }
    for user in weak {
        let again = Hello::new(5, "again", user);
        Raw::hello(site.plain, &again).0.disconnect();
    }
    // A new password does.
    let other = StoredHash::create(WRONG.as_bytes(), HashAlgorithm::Sha512).expect("a hash");
    let changed = after.replace(&line(&site, "alice"), &format!("alice:{}", other.as_str()));
    site.replace("passwd", &changed);
    assert_eq!(broker.reload()["decision"], "allow");
    stays[2].expect_disconnect(0x87);
    stays[3].expect_silence();
}

#[test]
fn a_file_that_was_changed_since_it_was_read_is_left_alone() {
    let site = site("rehash_on_login true\n");
    let bob = line(&site, "bob");
    let broker = site.start();
    let changed = format!("{}\n# a note\n", site.read("passwd"));
    site.write("passwd", &changed);
    login(&site, "alice").disconnect();
    eventually("it is told", || {
        let told = "stays as it is until the next reload: it has changed since it was read";
        broker.log().contains(told).then_some(())
    });
    assert_eq!(site.read("passwd"), changed);
    // Once it was read again the next login does it.
    broker.reload();
    login(&site, "alice").disconnect();
    until_better(&site, "alice");
    assert_eq!(line(&site, "bob"), bob);
}

#[test]
fn without_the_line_every_hash_stays() {
    let site = site("");
    let before = site.read("passwd");
    let broker = site.start();
    for user in ["alice", "bob", "inside", "little"] {
        login(&site, user).disconnect();
    }
    // With it, one of the next logins is written, and that of before is not.
    let conf = site.read("portcullis.conf");
    site.write("portcullis.conf", &format!("{conf}rehash_on_login true\n"));
    assert_eq!(broker.reload()["decision"], "allow");
    assert_eq!(site.read("passwd"), before);
    login(&site, "bob").disconnect();
    until_better(&site, "bob");
    let alice = before.lines().find(|line| line.starts_with("alice:"));
    assert_eq!(Some(line(&site, "alice").as_str()), alice);
}
