//! The functions that are put into pipelines.

use super::{css, javascript, replace, url};
use crate::exec::{joined, printable};
use crate::print;
use crate::value::{StrType, Value};

/// What stands in place of text that cannot be made safe.
pub(super) const FAILSAFE: &str = "ZgotmplZ";

/// Makes values safe for one kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escaper {
    Attribute,
    Comment,
    Css,
    CssValue,
    Name,
    Html,
    JsRegexp,
    JsString,
    JsTemplate,
    JsValue,
    NoSpace,
    RcData,
    Srcset,
    UrlQuery,
    UrlFilter,
    UrlNormalize,
    /// Several arguments made into one text.
    Join,
}

const NAMES: &[(&str, Escaper)] = &[
    ("_eval_args_", Escaper::Join),
    ("_html_template_attrescaper", Escaper::Attribute),
    ("_html_template_commentescaper", Escaper::Comment),
    ("_html_template_cssescaper", Escaper::Css),
    ("_html_template_cssvaluefilter", Escaper::CssValue),
    ("_html_template_htmlescaper", Escaper::Html),
    ("_html_template_htmlnamefilter", Escaper::Name),
    ("_html_template_jsregexpescaper", Escaper::JsRegexp),
    ("_html_template_jsstrescaper", Escaper::JsString),
    ("_html_template_jstmpllitescaper", Escaper::JsTemplate),
    ("_html_template_jsvalescaper", Escaper::JsValue),
    ("_html_template_nospaceescaper", Escaper::NoSpace),
    ("_html_template_rcdataescaper", Escaper::RcData),
    ("_html_template_srcsetescaper", Escaper::Srcset),
    ("_html_template_urlescaper", Escaper::UrlQuery),
    ("_html_template_urlfilter", Escaper::UrlFilter),
    ("_html_template_urlnormalizer", Escaper::UrlNormalize),
];

impl Escaper {
    /// By the name that a pipeline has it under.
    pub(crate) fn by_name(name: &[u8]) -> Option<Escaper> {
        NAMES.iter().find(|(have, _)| have.as_bytes() == name).map(|(_, escaper)| *escaper)
    }

    /// The name that a pipeline has it under.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, escaper)| *escaper == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn apply(self, args: &[Value]) -> Value {
        let (text, kind) = match self {
            Escaper::Join => return Value::text(joined(args)),
            Escaper::Comment => return Value::text(""),
            Escaper::JsValue => return Value::text(javascript::value(args)),
            _ => stringified(args),
        };
        let is_html = kind == StrType::Html;
        Value::text(match self {
            Escaper::Html if is_html => text,
            Escaper::Html => replace::html(&text),
            Escaper::RcData if is_html => replace::html_again(&text),
            Escaper::RcData => replace::html(&text),
            Escaper::Attribute if is_html => replace::html_again(&super::transition::without_tags(&text)),
            Escaper::Attribute => replace::html(&text),
            Escaper::NoSpace if text.is_empty() => FAILSAFE.as_bytes().to_vec(),
            Escaper::NoSpace if is_html => replace::no_space_again(&super::transition::without_tags(&text)),
            Escaper::NoSpace => replace::no_space(&text),
            Escaper::Name => super::attribute::name(&text),
            Escaper::Css => css::escaped(&text),
            Escaper::CssValue => css::value(&text),
            Escaper::JsRegexp => javascript::regexp(&text),
            Escaper::JsString => javascript::string(&text),
            Escaper::JsTemplate => javascript::template_literal(&text),
            Escaper::Srcset => url::srcset(&text),
            Escaper::UrlQuery => url::escaped(&text, false),
            Escaper::UrlFilter => url::filtered(&text),
            Escaper::UrlNormalize => url::escaped(&text, true),
            Escaper::Join | Escaper::Comment | Escaper::JsValue => text,
        })
    }
}

/// The arguments as one text; nothing is nothing.
fn stringified(args: &[Value]) -> (Vec<u8>, StrType) {
    let args: Vec<Value> = args.iter().map(|arg| arg.clone().opened()).collect();
    if let [Value::Str(kind, text)] = args.as_slice() {
        return (text.to_vec(), *kind);
    }
    let args: Vec<Value> =
        args.into_iter().filter(|arg| !matches!(arg, Value::Nothing)).map(printable).collect();
    (print::sprint(&args), StrType::Plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(escaper: Escaper, value: Value) -> String {
        match escaper.apply(&[value]) {
            Value::Str(_, text) => String::from_utf8(text.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_are_found_again() {
        for (name, escaper) in NAMES {
            assert_eq!(Escaper::by_name(name.as_bytes()), Some(*escaper));
            assert_eq!(escaper.name(), *name);
        }
    }

    #[test]
    fn html_is_not_escaped_twice() {
        let html = |text: &str| Value::Str(StrType::Html, text.as_bytes().into());
        assert_eq!(apply(Escaper::Html, Value::text("<b>&")), "&lt;b&gt;&amp;");
        assert_eq!(apply(Escaper::Html, html("<b>&amp;")), "<b>&amp;");
        assert_eq!(apply(Escaper::Attribute, html("<b>a&amp;\"</b>")), "a&amp;&#34;");
        assert_eq!(apply(Escaper::NoSpace, Value::text("a b=`")), "a&#32;b&#61;&#96;");
        assert_eq!(apply(Escaper::NoSpace, Value::text("")), "ZgotmplZ");
        assert_eq!(apply(Escaper::Html, Value::Nothing), "");
    }
}
