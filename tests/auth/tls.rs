//! TLS as a listener sets it up: what is refused before it is used, and handshakes of all kinds.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use portcullis::net::tls::{self, HANDSHAKE_FAILURES, HandshakeFailure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, NamedGroup, RootCertStore, ServerConfig, ServerConnection,
};

use crate::material::{Authority, DAY, Pair, Place, params, validity};

struct World {
    place: Place,
    authority: Authority,
}

impl World {
    fn new() -> Self {
        let world = Self {
            place: Place::new(),
            authority: Authority::new("Test CA"),
        };
        world.place.write("ca.crt", world.authority.pem());
        world.place.server(&world.authority.server());
        world
    }

    fn server(&self, require_certificate: bool) -> Arc<ServerConfig> {
        tls::load(&self.place.settings(require_certificate))
            .expect("it is in order")
            .config
    }

    fn problems(&self, require_certificate: bool) -> String {
        let errors = tls::load(&self.place.settings(require_certificate))
            .err()
            .unwrap_or_default();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        texts.join("\n")
    }

    fn client(
        &self,
        identity: Option<&Pair>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).expect("PEM");
        roots.add(ca).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")],
                    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM"),
                )
                .expect("a key for the certificate"),
        })
    }
}

/// Client and server shake hands over loopback; gives what the server has, or why not.
fn shake(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> Result<ServerConnection, &'static str> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let other = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(address).expect("it listens");
        let name = "localhost".try_into().expect("a name");
        let mut connection = ClientConnection::new(client, name).expect("a client");
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        // A refusal comes with the first read.
        drop(stream.write_all(b"hello"));
        drop(stream.read(&mut [0; 5]));
    });
    let (mut socket, _) = listener.accept().expect("it connects");
    let mut connection = ServerConnection::new(server).expect("a server");
    let mut read = [0; 5];
    let done = rustls::Stream::new(&mut connection, &mut socket).read_exact(&mut read);
    let label = done.map_err(|error| HandshakeFailure::from_io(&error).label());
    if label.is_err() {
        // The alert that says why.
        while connection.wants_write() && connection.write_tls(&mut socket).is_ok() {}
    }
    drop(socket);
    other.join().expect("the client does not panic");
    if let Err(label) = label {
        assert!(HANDSHAKE_FAILURES.contains(&label), "{label}");
        return Err(label);
    }
    Ok(connection)
}

const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

#[test]
fn both_versions_are_spoken_and_the_hybrid_key_exchange_is_preferred() {
    let world = World::new();
    let new = shake(world.server(false), world.client(None, BOTH)).expect("1.3");
    assert_eq!(
        new.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let group = new
        .negotiated_key_exchange_group()
        .map(rustls::crypto::SupportedKxGroup::name);
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
    let old = shake(
        world.server(false),
        world.client(None, &[&rustls::version::TLS12]),
    );
    assert_eq!(
        old.expect("1.2").protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_2)
    );
}

#[test]
fn where_the_operator_wants_1_3_alone_1_2_is_refused() {
    let world = World::new();
    let mut settings = world.place.settings(false);
    settings.tls12 = false;
    let server = tls::load(&settings).expect("it is in order").config;
    let refused = shake(server, world.client(None, &[&rustls::version::TLS12]));
    assert_eq!(refused.err(), Some("protocol_version"));
}

#[test]
fn a_client_certificate_names_its_client() {
    let world = World::new();
    let alice = world.authority.client("alice", 7);
    for versions in [BOTH, &[&rustls::version::TLS12]] {
        let connection = shake(world.server(true), world.client(Some(&alice), versions));
        let connection = connection.expect("it is trusted");
        let identity = tls::client_identity(&connection).expect("a certificate");
        assert_eq!(
            identity.common_name().map(ToString::to_string),
            Ok("alice".into())
        );
    }
}

#[test]
fn each_reason_to_refuse_a_client_has_its_label() {
    let world = World::new();
    let server = || world.server(true);
    let refused = |identity: Option<&Pair>| shake(server(), world.client(identity, BOTH)).err();
    assert_eq!(refused(None), Some("no_certificate"));
    let stranger = Authority::new("Another CA").client("alice", 1);
    assert_eq!(refused(Some(&stranger)), Some("unknown_ca"));
    let mut old = params("alice");
    old.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    validity(&mut old, -10 * DAY, -DAY);
    assert_eq!(
        refused(Some(&world.authority.sign(&old))),
        Some("certificate_expired")
    );
    let server_only = world.authority.server();
    assert_eq!(refused(Some(&server_only)), Some("bad_certificate"));
}

#[test]
fn a_revoked_certificate_is_refused_and_its_neighbour_is_not() {
    let world = World::new();
    let (revoked, good) = (
        world.authority.client("r", 1),
        world.authority.client("g", 2),
    );
    world
        .place
        .write("ca.crl", world.authority.crl(&[1], -DAY, DAY));
    let mut settings = world.place.settings(true);
    settings.crlfile = Some(world.place.path("ca.crl"));
    let server = tls::load(&settings).expect("it is in order").config;
    let refused = shake(Arc::clone(&server), world.client(Some(&revoked), BOTH));
    assert_eq!(refused.err(), Some("certificate_revoked"));
    shake(server, world.client(Some(&good), BOTH)).expect("not revoked");
}

#[test]
fn files_that_do_not_fit_together_are_told_by_name_before_they_are_used() {
    let world = World::new();
    let other = world.authority.server();
    world.place.write("server.key", &other.key);
    let said = world.problems(false);
    assert!(
        said.contains("server.key") && said.contains("server.crt"),
        "{said}"
    );
    for (name, text, expected) in [
        ("server.key", "no PEM at all", "server.key"),
        ("server.crt", "", "server.crt"),
    ] {
        let world = World::new();
        world.place.write(name, text);
        let said = world.problems(false);
        assert!(said.contains(expected), "{said}");
    }
    let world = World::new();
    std::fs::remove_file(world.place.path("server.crt")).expect("it was there");
    std::fs::remove_file(world.place.path("ca.crt")).expect("it was there");
    let said = world.problems(true);
    // Both at once.
    assert!(
        said.contains("server.crt") && said.contains("ca.crt"),
        "{said}"
    );
}

#[test]
fn a_server_certificate_that_is_over_is_told() {
    let world = World::new();
    let mut params = params("localhost");
    params.subject_alt_names = vec![rcgen::SanType::DnsName(
        "localhost".try_into().expect("a name"),
    )];
    validity(&mut params, -10 * DAY, -DAY);
    world.place.server(&world.authority.sign(&params));
    let loaded = tls::load(&world.place.settings(false));
    let told = match &loaded {
        Ok(tls) => format!("{:?}", tls.warnings),
        Err(_) => world.problems(false),
    };
    assert!(told.contains("expire") || told.contains("valid"), "{told}");
}

#[test]
fn a_chain_is_sent_whole() {
    let world = World::new();
    let intermediate = world.authority.intermediate("Between");
    let leaf = intermediate.server();
    let chain = format!("{}{}", leaf.certificate, intermediate.pem());
    world.place.write("server.crt", chain);
    world.place.write("server.key", &leaf.key);
    // The client knows the root alone.
    shake(world.server(false), world.client(None, BOTH)).expect("the chain is sent");
}

#[test]
fn a_response_with_any_byte_changed_or_cut_is_taken_or_refused_and_nothing_else() {
    let world = World::new();
    let place = &world.place;
    place.write("ca.key", world.authority.key());
    place.write("index.txt", "");
    let line = "ocsp -index index.txt -CA ca.crt -rsigner ca.crt -rkey ca.key -issuer ca.crt \
                -cert server.crt -no_nonce -respout r.der";
    place.openssl(&line.split_whitespace().collect::<Vec<_>>());
    let response = std::fs::read(place.path("r.der")).expect("a response");
    let mut settings = place.settings(false);
    settings.ocsp_file = Some(place.path("r.der"));
    let taken = |bytes: &[u8]| {
        place.write("r.der", bytes);
        tls::load(&settings).is_ok()
    };
    // Nobody knows the certificate, and without an end such a response holds for ever.
    assert!(taken(&response));
    let refused = (0..response.len()).filter(|&end| !taken(&response[..end]));
    assert_eq!(refused.count(), response.len());
    let changed = (0..response.len()).filter(|&at| {
        let mut changed = response.clone();
        changed[at] ^= 0xFF;
        !taken(&changed)
    });
    assert!(changed.count() > 20, "the frame is looked at");
}
