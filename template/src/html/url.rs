//! URLs in attributes and style sheets.

use super::escaper::FAILSAFE;

/// Whether the scheme, if there is one, cannot run anything.
fn is_safe(url: &[u8]) -> bool {
    let Some(colon) = url.iter().position(|b| *b == b':') else { return true };
    let scheme = &url[..colon];
    scheme.contains(&b'/')
        || [&b"http"[..], b"https", b"mailto"].iter().any(|safe| scheme.eq_ignore_ascii_case(safe))
}

/// The URL, or a mark that it was not safe.
pub(super) fn filtered(url: &[u8]) -> Vec<u8> {
    if is_safe(url) { url.to_vec() } else { format!("#{FAILSAFE}").into_bytes() }
}

/// Percent signs for what may not stand in a URL. Normalised, what has a meaning
/// there stays; else the text becomes a piece of a query.
pub(super) fn escaped(text: &[u8], normalize: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for (i, byte) in text.iter().enumerate() {
        let stays = match byte {
            b'!' | b'#' | b'$' | b'&' | b'*' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'?' | b'@'
            | b'[' | b']' => normalize,
            b'-' | b'.' | b'_' | b'~' => true,
            b'%' => {
                let digits = text.get(i + 1..i + 3);
                normalize && digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            }
            byte => byte.is_ascii_alphanumeric(),
        };
        if stays {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02x}").as_bytes());
        }
    }
    out
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')
}

/// A list of images with sizes: each must be safe.
pub(super) fn srcset(text: &[u8]) -> Vec<u8> {
    let images: Vec<Vec<u8>> = text.split(|b| *b == b',').map(image).collect();
    images.join(&b',')
}

fn image(text: &[u8]) -> Vec<u8> {
    let start = text.iter().take_while(|b| is_space(**b)).count();
    let len = text[start..].iter().take_while(|b| !is_space(**b)).count();
    let (url, sizes) = text[start..].split_at(len);
    let plain = sizes.iter().all(|b| is_space(*b) || b.is_ascii_alphanumeric());
    if is_safe(url) && plain {
        return [&text[..start], &escaped(url, true), sizes].concat();
    }
    format!("#{FAILSAFE}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_that_run_things_are_refused() {
        for url in ["http://x", "HTTPS:x", "mailto:a", "/a:b", "a", ""] {
            assert_eq!(filtered(url.as_bytes()), url.as_bytes());
        }
        for url in ["javascript:alert(1)", "data:x", " http:x", ":"] {
            assert_eq!(filtered(url.as_bytes()), b"#ZgotmplZ", "{url}");
        }
    }

    #[test]
    fn urls_are_escaped_for_their_part() {
        assert_eq!(escaped(b"a b/?c=%20%zz'\"", true), b"a%20b/?c=%20%25zz%27%22");
        assert_eq!(escaped(b"a b/?c=%20", false), b"a%20b%2f%3fc%3d%2520");
        assert_eq!(srcset(b" /a b 2x, javascript:x 1x"), b" /a b 2x,#ZgotmplZ");
    }
}
