//! One question over HTTPS, within bounds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What is wrong with an address or its certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL.
    #[error("it is no URL such as https://issuer.example.org/path")]
    NoUrl,
    /// Identity over a line that anybody can change.
    #[error("identities are asked for over https alone")]
    NotHttps,
    /// A user name in it would be sent to the log.
    #[error("it names a user, which has no place in it")]
    User,
    /// No CA certificate.
    #[error("there is no CA certificate to verify it with")]
    NoRoots,
    /// A CA certificate that cannot be used.
    #[error("a CA certificate cannot be used: {0}")]
    Root(String),
}

/// Whom to ask, and how it is verified.
#[derive(Clone)]
pub struct Endpoint {
    url: String,
    uri: Uri,
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    timeout: Duration,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

/// Why there is no answer, for the operator's log.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("it took too long")]
    Timeout,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("the answer is too long, or broke off")]
    Body,
    #[error("the answer cannot be read: {0}")]
    Answer(String),
}

impl Endpoint {
    /// `pem` holds the CA certificates that count; without it those of the system do.
    ///
    /// # Errors
    /// The URL or the certificates cannot be used.
    pub fn new(url: &str, pem: Option<&[u8]>, timeout: Duration) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_| EndpointError::NoUrl)?;
        let authority = uri.authority().ok_or(EndpointError::NoUrl)?;
        match uri.scheme_str() {
            Some("https") => {}
            Some(_) => return Err(EndpointError::NotHttps),
            None => return Err(EndpointError::NoUrl),
        }
        if authority.as_str().contains('@') {
            return Err(EndpointError::User);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| EndpointError::NoUrl)?;
        Ok(Self {
            url: url.to_owned(),
            port: authority.port_u16().unwrap_or(443),
            name,
            tls: Arc::new(client_config(pem)?),
            host,
            uri,
            timeout,
        })
    }

    /// The address as it was written.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for a document.
    pub(super) async fn get(&self, most_bytes: usize) -> Result<Bytes, FetchError> {
        self.ask(Method::GET, None, None, most_bytes).await
    }

    /// Sends a form.
    pub(super) async fn post(
        &self,
        form: String,
        authorization: Option<&HeaderValue>,
        most_bytes: usize,
    ) -> Result<Bytes, FetchError> {
        self.ask(Method::POST, Some(form), authorization, most_bytes)
            .await
    }

    async fn ask(
        &self,
        method: Method,
        form: Option<String>,
        authorization: Option<&HeaderValue>,
        most_bytes: usize,
    ) -> Result<Bytes, FetchError> {
        let asked = self.exchange(method, form, authorization, most_bytes);
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Timeout),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        form: Option<String>,
        authorization: Option<&HeaderValue>,
        most_bytes: usize,
    ) -> Result<Bytes, FetchError> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        socket.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(self.name.clone(), socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = self.request(method, form, authorization)?;
        let answer = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), most_bytes)
                .collect()
                .await;
            Ok(body.map_err(|_| FetchError::Body)?.to_bytes())
        };
        // The connection is driven until the answer is there, and dropped with it.
        tokio::pin!(connection);
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => {
                ended?;
                answer.await
            }
        }
    }

    fn request(
        &self,
        method: Method,
        form: Option<String>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Request<Full<Bytes>>, FetchError> {
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "portcullis");
        if form.is_some() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        request
            .body(Full::new(Bytes::from(form.unwrap_or_default())))
            .map_err(|error| FetchError::Answer(error.to_string()))
    }
}

fn client_config(pem: Option<&[u8]>) -> Result<ClientConfig, EndpointError> {
    let mut roots = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| EndpointError::Root(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| EndpointError::Root(error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(EndpointError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| EndpointError::Root(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_asked_for_over_https_alone_and_of_whom_can_be_verified() {
        let new = |url: &str, pem: &str| {
            Endpoint::new(url, Some(pem.as_bytes()), Duration::from_secs(1)).map(|_| ())
        };
        assert_eq!(new("http://a.example/x", ""), Err(EndpointError::NotHttps));
        assert_eq!(new("/x", ""), Err(EndpointError::NoUrl));
        assert_eq!(new("https://", ""), Err(EndpointError::NoUrl));
        assert_eq!(new("https://u:p@a.example/", ""), Err(EndpointError::User));
        assert_eq!(new("https://a.example/x", ""), Err(EndpointError::NoRoots));
    }
}
