//! Access control: pages of other sites are refused, and if there is a key, so are requests without it.
//!
//! Any site's page can send requests to a server on this machine, and through a host name that it points here (DNS
//! rebinding) it could read the answers. So `Host` must be a name of this server, and `Origin`, which browsers send
//! with a page's requests, must match it in scheme, name and port. Browsers also say by `Sec-Fetch-Site` where a request comes
//! from, even where they send no `Origin`.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use axum::http::{HeaderMap, StatusCode, Uri, header};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use wgpt::Error;

/// The names of this server.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    names: BTreeSet<String>,
    /// Bound to all addresses. Any numeric address is then accepted, since DNS rebinding needs a name.
    addresses: bool,
}

impl Hosts {
    /// The names of a server bound to `address`, plus `allowed`, whose ports do not matter.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that no request can have.
    pub fn new(address: SocketAddr, allowed: &[String]) -> Result<Self, Error> {
        let own = ["localhost".to_string(), "127.0.0.1".into(), "::1".into(), address.ip().to_string()];
        let mut names = BTreeSet::from(own);
        for name in allowed {
            let name = name.trim();
            let address = name.parse::<IpAddr>().map(|address| address.to_string()).ok();
            let known = address.or_else(|| parts(name).map(|(name, _)| name)).filter(|name| !name.is_empty());
            let wrong = || Error::Usage(format!("'{name}' is not the name of a host; give one such as box.lan"));
            names.insert(known.ok_or_else(wrong)?);
        }
        Ok(Self { names, addresses: address.ip().is_unspecified() })
    }

    fn knows(&self, host: &str) -> bool {
        let Some((name, _)) = parts(host) else { return false };
        self.names.contains(&name) || (self.addresses && name.parse::<IpAddr>().is_ok())
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
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let foreign = || {
            forbidden(
                "pages of other sites may not use this server; a proxy in front of it that serves HTTPS has to send \
                 X-Forwarded-Proto"
                    .to_string(),
            )
        };
        // A link to the page on another site is harmless, as it cannot read what it opens.
        let visits = text("sec-fetch-mode") == Some("navigate") && text("sec-fetch-dest") == Some("document");
        if text("sec-fetch-site").is_some_and(|site| !["same-origin", "none"].contains(&site)) && !visits {
            return Err(foreign());
        }
        let Some(origin) = one(header::ORIGIN) else { return Ok(()) };
        // A page of another site cannot send this header without asking the server first.
        let forwarded = text("x-forwarded-proto").and_then(|schemes| schemes.split(',').next()).unwrap_or("");
        let scheme = if forwarded.trim().eq_ignore_ascii_case("https") { "https" } else { "http" };
        let usual = if scheme == "https" { 443 } else { 80 };
        let place = |host: &str| parts(host).map(|(name, port)| (name, port.unwrap_or(usual)));
        let authority = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
        match authority.and_then(place).is_some_and(|origin| Some(origin) == place(host)) {
            true => Ok(()),
            false => Err(foreign()),
        }
    }
}

/// The name, in lower case and without brackets, and the port of a host; [`None`] if it has another form.
fn parts(host: &str) -> Option<(String, Option<u16>)> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(inner) => {
            let (address, rest) = inner.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.to_string(), rest)
        }
        None => {
            let (name, rest) = host.split_at(host.find(':').unwrap_or(host.len()));
            (name.to_ascii_lowercase().trim_end_matches('.').to_string(), rest)
        }
    };
    let digits = |port: &&str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = match rest {
        "" => None,
        rest => Some(rest.strip_prefix(':').filter(digits)?.parse().ok()?),
    };
    Some((name, port))
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
        let hosts =
            Hosts::new("127.0.0.1:8080".parse().unwrap(), &["Box.lan.:99".to_string(), "FE80::1".to_string()]).unwrap();
        let check = |pairs: &[(&'static str, &str)]| hosts.check(&Uri::from_static("/"), &headers(pairs)).is_ok();
        for host in ["localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST", "box.lan:1", "[fe80::1]:8080"] {
            assert!(check(&[("host", host)]), "{host}");
        }
        for host in ["evil.example:8080", "127.0.0.1.evil.example", "192.168.0.7:8080", "localhost@evil", "", "[::2]"] {
            assert!(!check(&[("host", host)]), "{host}");
        }
        assert!(!check(&[]) && !check(&[("host", "localhost"), ("host", "localhost")]));
        assert!(check(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")]));
        for host in [
            "[::1]evil",
            "[::1",
            "localhost:evil",
            "localhost:",
            "localhost:80:80",
            "localhost:99999",
            "[::1]:",
            "[evil]",
        ] {
            assert!(!check(&[("host", host)]), "{host}");
        }
        for (host, origin) in
            [("localhost", "http://localhost:80"), ("localhost:80", "http://localhost"), ("[0::1]", "http://[::1]")]
        {
            assert!(check(&[("host", host), ("origin", origin)]), "{host} {origin}");
        }
        // Another program may serve HTTPS under the same name; where a proxy does so for this one, it says so.
        assert!(!check(&[("host", "localhost"), ("origin", "https://localhost")]));
        assert!(check(&[("host", "localhost"), ("origin", "https://localhost"), ("x-forwarded-proto", "HTTPS, http")]));
        assert!(!check(&[("host", "localhost"), ("origin", "http://localhost"), ("x-forwarded-proto", "https")]));
        for (site, mode, dest, good) in [
            ("same-origin", "cors", "empty", true),
            ("none", "navigate", "document", true),
            ("cross-site", "navigate", "document", true),
            ("cross-site", "navigate", "iframe", false),
            ("cross-site", "no-cors", "script", false),
            ("same-site", "cors", "empty", false),
        ] {
            let sent =
                [("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
            assert_eq!(check(&sent), good, "{site} {mode} {dest}");
        }
        for origin in ["http://evil.example", "http://localhost:9999", "null", "http://localhost:8080.evil.example"] {
            assert!(!check(&[("host", "localhost:8080"), ("origin", origin)]), "{origin}");
        }
        let absolute = Uri::from_static("http://evil.example/v1/models");
        assert!(hosts.check(&absolute, &headers(&[("host", "localhost")])).is_err());
        let everywhere = Hosts::new("0.0.0.0:8080".parse().unwrap(), &[]).unwrap();
        for name in ["", "a:b", "[x]"] {
            assert!(Hosts::new("0.0.0.0:8080".parse().unwrap(), &[name.to_string()]).is_err(), "{name}");
        }
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
