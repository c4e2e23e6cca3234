//! Access control: pages of other sites are refused, and if there is a key, so are requests without it.
//!
//! Any site's page can send requests to a server on this machine, and through a host name that it points here (DNS
//! rebinding) it could read the answers. So `Host` must be a name of this server, and `Origin`, which browsers send
//! with a page's requests, must match it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use axum::http::{HeaderMap, StatusCode, Uri, header};
use subtle::ConstantTimeEq;

use super::problem::Problem;

/// The names of this server.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    names: BTreeSet<String>,
    /// Bound to all addresses. Any numeric address is then accepted, since DNS rebinding needs a name.
    addresses: bool,
}

impl Hosts {
    /// The names of a server bound to `address`, plus `allowed`.
    pub fn new(address: SocketAddr, allowed: &[String]) -> Self {
        let own = ["localhost".to_string(), "127.0.0.1".into(), "::1".into(), address.ip().to_string()];
        let names = own.into_iter().chain(allowed.iter().map(|name| name.to_ascii_lowercase())).collect();
        Self { names, addresses: address.ip().is_unspecified() }
    }

    fn knows(&self, host: &str) -> bool {
        let name = name_of(host).to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        self.names.contains(name) || (self.addresses && name.parse::<IpAddr>().is_ok())
    }

    /// Refuses requests that a page of another site may have sent.
    ///
    /// # Errors
    /// 403.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let forbidden = |reason: String| Problem::new(StatusCode::FORBIDDEN, "foreign", reason);
        let one = |name| {
            let mut values = headers.get_all(name).iter();
            let first = values.next().map(|value| value.to_str().unwrap_or("?"));
            if values.next().is_some() { Some("?") } else { first }
        };
        let host = one(header::HOST).or(uri.host()).unwrap_or("");
        if !self.knows(host) || uri.authority().is_some_and(|authority| !self.knows(authority.as_str())) {
            let shown: String = host.chars().take(100).collect();
            return Err(forbidden(format!(
                "'{shown}' is not a name of this server; names are added when it is started"
            )));
        }
        let Some(origin) = one(header::ORIGIN) else { return Ok(()) };
        let authority = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
        match authority.is_some_and(|authority| plain(authority) == plain(host)) {
            true => Ok(()),
            false => Err(forbidden("pages of other sites may not use this server".to_string())),
        }
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// A host without the default ports, which browsers omit.
fn plain(host: &str) -> String {
    let lower = host.to_ascii_lowercase();
    let short = [":80", ":443"].iter().find_map(|port| lower.strip_suffix(port));
    short.map(str::to_string).unwrap_or(lower)
}

/// Refuses a request without the key. The comparison takes the same time for all keys of the same length.
///
/// # Errors
/// 401.
pub fn authorise(key: Option<&str>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(key) = key else { return Ok(()) };
    let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let given = given.strip_prefix(b"Bearer ").unwrap_or(b"");
    if bool::from(given.ct_eq(key.as_bytes())) {
        return Ok(());
    }
    let reason = "send the key that the server was started with, as 'Authorization: Bearer KEY'";
    Err(Problem::new(StatusCode::UNAUTHORIZED, "invalid_api_key", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn foreign_names_and_pages_are_refused() {
        let hosts = Hosts::new("127.0.0.1:8080".parse().unwrap(), &["Box.lan".to_string()]);
        let check = |pairs: &[(&'static str, &str)]| hosts.check(&Uri::from_static("/"), &headers(pairs)).is_ok();
        for host in ["localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST", "box.lan:1"] {
            assert!(check(&[("host", host)]), "{host}");
        }
        for host in ["evil.example:8080", "127.0.0.1.evil.example", "192.168.0.7:8080", "localhost@evil", "", "[::2]"] {
            assert!(!check(&[("host", host)]), "{host}");
        }
        assert!(!check(&[]) && !check(&[("host", "localhost"), ("host", "localhost")]));
        assert!(check(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")]));
        assert!(check(&[("host", "localhost"), ("origin", "https://localhost:443")]));
        for origin in ["http://evil.example", "http://localhost:9999", "null", "http://localhost:8080.evil.example"] {
            assert!(!check(&[("host", "localhost:8080"), ("origin", origin)]), "{origin}");
        }
        let absolute = Uri::from_static("http://evil.example/v1/models");
        assert!(hosts.check(&absolute, &headers(&[("host", "localhost")])).is_err());
        let everywhere = Hosts::new("0.0.0.0:8080".parse().unwrap(), &[]);
        let here = |host| everywhere.check(&Uri::from_static("/"), &headers(&[("host", host)])).is_ok();
        assert!(here("192.168.0.7:8080") && here("[fe80::1]") && !here("evil.example"));
    }

    #[test]
    fn keys_are_compared_whole() {
        let with = |value: &str| authorise(Some("secret"), &headers(&[("authorization", value)])).is_ok();
        assert!(with("Bearer secret"));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "secret", "Basic secret", "Bearer SECRET"] {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(authorise(Some("secret"), &HeaderMap::new()).is_err());
        assert!(authorise(None, &HeaderMap::new()).is_ok());
    }
}
