//! What a location names, and how one connects to it.
//!
//! `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` (each with its cargo feature), `file:///directory`, and
//! `memory://name`, which lasts as long as the process. Credentials, endpoint and region come from the environment, by the names
//! that `object_store` reads (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, …); an option of the same name overrides it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;

use super::error::{RemoteError, whole_text};
use floodmark_base::disk::{Disk, LocalDisk, Step};
use floodmark_base::place;

/// A place in an object store.
#[derive(Clone)]
pub struct RemoteLocation {
    scheme: Scheme,
    /// The bucket, the container, the name of the store in memory; of a directory nothing.
    bucket: String,
    /// Without slashes at its ends; of a directory its absolute path.
    prefix: String,
    options: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    S3,
    Gs,
    Az,
    File,
    Memory,
}

/// What to do about a directory that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    Make,
    Refuse,
}

/// A connection. Whatever fails is repeated by the bucket, not by the client.
pub(super) struct Stores {
    pub store: Arc<dyn ObjectStore>,
    /// For uploads in parts that can be ended by whoever knows their id, where the store has such.
    pub parts: Option<Arc<dyn MultipartStore>>,
    /// Below which everything is, in `store`.
    pub prefix: String,
}

impl RemoteLocation {
    /// Reads a location; nothing where the text is a local path.
    pub fn parse(text: &str) -> Result<Option<Self>, RemoteError> {
        let invalid = |reason: &str| RemoteError::Location { location: text.into(), reason: reason.into() };
        let Some((scheme, rest)) = text.split_once("://") else {
            return match place::scheme(text) {
                Some((scheme, rest)) => Err(invalid(&near_url(text, &scheme, rest))),
                None => Ok(None),
            };
        };
        let scheme = match scheme {
            "s3" => Scheme::S3,
            "gs" => Scheme::Gs,
            "az" => Scheme::Az,
            "file" => Scheme::File,
            "memory" => Scheme::Memory,
            _ => {
                let spelling = right_spelling(&scheme.to_ascii_lowercase(), rest);
                let spelling = spelling.map_or_else(String::new, |spelling| format!("; is {spelling} meant?"));
                let expected = "expected s3://, gs://, az://, file:// or memory://, or a local path";
                return Err(invalid(&format!("{expected}{spelling}")));
            }
        };
        if scheme == Scheme::File {
            if !rest.starts_with('/') {
                return Err(invalid("expected file:// with an absolute path: file:///directory"));
            }
            return Ok(Some(Self { scheme, bucket: String::new(), prefix: rest.into(), options: Vec::new() }));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(invalid("expected the name of a bucket after ://"));
        }
        if bucket.contains(['@', ':']) {
            return Err(invalid(
                "expected the name of a bucket only: credentials and endpoint are read from the environment",
            ));
        }
        let is_odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(['?', '#', '%']);
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() && prefix.split('/').any(is_odd) {
            return Err(invalid("expected a prefix without empty parts, `.`, `..`, `?`, `#` and `%`"));
        }
        Ok(Some(Self { scheme, bucket: bucket.into(), prefix: prefix.into(), options: Vec::new() }))
    }

    /// Sets what would be read from the environment, by the same name (`aws_endpoint`, in any case of letters).
    #[must_use]
    pub fn with_option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((key.into(), value.into()));
        self
    }

    /// The same for many.
    pub fn with_options(self, options: &[(String, String)]) -> Self {
        options.iter().fold(self, |location, (key, value)| location.with_option(key, value))
    }

    /// Below which everything is; of a directory nothing, since the store begins there.
    pub fn prefix(&self) -> &str {
        if self.scheme == Scheme::File { "" } else { &self.prefix }
    }

    /// The directory, if it names one.
    pub fn directory(&self) -> Option<&std::path::Path> {
        (self.scheme == Scheme::File).then(|| std::path::Path::new(&self.prefix))
    }

    pub(super) fn connect(&self, absent: Absent) -> Result<Stores, RemoteError> {
        let prefix = self.prefix.clone();
        match self.scheme {
            Scheme::Memory => {
                let store = in_memory(&self.bucket);
                Ok(Stores { store: store.clone(), parts: Some(store), prefix })
            }
            Scheme::File => {
                let store = self.in_directory(absent)?;
                Ok(Stores { store, parts: None, prefix: String::new() })
            }
            Scheme::S3 | Scheme::Gs | Scheme::Az => {
                let Client { store, parts } = self.in_cloud()?;
                Ok(Stores { store, parts: Some(parts), prefix })
            }
        }
    }

    fn in_directory(&self, absent: Absent) -> Result<Arc<dyn ObjectStore>, RemoteError> {
        let directory = std::path::Path::new(&self.prefix);
        if absent == Absent::Refuse && LocalDisk.kind(directory).is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            return Err(RemoteError::NoSuchBucket { place: self.to_string(), last: "no such directory".to_string() });
        }
        LocalDisk.create_dir_all(Step::DirectoryCreate, directory).map_err(RemoteError::io("create", directory))?;
        let store = LocalFileSystem::new_with_prefix(&self.prefix).map_err(|error| self.refused(&error))?;
        Ok(Arc::new(store.with_fsync(true)))
    }

    /// A client of one of the clouds.
    fn in_cloud(&self) -> Result<Client, RemoteError> {
        match self.scheme {
            #[cfg(feature = "aws")]
            Scheme::S3 => self.s3(),
            #[cfg(feature = "gcp")]
            Scheme::Gs => self.gs(),
            #[cfg(feature = "azure")]
            Scheme::Az => self.az(),
            _ => {
                let feature = match self.scheme {
                    Scheme::S3 => "aws",
                    Scheme::Gs => "gcp",
                    _ => "azure",
                };
                Err(self.invalid(format!("this program was built without floodmark's cargo feature `{feature}`")))
            }
        }
    }

    #[cfg(feature = "aws")]
    fn s3(&self) -> Result<Client, RemoteError> {
        use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&self.bucket).with_retry(cloud::no_retries());
        for (key, value) in &self.options {
            builder = builder.with_config(self.known(key)?, value);
        }
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        if endpoint.as_deref().is_some_and(cloud::is_on_this_machine) {
            builder = builder.with_allow_http(true);
        }
        Ok(Client::of(builder.build().map_err(|error| self.refused(&error))?))
    }

    #[cfg(feature = "gcp")]
    fn gs(&self) -> Result<Client, RemoteError> {
        use object_store::gcp::GoogleCloudStorageBuilder;
        let mut builder =
            GoogleCloudStorageBuilder::from_env().with_bucket_name(&self.bucket).with_retry(cloud::no_retries());
        for (key, value) in &self.options {
            builder = builder.with_config(self.known(key)?, value);
        }
        Ok(Client::of(builder.build().map_err(|error| self.refused(&error))?))
    }

    #[cfg(feature = "azure")]
    fn az(&self) -> Result<Client, RemoteError> {
        use object_store::azure::MicrosoftAzureBuilder;
        let mut builder =
            MicrosoftAzureBuilder::from_env().with_container_name(&self.bucket).with_retry(cloud::no_retries());
        for (key, value) in &self.options {
            builder = builder.with_config(self.known(key)?, value);
        }
        Ok(Client::of(builder.build().map_err(|error| self.refused(&error))?))
    }

    /// The option of this name. One that is not known is an error: a misspelt endpoint would send the state elsewhere.
    #[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
    fn known<K: std::str::FromStr>(&self, key: &str) -> Result<K, RemoteError> {
        key.to_ascii_lowercase().parse().map_err(|_| self.invalid(format!("the option {key} is not known")))
    }

    fn refused(&self, error: &object_store::Error) -> RemoteError {
        self.invalid(whole_text(error))
    }

    fn invalid(&self, reason: String) -> RemoteError {
        RemoteError::Location { location: self.to_string(), reason }
    }
}

/// What is wrong with a location that is almost a URL, and how it is written. Without this it would be a local directory.
fn near_url(text: &str, scheme: &str, rest: &str) -> String {
    let spelling = right_spelling(scheme, rest).map_or_else(String::new, |spelling| format!("{spelling}, or "));
    format!("expected {spelling}./{text} for a local directory of this name")
}

/// How a location with this scheme is written, by whichever name others know the scheme.
fn right_spelling(scheme: &str, rest: &str) -> Option<String> {
    let below = rest.trim_start_matches('/');
    let scheme = match scheme {
        "s3" | "s3a" | "s3n" => "s3",
        "gs" | "gcs" => "gs",
        "az" | "azure" => "az",
        "memory" => "memory",
        "file" => return Some(format!("file:///{below}")),
        _ => return None,
    };
    Some(format!("{scheme}://{below}"))
}

/// One client in its two roles.
struct Client {
    store: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
impl Client {
    fn of(client: impl ObjectStore + MultipartStore) -> Self {
        let client = Arc::new(client);
        Self { store: client.clone(), parts: client }
    }
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
mod cloud {
    use object_store::RetryConfig;

    pub fn no_retries() -> RetryConfig {
        RetryConfig { max_retries: 0, ..RetryConfig::default() }
    }

    /// Whether an endpoint without encryption is one of this machine's, as in tests.
    #[cfg(feature = "aws")]
    pub fn is_on_this_machine(endpoint: &str) -> bool {
        let Some(rest) = endpoint.strip_prefix("http://") else { return false };
        let authority = rest.split('/').next().unwrap_or(rest);
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        host == "localhost" || host == "[::1]" || host.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback())
    }
}

/// The store of this name; all who ask in this process get the same.
fn in_memory(name: &str) -> Arc<InMemory> {
    static STORES: Mutex<BTreeMap<String, Arc<InMemory>>> = Mutex::new(BTreeMap::new());
    STORES.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_string()).or_default().clone()
}

/// As it was written. Options are not shown: some of them are secret.
impl fmt::Display for RemoteLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::S3 => "s3",
            Scheme::Gs => "gs",
            Scheme::Az => "az",
            Scheme::File => return write!(f, "file://{}", self.prefix),
            Scheme::Memory => "memory",
        };
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{scheme}://{}{slash}{}", self.bucket, self.prefix)
    }
}

impl fmt::Debug for RemoteLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<&str> = self.options.iter().map(|(key, _)| key.as_str()).collect();
        write!(f, "RemoteLocation({self}, options {options:?})")
    }
}
