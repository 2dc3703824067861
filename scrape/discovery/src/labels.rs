//! Names and addresses as labels have them.

use std::borrow::Cow;

/// A name whose characters outside `[a-zA-Z0-9_]` are underscores.
pub(crate) fn sanitize(name: &str) -> Cow<'_, str> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(is_fine) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().map(|c| if is_fine(c) { c } else { '_' }).collect())
}

/// Host and port; an IPv6 address in brackets.
pub(crate) fn join_host_port(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains([':', '%']) { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Texts joined and surrounded by a separator, so that a regular expression can
/// look for `,tag,` wherever the tag stands; two separators where there is none.
pub(crate) fn surrounded<S: AsRef<str>>(texts: &[S], separator: &str) -> String {
    let mut out = separator.to_owned();
    for (index, text) in texts.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { separator });
        out.push_str(text.as_ref());
    }
    out.push_str(separator);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_become_underscores() {
        assert_eq!(sanitize("app.kubernetes.io/name"), "app_kubernetes_io_name");
        assert_eq!(sanitize("é-1"), "__1");
    }

    #[test]
    fn addresses_of_version_six_are_bracketed() {
        assert_eq!(join_host_port("2001:db8::1", 80), "[2001:db8::1]:80");
        assert_eq!(join_host_port("a.example", "http"), "a.example:http");
    }
}
