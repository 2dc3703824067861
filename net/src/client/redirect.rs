//! One request of a chain of redirects.
//! Source: Go `net/http/client.go`; prometheus/common `config/http_config.go`.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::error::{Fault, HttpError};
use crate::go_url::GoUrl;

/// Requests of a chain, the first included.
const HOPS_MAX: usize = 10;

/// Headers that stay behind when a redirect leaves the host.
const SENSITIVE: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

/// One request of a chain.
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: GoUrl,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether the chain has left its first host; it stays so.
    pub(super) left_host: bool,
    first_host: String,
    /// Whether the first request says itself where it comes from.
    has_own_referer: bool,
    n_hops: usize,
}

impl Hop {
    pub(super) fn new(method: Method, url: GoUrl, headers: HeaderMap, body: Bytes) -> Hop {
        let first_host = url.hostname().to_ascii_lowercase();
        let has_own_referer = headers.contains_key(header::REFERER);
        Hop { method, url, headers, body, left_host: false, first_host, has_own_referer, n_hops: 1 }
    }

    pub(super) fn error(&self, fault: Fault) -> HttpError {
        HttpError { method: self.method.clone(), url: self.url.to_string().into(), fault }
    }

    /// The request that an answer leads to; `None` where the answer is final.
    pub(super) fn next<B>(&self, response: &Response<B>) -> Result<Option<Hop>, HttpError> {
        let keeps_method = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
                matches!(self.method, Method::GET | Method::HEAD)
            }
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return Ok(None),
        };
        let location = response.headers().get(header::LOCATION).map_or(&b""[..], |value| value.as_bytes());
        if location.is_empty() {
            return Ok(None);
        }
        let location = String::from_utf8_lossy(location).into_owned();
        let reference = GoUrl::parse(&location)
            .map_err(|why| self.error(Fault::Location { location: location.clone(), why }))?;
        if self.n_hops >= HOPS_MAX {
            // Told of as the server wrote it.
            return Err(HttpError { url: location.into(), ..self.error(Fault::Redirects(HOPS_MAX)) });
        }
        let url = self.url.join(&reference).without_empty_port();
        let mut headers = self.headers.clone();
        let mut body = self.body.clone();
        let mut method = self.method.clone();
        if !keeps_method {
            method = Method::GET;
            body = Bytes::new();
            for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
                headers.remove(name);
            }
        }
        if !self.has_own_referer {
            headers.remove(header::REFERER);
            // Who is reached in the clear does not learn what was not.
            let is_told = self.url.scheme() != "https" || url.scheme() != "http";
            if let (true, Ok(referer)) = (is_told, HeaderValue::from_str(&self.referer())) {
                headers.insert(header::REFERER, referer);
            }
        }
        let host = url.hostname().to_ascii_lowercase();
        let left_host = self.left_host || !is_domain_or_subdomain(&host, &self.first_host);
        if left_host {
            SENSITIVE.iter().for_each(|name| drop(headers.remove(name)));
            headers.remove("cookie2");
            headers.remove(header::HOST);
        }
        Ok(Some(Hop {
            method,
            url,
            headers,
            body,
            left_host,
            first_host: self.first_host.clone(),
            has_own_referer: self.has_own_referer,
            n_hops: self.n_hops + 1,
        }))
    }
}

impl Hop {
    /// Its URL without the user.
    fn referer(&self) -> String {
        let mut url = self.url.to_string();
        if self.url.userinfo().is_some()
            && let Some(start) = url.find("://").map(|at| at + 3)
        {
            let authority = url[start..].find(['/', '?', '#']).map_or(url.len(), |len| start + len);
            if let Some(at) = url[start..authority].rfind('@') {
                url.replace_range(start..=start + at, "");
            }
        }
        url
    }
}

fn is_domain_or_subdomain(host: &str, parent: &str) -> bool {
    if parent.is_empty() {
        return false;
    }
    if host == parent {
        return true;
    }
    if host.contains([':', '%']) {
        return false;
    }
    host.strip_suffix(parent).is_some_and(|front| front.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(status: u16, method: Method, from: &str, to: &str) -> Hop {
        let headers = [(header::AUTHORIZATION, "x".parse().unwrap())].into_iter().collect();
        let hop = Hop::new(method, GoUrl::parse(from).unwrap(), headers, Bytes::from_static(b"body"));
        let response = Response::builder().status(status).header("location", to).body(()).unwrap();
        hop.next(&response).unwrap().unwrap()
    }

    #[test]
    fn credentials_stay_behind_when_the_host_changes() {
        assert!(redirected(302, Method::GET, "http://a/", "/b").headers.contains_key("authorization"));
        assert!(
            redirected(302, Method::GET, "http://a/", "http://x.a/").headers.contains_key("authorization")
        );
        for to in ["http://b/", "http://ba/", "//b/c", "http://evil-a/"] {
            let hop = redirected(302, Method::GET, "http://a/", to);
            assert!(hop.left_host && !hop.headers.contains_key("authorization"), "{to}");
        }
    }

    #[test]
    fn a_post_becomes_a_get_unless_the_status_says_otherwise() {
        let hop = redirected(303, Method::POST, "http://a/x", "y");
        assert_eq!(
            (hop.method, hop.body.len(), hop.url.to_string()),
            (Method::GET, 0, "http://a/y".to_owned())
        );
        let hop = redirected(307, Method::POST, "http://a/x", "y");
        assert_eq!((hop.method, hop.body.len()), (Method::POST, 4));
    }

    #[test]
    fn a_redirected_request_says_where_it_comes_from() {
        let referer = |hop: &Hop| hop.headers.get("referer").map(|value| value.to_str().unwrap().to_owned());
        let hop = redirected(302, Method::GET, "http://u:p@a/x?y=1", "/z");
        assert_eq!(referer(&hop).as_deref(), Some("http://a/x?y=1"));
        let response = Response::builder().status(302).header("location", "/last").body(()).unwrap();
        assert_eq!(referer(&hop.next(&response).unwrap().unwrap()).as_deref(), Some("http://a/z"));
        assert_eq!(referer(&redirected(302, Method::GET, "https://a/", "http://a/")), None);
        let mut own =
            Hop::new(Method::GET, GoUrl::parse("http://a/").unwrap(), HeaderMap::new(), Bytes::new());
        own.headers.insert("referer", "http://own/".parse().unwrap());
        own.has_own_referer = true;
        assert_eq!(referer(&own.next(&response).unwrap().unwrap()).as_deref(), Some("http://own/"));
    }

    #[test]
    fn leaving_the_host_is_remembered() {
        let away = redirected(302, Method::GET, "http://a/", "http://b/");
        let response = Response::builder().status(302).header("location", "http://a/").body(()).unwrap();
        assert!(away.next(&response).unwrap().unwrap().left_host);
    }
}
