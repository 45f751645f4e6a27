//! One question over HTTPS, within bounds.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
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

impl EndpointError {
    /// Whether the CA certificates are what is wrong.
    pub fn is_about_roots(&self) -> bool {
        matches!(self, Self::NoRoots | Self::Root(_))
    }
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
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("the answer is too long, or broke off")]
    Body,
    #[error("the answer cannot be read: {0}")]
    Answer(String),
}

impl FetchError {
    /// Whether it may be the question that is wrong rather than who was asked: what the client sent is
    /// in it, and nobody is to shut others out by what it sends. That the broker is not known (401), or
    /// that there is nothing at this address (404), is no matter of the question.
    pub(super) fn is_about_the_question(&self) -> bool {
        matches!(
            self,
            Self::Status(
                StatusCode::BAD_REQUEST
                    | StatusCode::FORBIDDEN
                    | StatusCode::NOT_ACCEPTABLE
                    | StatusCode::PAYLOAD_TOO_LARGE
                    | StatusCode::UNPROCESSABLE_ENTITY
            )
        )
    }
}

/// A connection, and the task that drives it: neither outlives the other.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Connection {
    async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
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
        let request = self.request(Method::GET, Bytes::new(), None)?;
        self.in_time(request, most_bytes).await
    }

    /// Sends a form.
    pub(super) async fn post(
        &self,
        form: Bytes,
        authorization: Option<&HeaderValue>,
        most_bytes: usize,
    ) -> Result<Bytes, FetchError> {
        let request = self.request(Method::POST, form, authorization)?;
        self.in_time(request, most_bytes).await
    }

    async fn in_time(
        &self,
        request: Request<Full<Bytes>>,
        most_bytes: usize,
    ) -> Result<Bytes, FetchError> {
        let asked = async {
            let mut connection = self.connect().await?;
            let response = connection.ask(request).await?;
            body(response, most_bytes).await
        };
        timeout(self.timeout, asked)
            .await
            .unwrap_or(Err(FetchError::Timeout))
    }

    async fn connect(&self) -> Result<Connection, FetchError> {
        let socket = self.socket().await?;
        socket.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(self.name.clone(), socket).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What goes wrong is told to who waits for the answer; an answer that is complete counts,
            // however the connection ends behind it.
            drop(connection.await);
        });
        Ok(Connection {
            sender,
            _driver: driver,
        })
    }

    async fn socket(&self) -> Result<TcpStream, io::Error> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            // One that answers nothing leaves time for the next.
            match timeout(self.timeout / 3, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    fn request(
        &self,
        method: Method,
        form: Bytes,
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
        if !form.is_empty() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        request
            .body(Full::new(form))
            .map_err(|error| FetchError::Answer(error.to_string()))
    }
}

async fn body(response: Response<Incoming>, most_bytes: usize) -> Result<Bytes, FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), most_bytes);
    let body = body.collect().await.map_err(|_| FetchError::Body)?;
    Ok(body.to_bytes())
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
