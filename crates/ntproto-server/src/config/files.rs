//! Settings of what is reached over HTTP: its certificate, and files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ntproto_net::web::Origins;
use ntproto_web::{WebConfig, cors};

use super::{ServerConfig, Setting, number, seconds, set};
use crate::files::SyncPolicy;

/// Where files are kept, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesConfig {
    /// Where.
    pub place: Place,
    /// When they are made durable.
    pub sync: SyncPolicy,
    /// Bytes of one file.
    pub max_file: u64,
    /// Bytes of one account.
    pub quota: u64,
    /// How long an upload that nothing comes for is kept.
    pub upload_lifetime: Duration,
    /// In each such time the body of an upload brings a little, or its request is over: see
    /// [`WebConfig::body_time`]. No setting of a file.
    pub body_time: Duration,
}

/// Where files are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the folder `files` of the data directory.
    DataDir,
    /// In this folder.
    Folder(PathBuf),
    /// In an S3-compatible store: its bucket, and what stands before every name there.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix, without a slash at its end; may be empty.
        prefix: String,
    },
}

impl Default for FilesConfig {
    fn default() -> Self {
        let web = WebConfig::default();
        Self {
            place: Place::DataDir,
            sync: SyncPolicy::default(),
            max_file: web.max_file,
            quota: web.quota,
            upload_lifetime: web.upload_lifetime,
            body_time: web.body_time,
        }
    }
}

impl FilesConfig {
    /// What the web machine is to know of it.
    #[must_use]
    pub fn web(&self) -> WebConfig {
        let Self { max_file, quota, upload_lifetime, body_time, .. } = *self;
        WebConfig { max_file, quota, upload_lifetime, body_time, ..WebConfig::default() }
    }
}

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "app_ids",
        read: |c, v| {
            let ids: Option<Vec<u32>> = v.split(',').map(|id| id.trim().parse().ok()).collect();
            set(&mut c.app_ids, ids)
        },
        expected: "numbers of applications, such as \"10001, 10002\"",
    },
    Setting {
        key: "require_bootstrap",
        read: |c, v| set(&mut c.require_bootstrap, v.parse().ok()),
        expected: "true or false",
    },
    Setting {
        key: "web_origins",
        read: |c, v| {
            let origins: Vec<String> =
                v.split(',').map(str::trim).filter(|o| !o.is_empty()).map(str::to_owned).collect();
            let good = origins.is_empty() || v.parse::<cors::Origins>().is_ok();
            set(&mut c.web_origins, good.then_some(origins))
        },
        expected: "origins of pages, such as \"https://chat.example.org, http://localhost:8000\", or *",
    },
    Setting {
        key: "web_certificate",
        read: |c, v| set(&mut c.web_certificate, (!v.is_empty()).then(|| Some(v.into()))),
        expected: "a file with the certificate chain that browsers are shown, in PEM",
    },
    Setting {
        key: "web_key",
        read: |c, v| set(&mut c.web_key, (!v.is_empty()).then(|| Some(v.into()))),
        expected: "the file with its key, in PEM",
    },
    Setting {
        key: "files_dir",
        read: |c, v| set(&mut c.files.place, place(v)),
        expected: "a folder, or s3://bucket or s3://bucket/prefix",
    },
    Setting {
        key: "files_sync",
        read: |c, v| {
            let policy = match v {
                "always" => Some(SyncPolicy::Always),
                "never" => Some(SyncPolicy::Never),
                _ => None,
            };
            set(&mut c.files.sync, policy)
        },
        expected: "always or never",
    },
    Setting {
        key: "max_file",
        read: |c, v| set(&mut c.files.max_file, number(v, 1, 1 << 50)),
        expected: "a number of bytes from 1 up",
    },
    Setting {
        key: "file_quota",
        read: |c, v| set(&mut c.files.quota, number(v, 0, 1 << 50)),
        expected: "a number of bytes, 0 for no files",
    },
    Setting {
        key: "upload_lifetime",
        read: |c, v| set(&mut c.files.upload_lifetime, seconds(v, 60, 366 * 24 * 3600)),
        expected: "a number of seconds from 60 to 31622400",
    },
];

/// Every origin.
const ANY: &str = "*";

impl ServerConfig {
    /// Which pages may read what HTTP answers.
    #[must_use]
    pub fn readers(&self) -> cors::Origins {
        // It was read so; without any there are none.
        self.web_origins.join(",").parse().unwrap_or_default()
    }

    /// How it speaks HTTP/3.
    #[must_use]
    pub fn http3(&self) -> ntproto_net::WebConfig {
        let origins = match self.web_origins.iter().any(|origin| origin == ANY) {
            true => Origins::any(),
            false => Origins::only(&self.web_origins),
        };
        let hosts = self.certificate_names();
        ntproto_net::WebConfig { origins, hosts, ..ntproto_net::WebConfig::default() }
    }
}

fn place(text: &str) -> Option<Place> {
    if text.is_empty() {
        return None;
    }
    let Some(rest) = text.strip_prefix("s3://") else {
        return Some(Place::Folder(Path::new(text).to_owned()));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    let good = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    let fits = !bucket.is_empty() && rest.chars().all(good) && !prefix.split('/').any(|part| part == "..");
    fits.then(|| Place::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_origins_are_named() {
        let read = |text: &str| {
            let (mut config, setting) =
                (ServerConfig::default(), SETTINGS.iter().find(|s| s.key == "web_origins"));
            (setting?.read)(&mut config, text).map(|()| config)
        };
        let origins = |text: &str| read(text).map(|config| config.http3().origins);
        assert_eq!(
            origins("https://chat.example.org, http://[::1]:8000"),
            Some(Origins::only(["https://chat.example.org", "http://[::1]:8000"]))
        );
        assert_eq!((origins("*"), origins("")), (Some(Origins::any()), Some(Origins::only([""; 0]))));
        for wrong in ["chat.example.org", "https://", "https://a/b", "ftp://chat.example.org"] {
            assert_eq!(origins(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn pages_of_its_own_hosts_are_those_it_has_a_name_from() {
        let config = ServerConfig {
            public_host: Some("chat.example.org:443".into()),
            tls_names: vec!["ntp.example.org".into()],
            ..ServerConfig::default()
        };
        let own = ["chat.example.org", "ntp.example.org", "localhost", "127.0.0.1", "::1"];
        assert_eq!(config.http3().hosts, own);
        // They open sessions; what HTTP answers they read when they are named.
        assert!(!config.readers().allow("https://chat.example.org"));
    }

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        let s3 = |bucket: &str, prefix: &str| {
            Some(Place::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        };
        assert_eq!(place("/srv/files"), Some(Place::Folder("/srv/files".into())));
        assert_eq!(place("s3://chat"), s3("chat", ""));
        assert_eq!(place("s3://chat/a/b/"), s3("chat", "a/b"));
        for wrong in ["", "s3://", "s3:///x", "s3://a b", "s3://a/../b"] {
            assert_eq!(place(wrong), None, "{wrong:?}");
        }
    }
}
