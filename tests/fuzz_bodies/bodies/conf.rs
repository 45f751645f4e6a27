//! Arbitrary bytes as a configuration file: every diagnostic has its place in the file, and what is
//! accepted reads the same again.

use std::path::Path;

use portcullis::config::{LoadOptions, read_text};

pub(super) fn run(data: &[u8]) {
    // It would read whatever directories the input names.
    if data
        .windows(11)
        .any(|word| word.eq_ignore_ascii_case(b"include_dir"))
    {
        return;
    }
    let name = Path::new("fuzz.conf");
    let options = LoadOptions::default();
    let read = read_text(name, data, &options);
    let lines = data.split(|&byte| byte == b'\n').count();
    for diagnostic in &read.diagnostics {
        assert!(!diagnostic.to_string().is_empty());
        assert!(!diagnostic.in_one_line().contains('\n'), "{diagnostic}");
        if let Some(line) = diagnostic.line {
            let line = usize::try_from(line).expect("a line number");
            assert!((1..=lines).contains(&line), "{diagnostic}");
        }
        assert_ne!(diagnostic.column, Some(0), "{diagnostic}");
    }
    let again = read_text(name, data, &options);
    assert_eq!(read.diagnostics, again.diagnostics);
    if read.is_ok() {
        assert!(read.settings.changes(&again.settings).is_empty());
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        portcullis::config::conf().as_str(),
        include_str!("../../../conf/portcullis.conf"),
        "listener 1883 127.0.0.1\nallow_anonymous true\n",
        "listener 8883\ncafile ca.crt\ncertfile s.crt\nkeyfile s.key\nrequire_certificate true\n\
         use_identity_as_username true\n",
        "per_listener_settings true\nlistener 1883\nacl_file a.acl\npassword_file p\n",
        "max_packet_size 1000\nmessage_size_limit 0\nsubscribe_guard strict\nlog_type all\n",
        "persistent_client_expiration 2w\nsys_interval 10\nlog_dest file \"/var/log/a b\"\n",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
