//! The names in a certificate: a reader of the few parts of X.509 (RFC 5280)
//! that lead to the subject alternative names.
//!
//! ```text
//! Certificate ─ tbs ─ [3] extensions ─ 2.5.29.17 ─ names: [1] mail [2] DNS [6] URI [7] IP
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const EXTENSIONS: u8 = 0xa3;
const MAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;
/// 2.5.29.17
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// All names of a certificate in DER as text; `None` where it is malformed.
pub(crate) fn names(certificate: &[u8]) -> Option<Vec<String>> {
    let (tag, certificate, _) = element(certificate)?;
    let (tbs_tag, mut tbs, _) = element(certificate)?;
    if tag != SEQUENCE || tbs_tag != SEQUENCE {
        return None;
    }
    while !tbs.is_empty() {
        let (tag, value, rest) = element(tbs)?;
        if tag == EXTENSIONS {
            return extension_names(value);
        }
        tbs = rest;
    }
    Some(Vec::new())
}

/// The subject's common name, where it has one as text.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    /// 2.5.4.3
    const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
    const VERSION: u8 = 0xa0;
    /// Serial number, algorithm, issuer and dates stand before the subject.
    const BEFORE_SUBJECT: usize = 4;
    let (_, certificate, _) = element(certificate)?;
    let (_, mut tbs, _) = element(certificate)?;
    if let (VERSION, _, rest) = element(tbs)? {
        tbs = rest;
    }
    for _ in 0..BEFORE_SUBJECT {
        tbs = element(tbs)?.2;
    }
    let (_, mut subject, _) = element(tbs)?;
    while !subject.is_empty() {
        let (_, mut set, rest) = element(subject)?;
        subject = rest;
        while !set.is_empty() {
            let (_, pair, rest) = element(set)?;
            set = rest;
            let (_, id, value) = element(pair)?;
            if id == COMMON_NAME {
                return String::from_utf8(element(value)?.1.to_vec()).ok();
            }
        }
    }
    None
}

/// Tag, value, and what follows. Tags of several bytes do not occur here.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let n_bytes = usize::from(first & 0x7f);
        if n_bytes == 0 || n_bytes > 4 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(n_bytes)?;
        (digits.iter().fold(0usize, |len, byte| len << 8 | usize::from(*byte)), rest)
    };
    let (value, rest) = rest.split_at_checked(len)?;
    Some((tag, value, rest))
}

fn extension_names(wrapped: &[u8]) -> Option<Vec<String>> {
    let (_, mut extensions, _) = element(wrapped)?;
    while !extensions.is_empty() {
        let (_, extension, rest) = element(extensions)?;
        extensions = rest;
        let (tag, id, mut value) = element(extension)?;
        if tag != OBJECT_ID || id != SUBJECT_ALT_NAME {
            continue;
        }
        let (mut tag, mut octets, rest) = element(value)?;
        if tag == BOOLEAN {
            value = rest;
            (tag, octets, _) = element(value)?;
        }
        if tag != OCTETS {
            return None;
        }
        return general_names(element(octets)?.1);
    }
    Some(Vec::new())
}

fn general_names(mut names: &[u8]) -> Option<Vec<String>> {
    let mut out = Vec::new();
    while !names.is_empty() {
        let (tag, value, rest) = element(names)?;
        names = rest;
        match tag {
            MAIL | DNS | URI => out.push(String::from_utf8(value.to_vec()).ok()?),
            IP => {
                if let Ok(octets) = <[u8; 4]>::try_from(value) {
                    out.push(Ipv4Addr::from(octets).to_string());
                } else if let Ok(octets) = <[u8; 16]>::try_from(value) {
                    out.push(Ipv6Addr::from(octets).to_string());
                }
            }
            _ => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_names_are_found() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params =
            rcgen::CertificateParams::new(vec!["a.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name("me@a.example".try_into().unwrap()));
        params.subject_alt_names.push(rcgen::SanType::URI("spiffe://a/b".try_into().unwrap()));
        let cert = params.self_signed(&key).unwrap();
        let mut found = names(cert.der()).unwrap();
        found.sort();
        assert_eq!(found, ["10.0.0.1", "a.example", "me@a.example", "spiffe://a/b"]);
    }

    #[test]
    fn the_common_name_is_found() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "somebody");
        params.distinguished_name.push(rcgen::DnType::CommonName, "a.example");
        let cert = params.self_signed(&key).unwrap();
        assert_eq!(common_name(cert.der()).as_deref(), Some("a.example"));
        for len in 0..cert.der().len() {
            // No length makes it panic.
            let _cut = common_name(&cert.der()[..len]);
        }
    }

    #[test]
    fn malformed_certificates_are_refused_at_every_length() {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap();
        for len in 0..cert.der().len() {
            assert_eq!(names(&cert.der()[..len]), None, "{len}");
        }
    }
}
