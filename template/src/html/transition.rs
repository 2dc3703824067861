//! What a piece of a page's text makes of the place it starts in.
//!
//! Each function reads as far as its own rules reach and returns the place there
//! and how far it came. Source: Go `html/template/transition.go`.

use super::attribute::{self, Content};
use super::context::{Attr, Context, Delim, Element, State, UrlPart};
use super::javascript::{self, Slash};
use super::{css, entity};
use crate::text;

type Step = (Context, usize);

/// Reads on from a place.
pub(super) fn step(c: Context, s: &[u8]) -> Step {
    match c.state {
        State::Text => html_text(c, s),
        State::Tag => tag(c, s),
        State::AttrName => attr_name(c, s),
        State::AfterName => after_name(c, s),
        State::BeforeValue => before_value(c, s),
        State::HtmlComment => html_comment(c, s),
        State::RcData => special_tag_end(c, s),
        State::Attr | State::Error | State::Dead => (c, s.len()),
        State::Url | State::Srcset => url(c, s),
        State::MetaContent => meta_content(c, s),
        State::MetaContentUrl => meta_content_url(c, s),
        State::Js => js(c, s),
        State::JsDouble | State::JsSingle | State::JsRegexp => js_delimited(c, s),
        State::JsTemplate => js_template(c, s),
        State::JsBlockComment | State::CssBlockComment => block_comment(c, s),
        State::JsLineComment
        | State::JsHtmlOpenComment
        | State::JsHtmlCloseComment
        | State::CssLineComment => line_comment(c, s),
        State::Css => style(c, s),
        State::CssDouble | State::CssSingle | State::CssDoubleUrl | State::CssSingleUrl | State::CssUrl => {
            style_string(c, s)
        }
    }
}

/// Reads on from a place as far as attributes and special elements allow.
pub(super) fn after_text(c: Context, s: &[u8]) -> Step {
    if c.delim == Delim::None {
        let (ended, reach) = special_tag_end(c.clone(), s);
        if reach == 0 {
            return (ended, 0);
        }
        return step(c, &s[..reach]);
    }
    let end = delim_end(c.delim, s).unwrap_or(s.len());
    if c.delim == Delim::SpaceOrTagEnd
        && let Some(bad) = s[..end].iter().find(|b| matches!(b, b'"' | b'\'' | b'<' | b'=' | b'`'))
    {
        let what = format!(
            "{} in unquoted attr: {}",
            text::quote(std::slice::from_ref(bad)),
            text::quote(&s[..end])
        );
        return (Context::bad(what), s.len());
    }
    if end == s.len() {
        let plain = entity::resolved(s);
        let mut c = c;
        let mut rest = plain.as_slice();
        while !rest.is_empty() {
            let (next, reach) = step(c, rest);
            c = next;
            rest = &rest[reach..];
        }
        return (c, s.len());
    }
    let is_type = c.state == State::Attr && c.element == Element::Script && c.attr == Attr::ScriptType;
    let element = if is_type && !javascript::is_script_type(&s[..end]) { Element::None } else { c.element };
    let end = if c.delim == Delim::SpaceOrTagEnd { end } else { end + 1 };
    (Context::of(State::Tag, element), end)
}

/// Where an attribute's value ends.
fn delim_end(delim: Delim, s: &[u8]) -> Option<usize> {
    s.iter().position(|b| match delim {
        Delim::None => false,
        Delim::Double => *b == b'"',
        Delim::Single => *b == b'\'',
        Delim::SpaceOrTagEnd => matches!(b, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' | b'>'),
    })
}

fn position(s: &[u8], from: usize, set: &[u8]) -> Option<usize> {
    s[from..].iter().position(|b| set.contains(b)).map(|at| from + at)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r')
}

fn after_space(s: &[u8], from: usize) -> usize {
    from + s[from..].iter().take_while(|b| is_space(**b)).count()
}

fn html_text(c: Context, s: &[u8]) -> Step {
    let mut from = 0;
    while let Some(at) = position(s, from, b"<") {
        if at + 1 == s.len() {
            break;
        }
        if s[at..].starts_with(b"<!--") {
            return (Context::of(State::HtmlComment, Element::None), at + 4);
        }
        let is_end = s[at + 1] == b'/';
        let name_at = at + 1 + usize::from(is_end);
        if name_at == s.len() {
            break;
        }
        let (name_end, element) = tag_name(s, name_at);
        if name_end != name_at {
            let element = if is_end { Element::None } else { element };
            return (Context::of(State::Tag, element), name_end);
        }
        from = name_end;
    }
    (c, s.len())
}

/// The end of a tag's name that starts at `start`, and its element.
fn tag_name(s: &[u8], start: usize) -> (usize, Element) {
    if !s.get(start).is_some_and(u8::is_ascii_alphabetic) {
        return (start, Element::None);
    }
    let alphanumeric = |at: usize| s.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let mut end = start + 1;
    loop {
        if alphanumeric(end) {
            end += 1;
        } else if matches!(s.get(end), Some(b':' | b'-')) && alphanumeric(end + 1) {
            end += 2;
        } else {
            break;
        }
    }
    let element = match s[start..end].to_ascii_lowercase().as_slice() {
        b"script" => Element::Script,
        b"style" => Element::Style,
        b"textarea" => Element::Textarea,
        b"title" => Element::Title,
        b"meta" => Element::Meta,
        _ => Element::None,
    };
    (end, element)
}

fn tag(c: Context, s: &[u8]) -> Step {
    let start = after_space(s, 0);
    if start == s.len() {
        return (c, s.len());
    }
    if s[start] == b'>' {
        let element = if c.element == Element::Meta { Element::None } else { c.element };
        return (Context::of(c.element.content(), element), start + 1);
    }
    let end = match attr_name_end(s, start) {
        Ok(end) => end,
        Err(what) => return (Context::bad(what), s.len()),
    };
    if end == start {
        let what = format!("expected space, attr name, or end of tag, but got {}", text::quote(&s[start..]));
        return (Context::bad(what), s.len());
    }
    let name = model::relabel::to_lower(&text::lossy(&s[start..end]));
    let attr = match (c.element, name.as_str()) {
        (Element::Script, "type") => Attr::ScriptType,
        (Element::Meta, "content") => Attr::MetaContent,
        _ => match attribute::content(&name) {
            Content::Url => Attr::Url,
            Content::Css => Attr::Style,
            Content::Script => Attr::Script,
            Content::Srcset => Attr::Srcset,
            Content::Plain | Content::Html | Content::Unsafe => Attr::None,
        },
    };
    let state = if end == s.len() { State::AttrName } else { State::AfterName };
    (Context { attr, ..Context::of(state, c.element) }, end)
}

fn attr_name_end(s: &[u8], start: usize) -> Result<usize, String> {
    for (at, byte) in s.iter().enumerate().skip(start) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' | b'=' | b'>' => return Ok(at),
            b'\'' | b'"' | b'<' => {
                let bad = text::quote(std::slice::from_ref(byte));
                let shown = text::quote(text::first_chars(s, 32));
                return Err(format!("{bad} in attribute name: {shown}"));
            }
            _ => {}
        }
    }
    Ok(s.len())
}

fn attr_name(mut c: Context, s: &[u8]) -> Step {
    match attr_name_end(s, 0) {
        Err(what) => (Context::bad(what), s.len()),
        Ok(end) => {
            if end != s.len() {
                c.state = State::AfterName;
            }
            (c, end)
        }
    }
}

fn after_name(mut c: Context, s: &[u8]) -> Step {
    let at = after_space(s, 0);
    if at == s.len() {
        return (c, at);
    }
    if s[at] != b'=' {
        c.state = State::Tag;
        return (c, at);
    }
    c.state = State::BeforeValue;
    (c, at + 1)
}

fn before_value(mut c: Context, s: &[u8]) -> Step {
    let at = after_space(s, 0);
    if at == s.len() {
        return (c, at);
    }
    let (delim, at) = match s[at] {
        b'\'' => (Delim::Single, at + 1),
        b'"' => (Delim::Double, at + 1),
        _ => (Delim::SpaceOrTagEnd, at),
    };
    c.state = c.attr.start();
    c.delim = delim;
    (c, at)
}

fn html_comment(c: Context, s: &[u8]) -> Step {
    match text::find(s, b"-->") {
        Some(at) => (Context::start(), at + 3),
        None => (c, s.len()),
    }
}

/// The end tag of a special element, if it is met.
fn special_tag_end(c: Context, s: &[u8]) -> Step {
    if c.element != Element::None {
        let inert = c.state.is_script_literal() || c.state.is_comment();
        if c.element == Element::Script && inert {
            return (c, s.len());
        }
        if let Some(at) = end_tag(s, c.element.name().as_bytes()) {
            return (Context::start(), at);
        }
    }
    (c, s.len())
}

fn end_tag(s: &[u8], name: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text::find(&s[from..], b"</")?;
        from = at + 2;
        let is_name = s.get(from..from + name.len()).is_some_and(|tag| tag.eq_ignore_ascii_case(name));
        if is_name {
            from += name.len();
            if matches!(s.get(from), Some(b'>' | b' ' | b'\t' | b'\n' | b'\x0c' | b'/')) {
                return Some(at);
            }
        }
    }
}

fn url(mut c: Context, s: &[u8]) -> Step {
    if position(s, 0, b"#?").is_some() {
        c.url_part = UrlPart::QueryOrFragment;
    } else if after_space(s, 0) != s.len() && c.url_part == UrlPart::None {
        c.url_part = UrlPart::PreQuery;
    }
    (c, s.len())
}

fn js(mut c: Context, s: &[u8]) -> Step {
    let Some(at) = position(s, 0, b"\"`'/{}<-#") else {
        c.slash = javascript::slash_after(s, c.slash);
        return (c, s.len());
    };
    c.slash = javascript::slash_after(&s[..at], c.slash);
    let rest = &s[at..];
    let mut end = at + 1;
    let mut goes_to = |c: &mut Context, state: State, len: usize| {
        c.state = state;
        end = at + len;
    };
    match s[at] {
        b'"' => goes_to(&mut c, State::JsDouble, 1),
        b'\'' => goes_to(&mut c, State::JsSingle, 1),
        b'`' => goes_to(&mut c, State::JsTemplate, 1),
        b'/' if rest.starts_with(b"//") => goes_to(&mut c, State::JsLineComment, 2),
        b'/' if rest.starts_with(b"/*") => goes_to(&mut c, State::JsBlockComment, 2),
        b'/' => match c.slash {
            Slash::Regexp => c.state = State::JsRegexp,
            Slash::Division => c.slash = Slash::Regexp,
            Slash::Unknown => {
                let shown = text::quote(text::first_chars(rest, 32));
                let what = format!("'/' could start a division or regexp: {shown}");
                return (Context::bad(what), s.len());
            }
        },
        b'<' if rest.starts_with(b"<!--") => goes_to(&mut c, State::JsHtmlOpenComment, 4),
        b'-' if rest.starts_with(b"-->") => goes_to(&mut c, State::JsHtmlCloseComment, 3),
        b'#' if rest.starts_with(b"#!") => goes_to(&mut c, State::JsLineComment, 2),
        b'{' => {
            c.slash = javascript::slash_after(b"{", c.slash);
            if let Some(open) = c.braces.last_mut() {
                *open += 1;
            }
        }
        b'}' => match c.braces.last_mut() {
            Some(0) => {
                c.braces.pop();
                c.state = State::JsTemplate;
            }
            last => {
                last.into_iter().for_each(|open| *open -= 1);
                c.slash = javascript::slash_after(b"}", c.slash);
            }
        },
        _ => {}
    }
    if matches!(s[at], b'"' | b'\'' | b'`') {
        c.slash = Slash::Regexp;
    }
    (c, end)
}

fn unfinished_escape(kind: &str, s: &[u8]) -> Step {
    let what = format!("unfinished escape sequence in {kind} string: {}", text::quote(s));
    (Context::bad(what), s.len())
}

fn js_template(mut c: Context, s: &[u8]) -> Step {
    let mut from = 0;
    while let Some(at) = position(s, from, b"`\\$") {
        match s[at] {
            b'\\' if at + 1 == s.len() => return unfinished_escape("JS", s),
            b'\\' => from = at + 2,
            b'$' if s.get(at + 1) == Some(&b'{') => {
                c.braces.push(0);
                c.state = State::Js;
                return (c, at + 2);
            }
            b'`' => {
                c.state = State::Js;
                return (c, at + 1);
            }
            _ => from = at + 1,
        }
    }
    (c, s.len())
}

/// Strings and regular expressions.
fn js_delimited(mut c: Context, s: &[u8]) -> Step {
    let specials: &[u8] = match c.state {
        State::JsSingle => b"\\'",
        State::JsRegexp => b"\\/[]",
        _ => b"\\\"",
    };
    let mut from = 0;
    let mut in_set = false;
    while let Some(at) = position(s, from, specials) {
        from = at + 1;
        match s[at] {
            b'\\' if at + 1 == s.len() => return unfinished_escape("JS", s),
            b'\\' => from = at + 2,
            b'[' => in_set = true,
            b']' => in_set = false,
            // An end tag within a regular expression is no end of it: it is escaped.
            b'/' if at > 0
                && s.get(at - 1..at + 7).is_some_and(|tag| tag.eq_ignore_ascii_case(b"</script")) =>
            {
                from = at + 2;
            }
            _ if in_set => {}
            _ => {
                c.state = State::Js;
                c.slash = Slash::Division;
                return (c, at + 1);
            }
        }
    }
    if in_set {
        return (Context::bad(format!("unfinished JS regexp charset: {}", text::quote(s))), s.len());
    }
    (c, s.len())
}

fn block_comment(mut c: Context, s: &[u8]) -> Step {
    let Some(at) = text::find(s, b"*/") else { return (c, s.len()) };
    c.state = if c.state == State::JsBlockComment { State::Js } else { State::Css };
    (c, at + 2)
}

/// Where a line ends in a script.
fn js_line_end(s: &[u8]) -> Option<usize> {
    let ends = |c: char| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
    text::chars(s).find(|(_, c, _)| ends(*c)).map(|(at, ..)| at)
}

fn line_comment(mut c: Context, s: &[u8]) -> Step {
    let (end, state) = if c.state == State::CssLineComment {
        (position(s, 0, b"\n\x0c\r"), State::Css)
    } else {
        (js_line_end(s), State::Js)
    };
    let Some(at) = end else { return (c, s.len()) };
    c.state = state;
    // The line's end itself may end a statement: it is read again.
    (c, at)
}

/// Whether a comment of a script spans lines, which may end a statement.
pub(super) fn spans_lines(s: &[u8]) -> bool {
    js_line_end(s).is_some()
}

fn style(mut c: Context, s: &[u8]) -> Step {
    let mut from = 0;
    while let Some(at) = position(s, from, b"(\"'/") {
        from = at + 1;
        let state = match (s[at], s.get(at + 1)) {
            (b'(', _) => {
                let end = s[..at].iter().rposition(|b| !is_space(*b)).map_or(0, |last| last + 1);
                if !css::ends_with_keyword(&s[..end], b"url") {
                    continue;
                }
                let at = after_space(s, at + 1);
                let (state, end) = match s.get(at) {
                    Some(b'"') => (State::CssDoubleUrl, at + 1),
                    Some(b'\'') => (State::CssSingleUrl, at + 1),
                    _ => (State::CssUrl, at),
                };
                c.state = state;
                return (c, end);
            }
            (b'/', Some(b'/')) => State::CssLineComment,
            (b'/', Some(b'*')) => State::CssBlockComment,
            (b'"', _) => State::CssDouble,
            (b'\'', _) => State::CssSingle,
            _ => continue,
        };
        c.state = state;
        return (c, if s[at] == b'/' { at + 2 } else { at + 1 });
    }
    (c, s.len())
}

fn style_string(mut c: Context, s: &[u8]) -> Step {
    let specials: &[u8] = match c.state {
        State::CssDouble | State::CssDoubleUrl => b"\\\"",
        State::CssSingle | State::CssSingleUrl => b"\\'",
        _ => b"\\\t\n\x0c\r )",
    };
    let mut from = 0;
    while let Some(at) = position(s, from, specials) {
        if s[at] != b'\\' {
            c.state = State::Css;
            return (c, at + 1);
        }
        if at + 1 == s.len() {
            return unfinished_escape("CSS", s);
        }
        (c, _) = url(c, &css::decoded(&s[..at + 2]));
        from = at + 2;
    }
    let (c, _) = url(c, &css::decoded(&s[from..]));
    (c, s.len())
}

fn meta_content(mut c: Context, s: &[u8]) -> Step {
    for at in 0..s.len() {
        if at + 3 < s.len() && s[at..at + 3].eq_ignore_ascii_case(b"url") {
            let equals = after_space(s, at + 3);
            if s.get(equals) == Some(&b'=') {
                c.state = State::MetaContentUrl;
                return (c, equals + 1);
            }
        }
    }
    (c, s.len())
}

fn meta_content_url(mut c: Context, s: &[u8]) -> Step {
    match position(s, 0, b";") {
        Some(at) => {
            c.state = State::MetaContent;
            (c, at + 1)
        }
        None => (c, s.len()),
    }
}

/// HTML without its tags: what an attribute can hold of it.
pub(super) fn without_tags(html: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut c = Context::start();
    let mut at = 0;
    let mut only_text = true;
    while at != html.len() {
        if c.delim != Delim::None {
            let Some(end) = delim_end(c.delim, &html[at..]) else { break };
            at += end + usize::from(c.delim != Delim::SpaceOrTagEnd);
            c = Context::of(State::Tag, c.element);
            continue;
        }
        let special = c.element != Element::None && !c.state.is_in_tag();
        let (next, reach) =
            if special { special_tag_end(c.clone(), &html[at..]) } else { step(c.clone(), &html[at..]) };
        let end = at + reach;
        if matches!(c.state, State::Text | State::RcData) {
            let mut shown = end;
            if next.state != c.state
                && let Some(tag) = html[at..end].iter().rposition(|b| *b == b'<')
            {
                shown = at + tag;
            }
            out.extend_from_slice(&html[at..shown]);
        } else {
            only_text = false;
        }
        (c, at) = (next, end);
    }
    if only_text {
        return html.to_vec();
    }
    if matches!(c.state, State::Text | State::RcData) {
        out.extend_from_slice(&html[at..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_after(html: &str) -> State {
        let s = html.as_bytes();
        let mut c = Context::start();
        let mut at = 0;
        while at != s.len() {
            let (next, reach) = after_text(c, &s[at..]);
            (c, at) = (next, at + reach);
        }
        c.state
    }

    #[test]
    fn places_are_found() {
        for (html, state) in [
            ("a < b", State::Text),
            ("<a", State::Tag),
            ("<a href", State::AttrName),
            ("<a href=", State::BeforeValue),
            ("<a href='", State::Url),
            ("<a href=x", State::Url),
            ("<a title=\"", State::Attr),
            ("<a onclick=\"f('", State::JsSingle),
            ("<a onclick=\"f(&#39;", State::JsSingle),
            ("<script>a = /b", State::JsRegexp),
            ("<script>a / b", State::Js),
            ("<script>`a${", State::Js),
            ("<script>`a${b}", State::JsTemplate),
            ("<script>// x", State::JsLineComment),
            ("<script>\"</script>\"", State::Js),
            ("<script>x</script>", State::Text),
            ("<script type=text/template><b", State::Tag),
            ("<style>a { b: url( ", State::CssUrl),
            ("<style>/* ", State::CssBlockComment),
            ("<title><b", State::RcData),
            ("<!-- <a", State::HtmlComment),
            ("<meta content=\"1;url=", State::MetaContentUrl),
            ("<img srcset='", State::Srcset),
            ("<a b\"", State::Error),
            ("<a b=c\"", State::Error),
        ] {
            assert_eq!(state_after(html), state, "{html}");
        }
    }

    #[test]
    fn tags_are_stripped() {
        assert_eq!(without_tags(b"a <b title='x>'>c</b> d"), b"a c d");
        assert_eq!(without_tags(b"a < b"), b"a < b");
        assert_eq!(without_tags(b"a<script>x</script>b"), b"ab");
    }
}
